//! `/v1/calls`: those the tables have, and one with all that is known of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bus::Recorded;
use delivery::{Dial, DialStanding};
use jiff::Timestamp;
use money::Micros;
use proto::event::signed;
use proto::{AppName, CallId, Decided, EventId, Filter, Kind, Outcome, Partition, Stream, Subject, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use views::CallFilter;
use views::calls::CallRow;
use views::cdrs::CdrLegRow;

use crate::address::{Path, Query};
use crate::problem::Problem;
use crate::server::Desk;
use crate::{masked, placing, why};

/// Calls of one page.
const CALLS_MAX: usize = 1_000;
/// Calls answered when no limit is given.
const CALLS_DEFAULT: usize = 50;
/// Events of one call that are shown; the log has the rest.
const EVENTS_MAX: usize = 1_000;
/// The tables are a moment behind the log. Who asks right after a call waits so long for them, not longer.
pub(crate) const LEVEL_WITHIN: Duration = Duration::from_millis(500);

/// `?limit=&app=&number=&wallet=&outcome=&placed=&since=&until=&before=&reveal=1`; `since` belongs to it, `until` does not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    app: Option<AppName>,
    /// Calling or called.
    number: Option<String>,
    wallet: Option<WalletId>,
    outcome: Option<Outcome>,
    /// `true`: those alone that are legs of calls we placed; `false`: the others.
    placed: Option<bool>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The `next` of the page before.
    before: Option<u64>,
    #[serde(default)]
    reveal: u8,
}

/// `?reveal=1`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    #[serde(default)]
    reveal: u8,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Calls {
    calls: Vec<CallSummary>,
    /// The page after this one begins before it; none on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// Events of the log that the tables do not have yet.
    #[serde(skip_serializing_if = "is_zero")]
    behind: u64,
}

/// One line of the list.
#[derive(Debug, Serialize, JsonSchema)]
struct CallSummary {
    call: String,
    app: String,
    /// When the first callback came in.
    started_at: Timestamp,
    state: Progress,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Of the decision that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wallet: Option<String>,
    /// The call that we placed, of which it is a leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    placed: Option<String>,
    /// Sinch's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_secs: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bills: Vec<Bill>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Progress {
    Open,
    Ended,
    Settled,
}

/// What one leg came to.
#[derive(Debug, Serialize, JsonSchema)]
struct Bill {
    wallet: String,
    cost: Micros,
    currency: String,
    billed_secs: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Call {
    call: CallId,
    /// How it stands, when we placed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    placed: Option<DialStanding>,
    events: Vec<CallEvent>,
}

/// One thing that happened in the call, in the order of the log.
#[derive(Debug, Serialize, JsonSchema)]
struct CallEvent {
    seq: u64,
    kind: Kind,
    time: Timestamp,
    id: EventId,
    app: AppName,
    /// Present when the signature was not required.
    #[serde(skip_serializing_if = "Option::is_none")]
    unverified: Option<String>,
    /// Of a decision, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The callback as it came, the decision, or the CDR.
    body: Value,
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Calls>, Problem> {
    let limit = query.limit.unwrap_or(CALLS_DEFAULT).min(CALLS_MAX);
    let behind = desk.views.behind(&desk.bus, Stream::Calls, LEVEL_WITHIN).await.map_err(Problem::unavailable)?;
    let ListQuery { app, number, wallet, outcome, placed, since, until, before, reveal, .. } = query;
    let filter = CallFilter { app, number, wallet, outcome, placed, since, until, before };
    let rows = desk.views.calls(&filter, limit).await.map_err(Problem::unavailable)?;
    let cdrs: Vec<String> = rows.iter().filter_map(|row| row.cdr.clone()).collect();
    let mut bills: HashMap<String, Vec<Bill>> = HashMap::new();
    for leg in desk.views.cdr_legs(&cdrs).await.map_err(Problem::unavailable)? {
        bills.entry(leg.cdr.clone()).or_default().extend(Bill::of(leg));
    }
    let next = if rows.len() == limit { rows.last().map(|row| row.first_seq) } else { None };
    let calls = rows.into_iter().map(|row| {
        let bills = row.cdr.as_ref().and_then(|cdr| bills.remove(cdr)).unwrap_or_default();
        CallSummary::of(row, bills, reveal != 0)
    });
    Ok(Json(Calls { calls: calls.collect(), next, behind }))
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(call): Path<CallId>,
    Query(query): Query<ShowQuery>,
) -> Result<Json<Call>, Problem> {
    // Without the tables it is looked for from the beginning of the log.
    let begins_at = match timeout(LEVEL_WITHIN, desk.views.begins_at(&call)).await {
        Ok(Ok(Some(begins_at))) => begins_at,
        // Those that we place have no row of their own.
        Ok(Ok(None) | Err(_)) | Err(_) => placing::placed_at(&desk, &call).await?.unwrap_or_default(),
    };
    let (mut events, mut dial) = (Vec::new(), None);
    let mut lane = desk.bus.events(&Filter::Partition(Partition::of(&call)), begins_at.saturating_sub(1));
    while let Some(next) = lane.next().await.map_err(Problem::unavailable)? {
        if next.event.about == call.as_str() {
            placing::fold(&mut dial, &next);
            events.extend(CallEvent::of(next, query.reveal != 0));
        }
        if events.len() == EVENTS_MAX {
            break;
        }
    }
    if events.is_empty() {
        return Err(Problem::NotFound(format!("call {call}")));
    }
    let placed = dial.map(|dial: Dial| dial.standing());
    Ok(Json(Call { call, placed, events }))
}

impl CallSummary {
    fn of(row: CallRow, bills: Vec<Bill>, reveal: bool) -> Self {
        let number = |number: Option<String>| number.map(|number| if reveal { number } else { masked::text(&number) });
        let state = match (&row.cdr, row.ended_at) {
            (Some(_), _) => Progress::Settled,
            (None, Some(_)) => Progress::Ended,
            (None, None) => Progress::Open,
        };
        Self {
            call: row.call,
            app: row.app,
            started_at: row.started_at.0,
            state,
            from: number(row.caller),
            to: number(row.callee),
            outcome: row.outcome,
            rule: row.rule,
            reason: row.reason,
            wallet: row.wallet,
            placed: row.placed,
            result: row.result,
            duration_secs: row.duration_secs,
            bills,
        }
    }
}

impl Bill {
    /// Nothing for a call without a leg.
    fn of(leg: CdrLegRow) -> Option<Self> {
        Some(Self {
            wallet: leg.wallet?,
            cost: Micros::new(leg.cost_micros?).ok()?,
            currency: leg.currency?,
            billed_secs: leg.billed_secs?,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl CallEvent {
    fn of(recorded: Recorded, reveal: bool) -> Option<Self> {
        let event = recorded.event;
        let Subject::Call { kind, app, .. } = &event.subject else { return None };
        let decided: Option<Decided> =
            if *kind == Kind::Decided { serde_json::from_slice(&event.data).ok() } else { None };
        let mut body = serde_json::from_slice(&event.data).unwrap_or_default();
        if !reveal {
            masked::value(&mut body);
        }
        Some(Self {
            seq: recorded.seq,
            kind: *kind,
            time: event.time,
            id: event.id.clone(),
            app: app.clone(),
            unverified: event.attribute(signed::UNVERIFIED).map(str::to_owned),
            why: decided.as_ref().map(why::sentence),
            body,
        })
    }
}

//! `/v1/calls`: the newest, and one with all that is known of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use bus::Recorded;
use jiff::Timestamp;
use proto::event::signed;
use proto::{AppName, CallId, Decided, EventId, Filter, Kind, Partition, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call_list::{CALLS_MAX, CallSummary};
use crate::problem::Problem;
use crate::server::Desk;
use crate::{masked, why};

/// Calls answered when no limit is given.
const CALLS_DEFAULT: usize = 50;
/// Events of one call that are shown; the log has the rest.
const EVENTS_MAX: usize = 1_000;

/// `?limit=&app=&reveal=1`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    app: Option<AppName>,
    #[serde(default)]
    reveal: u8,
}

/// `?reveal=1`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    #[serde(default)]
    reveal: u8,
}

#[derive(Debug, Serialize)]
pub(crate) struct Calls {
    calls: Vec<CallSummary>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Call {
    call: CallId,
    events: Vec<CallEvent>,
}

/// One thing that happened in the call, in the order of the log.
#[derive(Debug, Serialize)]
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
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Calls>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(CALLS_DEFAULT).min(CALLS_MAX);
    let mut list = desk.calls.lock().await;
    list.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    let wanted = list.newest().filter(|summary| query.app.as_ref().is_none_or(|app| summary.app == *app));
    let mut calls: Vec<CallSummary> = wanted.take(limit).cloned().collect();
    if query.reveal == 0 {
        for summary in &mut calls {
            for number in [&mut summary.from, &mut summary.to].into_iter().flatten() {
                *number = masked::text(number);
            }
        }
    }
    Ok(Json(Calls { calls }))
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> Result<Json<Call>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let call = CallId::new(id).map_err(|error| Problem::Invalid(error.to_string()))?;
    let begins_at = {
        let mut list = desk.calls.lock().await;
        list.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
        list.begins_at(&call)
    };
    let mut events = Vec::new();
    let mut lane = desk.bus.events(&Filter::Partition(Partition::of(&call)), begins_at.saturating_sub(1));
    while let Some(next) = lane.next().await.map_err(Problem::unavailable)? {
        if next.event.about == call.as_str() {
            events.extend(CallEvent::of(next, query.reveal != 0));
        }
        if events.len() == EVENTS_MAX {
            break;
        }
    }
    if events.is_empty() {
        return Err(Problem::NotFound(format!("call {call}")));
    }
    Ok(Json(Call { call, events }))
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

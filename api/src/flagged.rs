//! `/v1/flagged`: calls somebody should look at, because their money rests on a guess, or moved nothing at all. A fold
//! of the CDRs, caught up whenever somebody looks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bus::{Bus, Recorded, Unavailable};
use proto::{AppName, CallId, Filter, Kind, Settled, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Query;
use crate::masked;
use crate::problem::Problem;
use crate::server::Desk;

/// Calls that are kept, and answered when no limit is given.
const FLAGGED_MAX: usize = 10_000;
const FLAGGED_DEFAULT: usize = 50;

/// The first look goes back this far.
const EVENTS_BACK: u64 = 1_000_000;

const CDRS: Filter = Filter::Kind(Kind::Settled);

/// What is odd about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flag {
    /// It ended, and nothing we decided is known of it: nobody paid.
    Unmatched,
    /// It ended again, so long after that wallets have forgotten it: nothing moved.
    Late,
    /// Two ends were told.
    Disputed,
    /// Its cost rests on a guess.
    Estimate,
    /// It cost more than was held.
    Overrun,
}

/// `?flag=&app=&limit=&reveal=1`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlaggedQuery {
    flag: Option<Flag>,
    app: Option<AppName>,
    limit: Option<usize>,
    #[serde(default)]
    reveal: u8,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Flagged {
    /// Newest first.
    calls: Vec<FlaggedCall>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FlaggedCall {
    flags: Vec<Flag>,
    cdr: Settled,
}

/// The newest CDR of each flagged call.
#[derive(Debug, Default)]
pub(crate) struct FlaggedCalls {
    last_seq: u64,
    /// Where the CDR of a call stands; beside it one that is unmatched.
    places: HashMap<(AppName, CallId, bool), u64>,
    calls: BTreeMap<u64, FlaggedCall>,
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<FlaggedQuery>,
) -> Result<Json<Flagged>, Problem> {
    let mut flagged = desk.flagged.lock().await;
    flagged.catch_up(&desk.bus).await.map_err(Problem::unavailable)?;
    let wanted = flagged.calls.values().rev().filter(|call| {
        query.app.as_ref().is_none_or(|app| call.cdr.app == *app)
            && query.flag.is_none_or(|flag| call.flags.contains(&flag))
    });
    let mut calls: Vec<FlaggedCall> =
        wanted.take(query.limit.unwrap_or(FLAGGED_DEFAULT).min(FLAGGED_MAX)).cloned().collect();
    if query.reveal == 0 {
        for call in &mut calls {
            for number in [&mut call.cdr.from, &mut call.cdr.to].into_iter().flatten() {
                *number = masked::text(number);
            }
        }
    }
    Ok(Json(Flagged { calls }))
}

impl FlaggedCalls {
    async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        if self.last_seq == 0 {
            self.last_seq = bus.last_seq(&CDRS).await?.saturating_sub(EVENTS_BACK);
        }
        let mut events = bus.events(&CDRS, self.last_seq);
        while let Some(next) = events.next().await? {
            self.apply(next);
        }
        self.last_seq = events.passed_seq();
        Ok(())
    }

    fn apply(&mut self, recorded: Recorded) {
        let Ok(cdr) = serde_json::from_slice::<Settled>(&recorded.event.data) else { return };
        let Subject::Call { app, .. } = recorded.event.subject else { return };
        // The newest CDR of a call stands: what it says no more is no more so. One that is unmatched takes no other's
        // place.
        for unmatched in [true, cdr.unmatched] {
            if let Some(before) = self.places.remove(&(app.clone(), cdr.call.clone(), unmatched)) {
                self.calls.remove(&before);
            }
        }
        let flags = flags(&cdr);
        if flags.is_empty() {
            return;
        }
        self.places.insert((app, cdr.call.clone(), cdr.unmatched), recorded.seq);
        self.calls.insert(recorded.seq, FlaggedCall { flags, cdr });
        if self.calls.len() > FLAGGED_MAX
            && let Some((_, oldest)) = self.calls.pop_first()
        {
            self.places.remove(&(oldest.cdr.app, oldest.cdr.call, oldest.cdr.unmatched));
        }
    }
}

fn flags(cdr: &Settled) -> Vec<Flag> {
    let raised = [
        (Flag::Late, cdr.late),
        (Flag::Unmatched, cdr.unmatched && !cdr.late),
        (Flag::Disputed, cdr.disputed.is_some()),
        (Flag::Estimate, cdr.legs.iter().any(|leg| leg.estimate)),
        (Flag::Overrun, cdr.legs.iter().any(|leg| leg.overrun)),
    ];
    raised.into_iter().filter_map(|(flag, raised)| raised.then_some(flag)).collect()
}

//! The CDRs of the log, for commands that go through all of a time.

use std::collections::{BTreeMap, HashSet};

use bus::{Bus, Unavailable};
use jiff::Timestamp;
use proto::{AppName, CallId, Filter, Kind, Settled};

use super::diff::first_since;
use crate::exit::{Exit, Failure};

/// CDRs of one look.
const CDRS_MAX: usize = 2_000_000;

pub(crate) type Cdrs = BTreeMap<(AppName, CallId), Cdr>;

/// The one that stands for its call.
#[derive(Debug)]
pub(crate) struct Cdr {
    /// When it was written.
    pub at: Timestamp,
    pub settled: Settled,
}

/// The CDRs written since then, and those of the calls that are named, whenever they were written.
///
/// # Errors
/// When the log cannot be read, or there are too many.
pub(crate) async fn since(bus: &Bus, since: Timestamp, named: &HashSet<String>) -> Result<Cdrs, Failure> {
    let unreachable = |error: Unavailable| Failure::new(Exit::Unreachable, error);
    let from = if named.is_empty() { first_since(bus, since).await.map_err(unreachable)? } else { 0 };
    let mut cdrs = Cdrs::new();
    let mut events = bus.events(&Filter::Kind(Kind::Settled), from);
    while let Some(next) = events.next().await.map_err(unreachable)? {
        let (at, about) = (next.event.time, next.event.about);
        if at < since && !named.contains(&about) {
            continue;
        }
        let Ok(settled) = serde_json::from_slice::<Settled>(&next.event.data) else { continue };
        let key = (settled.app.clone(), settled.call.clone());
        if cdrs.get(&key).is_none_or(|before: &Cdr| settled.replaces(&before.settled)) {
            cdrs.insert(key, Cdr { at, settled });
        }
        if cdrs.len() > CDRS_MAX {
            let todo = "ask for a shorter time: --since 6h";
            return Err(Failure::say(Exit::Usage, format!("there are more than {CDRS_MAX} calls; {todo}")));
        }
    }
    Ok(cdrs)
}

//! The calls of one partition, and which of them an event belongs to.

use std::collections::{BTreeMap, BTreeSet};

use bus::Recorded;
use jiff::Timestamp;
use proto::{AppName, CallId, Kind, Subject};

use crate::call::Call;

/// An app's call.
pub(super) type CallKey = (AppName, CallId);

/// The calls of one partition.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) calls: BTreeMap<CallKey, Call>,
    /// Time of the newest event seen.
    pub(super) newest: Timestamp,
}

impl Lane {
    /// Our own events are about calls that are here; they bring none back.
    pub(super) fn wants(&self, kind: Kind, key: &CallKey) -> bool {
        !matches!(kind, Kind::Asked | Kind::Settled) || self.calls.contains_key(key)
    }

    pub(super) fn to_be_looked_up(&self, now: Timestamp) -> BTreeSet<CallKey> {
        let wanted = self.calls.iter().filter(|(_, call)| call.to_be_looked_up(now));
        wanted.map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn take(
        &mut self,
        kind: Kind,
        key: &CallKey,
        recorded: &Recorded,
        now: Timestamp,
    ) -> Result<&mut Call, String> {
        self.newest = self.newest.max(recorded.event.time);
        let new = || Call::new(key.0.clone(), key.1.clone(), recorded, now);
        let call = self.calls.entry(key.clone()).or_insert_with(new);
        call.apply(kind, recorded, now)?;
        Ok(call)
    }
}

pub(super) fn lane_of(recorded: &Recorded) -> usize {
    usize::from(recorded.event.subject.lane().index())
}

/// Which call an event belongs to; `None` for the few without a call id, which nobody is billed for.
pub(super) fn key_of(recorded: &Recorded) -> Option<(Kind, CallKey)> {
    match &recorded.event.subject {
        // A policy's own event has no bearing on money, and a call that was placed none but through its legs.
        Subject::Call { kind: Kind::Emitted | Kind::Placed | Kind::Progressed, .. }
        | Subject::Wallet(_)
        | Subject::List(_)
        | Subject::Policy(_)
        | Subject::Deck(_)
        | Subject::Destination(_)
        | Subject::Profile(_)
        | Subject::Delivery { .. } => None,
        Subject::Call { kind, app, .. } => {
            let call = CallId::new(recorded.event.about.as_str()).ok()?;
            Some((*kind, (app.clone(), call)))
        }
    }
}

//! Deliveries that are over, remembered for a while: their events may come again.

use std::collections::{HashMap, VecDeque};

use proto::EventId;

/// Remembered at least, also when their events are not expected any more: a spool may send one twice.
const DONE_MIN: usize = 4096;

/// What was lately delivered or given up.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// In the order they ended.
    line: VecDeque<(EventId, u64)>,
    ids: HashMap<EventId, Over>,
}

/// What is remembered of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over {
    /// Place of the event in `CALLS`.
    pub seq: u64,
    /// Place of the delivery's first event in `DELIVERIES`.
    pub noted_seq: u64,
    pub attempts: u32,
}

impl Done {
    pub(crate) fn has(&self, id: &EventId) -> bool {
        self.ids.contains_key(id)
    }

    /// Attempts after which it was over.
    pub(crate) fn attempts(&self, id: &EventId) -> Option<u32> {
        self.ids.get(id).map(|over| over.attempts)
    }

    pub(crate) fn add(&mut self, id: EventId, over: Over) {
        if self.ids.insert(id.clone(), over).is_none() {
            self.line.push_back((id, over.seq));
        }
    }

    /// It begins anew.
    pub(crate) fn forget(&mut self, id: &EventId) {
        if self.ids.remove(id).is_some() {
            self.line.retain(|(other, _)| other != id);
        }
    }

    /// Events up to `floor` do not come again.
    pub(crate) fn prune(&mut self, floor: u64) {
        while self.line.len() > DONE_MIN && self.line.front().is_some_and(|(_, seq)| *seq <= floor) {
            if let Some((id, _)) = self.line.pop_front() {
                self.ids.remove(&id);
            }
        }
    }

    /// First events in `DELIVERIES` of those whose events may come again.
    pub(crate) fn noted_above(&self, floor: u64) -> impl Iterator<Item = u64> {
        self.ids.values().filter(move |over| over.seq > floor).map(|over| over.noted_seq)
    }
}

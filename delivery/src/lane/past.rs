//! A lane as its events make it: what a process reads when it takes a group over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proto::{Delivery, DeliveryNoted, EventId, Partition, Share};

use super::breaker::Breaker;
use super::{Backlog, Lane, Rules, State};

/// The fold of a destination's events, as far as they are one group's.
#[derive(Debug)]
pub(crate) struct Past {
    group: Share,
    lane: Lane,
    /// Where in `CALLS` something waits, and which event says so: by the group that said it, which may be one of another
    /// number of groups, in force before.
    backlogs: BTreeMap<Share, (u64, u64)>,
    /// Nothing tells that somebody had a lane for these calls.
    is_new: bool,
    /// Events up to here are not for it: what was on its way of them is another's, of its name and removed since.
    begins_after: u64,
}

impl Past {
    pub(crate) fn new(group: Share, rules: Rules) -> Self {
        Self { group, lane: Lane::new(rules), backlogs: BTreeMap::new(), is_new: true, begins_after: 0 }
    }

    /// Of a destination for which events count from here on.
    pub(crate) fn beginning_after(self, begins_after: Option<u64>) -> Self {
        Self { begins_after: begins_after.unwrap_or_default(), ..self }
    }

    /// Takes one event in, filed under this partition about this call. An event that comes twice changes nothing.
    pub(crate) fn apply(&mut self, seq: u64, partition: Partition, call: &str, noted: DeliveryNoted) {
        self.lane.saw(seq);
        if let DeliveryNoted::FellBehind { group, .. } | DeliveryNoted::CaughtUp { group } = &noted {
            self.is_new &= !group.overlaps(self.group);
        }
        let (ours, overlaps) = (|group: Share| group == self.group, |group: Share| group.overlaps(self.group));
        match noted {
            DeliveryNoted::FellBehind { group, from } if overlaps(group) => {
                if ours(group) {
                    self.backlogs.clear();
                }
                self.backlogs.insert(group, (from, seq));
            }
            DeliveryNoted::CaughtUp { group } if ours(group) => self.backlogs.clear(),
            DeliveryNoted::CaughtUp { group } => drop(self.backlogs.remove(&group)),
            DeliveryNoted::Broke { group, gone, .. } if ours(group) => {
                self.lane.breaker = if gone {
                    Breaker::Gone { seq }
                } else {
                    Breaker::Open { probes: 0, probe_at: Timestamp::MIN, probed: None, seq }
                };
            }
            DeliveryNoted::Mended { group } if ours(group) => {
                self.lane.breaker = Breaker::default();
            }
            DeliveryNoted::FellBehind { .. }
            | DeliveryNoted::Broke { .. }
            | DeliveryNoted::Mended { .. }
            | DeliveryNoted::Opened { .. }
            | DeliveryNoted::Closed { .. } => {}
            DeliveryNoted::Queued { .. }
            | DeliveryNoted::Attempted { .. }
            | DeliveryNoted::Delivered { .. }
            | DeliveryNoted::Failed { .. }
            | DeliveryNoted::Dead { .. }
            | DeliveryNoted::Retried { .. }
                if !self.group.has(partition) => {}
            DeliveryNoted::Queued { delivery } => self.open(seq, delivery, call),
            DeliveryNoted::Attempted { delivery, attempt, .. } => {
                let id = delivery.id.clone();
                self.open(seq, delivery, call);
                self.count(&id, attempt);
            }
            DeliveryNoted::Retried { delivery, attempts } => {
                let id = delivery.id.clone();
                self.lane.done.forget(&id);
                self.open(seq, delivery, call);
                self.count(&id, attempts);
                if let Some(open) = self.lane.places.get(&id).and_then(|place| self.lane.open.get_mut(place)) {
                    open.wanted = true;
                }
            }
            DeliveryNoted::Failed { delivery, used, next_at, .. } => {
                if let Some(open) = self.lane.places.get(&delivery).and_then(|place| self.lane.open.get_mut(place)) {
                    open.used = used;
                    open.state = State::Waiting { due: next_at };
                }
            }
            DeliveryNoted::Delivered { delivery, .. } | DeliveryNoted::Dead { delivery, .. } => {
                if let Some(place) = self.lane.places.get(&delivery).copied() {
                    self.lane.close(place);
                }
            }
        }
    }

    fn open(&mut self, seq: u64, delivery: Delivery, call: &str) {
        if self.lane.knows(&delivery.id) || (delivery.replay == 0 && delivery.seq <= self.begins_after) {
            return;
        }
        // What was on its way when its process ended is due at once.
        let place = self.lane.line_up(delivery, call, State::Waiting { due: Timestamp::MIN });
        if let Some(open) = self.lane.open.get_mut(&place) {
            open.noted_seq = seq;
        }
    }

    fn count(&mut self, id: &EventId, attempt: u32) {
        if let Some(open) = self.lane.places.get(id).and_then(|place| self.lane.open.get_mut(place)) {
            open.attempts = open.attempts.max(attempt);
            open.state = State::Waiting { due: Timestamp::MIN };
        }
    }

    /// The lane, ready to go on. `end`: the log of the calls ended there when the group was taken over; all up to it may
    /// have been left waiting. `from`: where the log begins for a lane nobody had before, `None` where somebody had. The
    /// second is where something waits that must be written down anew, since nobody or another number of groups said it.
    pub(crate) fn into_lane(mut self, end: u64, from: Option<u64>) -> (Lane, Option<u64>) {
        self.lane.ready.clear();
        let heads: Vec<u64> = self.lane.calls.values().filter_map(|line| line.front().copied()).collect();
        for place in heads {
            self.lane.make_ready(place);
        }
        if let Some(from) = from.filter(|_| self.is_new) {
            self.lane.backlog = Some(Backlog { from, told: end, noted_seq: 0, reading: false });
            return (self.lane, Some(from));
        }
        let from = self.backlogs.values().map(|(from, _)| *from).min();
        let own = self.backlogs.get(&self.group).map(|(_, seq)| *seq);
        self.lane.backlog = from.map(|from| Backlog {
            from,
            told: end,
            noted_seq: own.or(self.backlogs.values().map(|(_, seq)| *seq).min()).unwrap_or_default(),
            reading: false,
        });
        (self.lane, from.filter(|_| own.is_none()))
    }
}

//! Whether a destination is asked at all. It breaks by a stated rule and mends with the first success.

use std::cmp::max;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::later;

/// So many failures in a row, and over so long, and the lane breaks.
pub(super) const BREAK_ATTEMPTS: u32 = 10;
pub(super) const BREAK_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Pause before the first probe; each that fails doubles it.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_AFTER_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed {
        failures: u32,
        since: Option<Timestamp>,
    },
    Open {
        probes: u32,
        probe_at: Timestamp,
        /// Place in the line of the newest probe.
        probed: Option<u64>,
        seq: u64,
    },
    /// It said that it is not to be asked any more.
    Gone {
        seq: u64,
    },
}

/// The destination's state changed with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Broke { gone: bool },
    Mended,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0, since: None }
    }
}

impl Breaker {
    pub(super) fn is_broken(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }

    /// Place in `DELIVERIES` of the event that says that it broke; 0 while that is being written.
    pub(super) fn noted_seq(&self) -> Option<u64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { seq, .. } | Self::Gone { seq } => Some(*seq),
        }
    }

    pub(super) fn noted(&mut self, noted: u64) {
        match self {
            Self::Open { seq, .. } | Self::Gone { seq } => *seq = noted,
            Self::Closed { .. } => {}
        }
    }

    /// The delivery in this place of the line is the probe.
    pub(super) fn probes(&mut self, place: u64) {
        if let Self::Open { probed, .. } = self {
            *probed = Some(place);
        }
    }

    /// An attempt failed; `gone`: it said that it is not to be asked any more. Before `held_until` it wants no probe.
    pub(super) fn failed(&mut self, gone: bool, probe: bool, held_until: Timestamp, now: Timestamp) -> Option<Change> {
        if gone {
            let was_gone = matches!(self, Self::Gone { .. });
            *self = Self::Gone { seq: 0 };
            return (!was_gone).then_some(Change::Broke { gone: true });
        }
        match self {
            Self::Closed { failures, since } => {
                *failures = failures.saturating_add(1);
                let since = *since.get_or_insert(now);
                if *failures < BREAK_ATTEMPTS || now.duration_since(since) < BREAK_AFTER {
                    return None;
                }
                *self = Self::Open { probes: 0, probe_at: later(now, PROBE_AFTER), probed: None, seq: 0 };
                Some(Change::Broke { gone: false })
            }
            Self::Open { probes, probe_at, .. } => {
                if probe {
                    *probes = probes.saturating_add(1);
                    let pause = PROBE_AFTER.saturating_mul(1 << (*probes).min(8)).min(PROBE_AFTER_MAX);
                    *probe_at = max(later(now, pause), held_until);
                }
                None
            }
            Self::Gone { .. } => None,
        }
    }
}

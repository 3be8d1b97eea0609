//! When a delivery that failed is tried again: a table, never a loop.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::SignedDuration;
use proto::RetryPlan;

/// Five minutes in all.
const LIVE: [u32; 7] = [2, 5, 10, 20, 40, 80, 150];
/// A call that began this long ago is no news.
const LIVE_USELESS_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// 75 hours in all: a long weekend.
const LASTING: [u32; 15] =
    [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 28_800, 36_000, 43_200, 43_200, 43_200, 26_245];

/// Longest table of an operator's own, and longest pause in it.
pub(crate) const PAUSES_MAX: usize = 32;
pub(crate) const PAUSE_SECS_MAX: u32 = 7 * 24 * 3600;

/// The pauses after each attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pauses_secs: Vec<u32>,
    /// What is older than this is given up instead of sent.
    pub useless_after: Option<SignedDuration>,
}

impl Plan {
    /// The one for what is of no use after some minutes.
    pub(crate) fn live() -> &'static Self {
        static LIVE_PLAN: LazyLock<Plan> = LazyLock::new(|| Plan::of(&RetryPlan::Live));
        &LIVE_PLAN
    }

    pub(crate) fn of(plan: &RetryPlan) -> Self {
        match plan {
            RetryPlan::Live => Self { pauses_secs: LIVE.to_vec(), useless_after: Some(LIVE_USELESS_AFTER) },
            RetryPlan::Lasting => Self { pauses_secs: LASTING.to_vec(), useless_after: None },
            RetryPlan::Table(table) => Self { pauses_secs: table.clone(), useless_after: None },
        }
    }

    /// The pause after `used` attempts have failed; `None` when that was the last. `lot` (0 to 1000) moves it by up to a
    /// tenth to either side, so that what failed together does not come back together.
    pub(crate) fn pause(&self, used: u32, lot: u16) -> Option<Duration> {
        let index = usize::try_from(used).ok()?.checked_sub(1)?;
        let secs = u64::from(*self.pauses_secs.get(index)?);
        Some(Duration::from_millis(secs * (900 + u64::from(lot.min(1000)) / 5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_plan_lasts_75_hours() {
        assert_eq!(LASTING.iter().sum::<u32>(), 75 * 3600);
        let plan = Plan::of(&RetryPlan::Lasting);
        assert_eq!(plan.pause(1, 500), Some(Duration::from_secs(5)));
        assert_eq!(plan.pause(1, 0), Some(Duration::from_millis(4500)));
        assert_eq!(plan.pause(1, 1000), Some(Duration::from_millis(5500)));
        assert_eq!((plan.pause(15, 500), plan.pause(16, 500)), (Some(Duration::from_secs(26_245)), None));
    }
}

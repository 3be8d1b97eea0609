//! How long billing has been level with the log, by a clock that nobody sets.

use std::time::Duration;

use bus::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Nothing expires until billing has been level with the log for this long: an end may still lie in an ingress's spool.
const STEADY_FOR: Duration = Duration::from_secs(120);

/// A wall clock that has gone so much more or less than the other was set.
const SET_BY: SignedDuration = SignedDuration::from_secs(10);

/// Level with the log, or not yet.
#[derive(Debug, Default)]
pub(crate) struct Steady {
    level_for: Option<Duration>,
    /// When the wall clock was last looked at, and what it said.
    looked: Option<(Instant, Timestamp)>,
}

impl Steady {
    /// Looks at the wall clock. One that was set would make every open call due at once, and may be set back: what is
    /// due is waited for anew.
    pub(crate) fn look(&mut self, clock: &Clock) {
        let (at, now) = (Instant::now(), clock.now());
        if let Some((looked_at, said)) = self.looked.replace((at, now)) {
            let shown = now.duration_since(said);
            // A clock that moves only when told to is the only one there is.
            let is_fixed = matches!(clock, Clock::Fixed(_));
            let went = if is_fixed { shown.unsigned_abs() } else { at.duration_since(looked_at) };
            self.level_for = self.level_for.map(|level_for| level_for.saturating_add(went));
            let went = SignedDuration::try_from(went).unwrap_or(SignedDuration::MAX);
            if shown.saturating_sub(went).abs() > SET_BY {
                tracing::warn!(%said, %now, "the clock was set: for two minutes nothing expires");
                self.lost();
            }
        }
    }

    /// Billing has passed the end of the log. Once level, a busy log that is a moment ahead again is no reason to doubt.
    pub(crate) fn level(&mut self) {
        self.level_for.get_or_insert(Duration::ZERO);
    }

    /// Another works, or the log is away.
    pub(crate) fn lost(&mut self) {
        self.level_for = None;
    }

    pub(crate) fn is_level(&self) -> bool {
        self.level_for.is_some()
    }

    /// For long enough.
    pub(crate) fn may_expire(&self) -> bool {
        self.level_for.is_some_and(|level_for| level_for >= STEADY_FOR)
    }
}

#[cfg(all(test, feature = "storm"))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_makes_nothing_due() {
        let mut steady = Steady::default();
        let right = Clock::tokio(Timestamp::UNIX_EPOCH);
        steady.level();
        steady.look(&right);
        tokio::time::advance(STEADY_FOR).await;
        steady.look(&right);
        assert!(steady.may_expire());
        for hours in [1, 0] {
            let set = Clock::tokio(right.now() + SignedDuration::from_hours(hours));
            steady.look(&set);
            steady.level();
            assert!(steady.is_level() && !steady.may_expire());
            tokio::time::advance(STEADY_FOR).await;
            steady.look(&set);
            assert!(steady.may_expire(), "it is waited for anew");
        }
    }
}

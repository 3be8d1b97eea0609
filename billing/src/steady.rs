//! Since when billing has been level with the log, by a clock that nobody sets.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Nothing expires until billing has been level with the log for this long: an end may still lie in an ingress's spool.
const STEADY_FOR: Duration = Duration::from_secs(120);

/// A wall clock that has gone so much more or less than the other was set.
const SET_BY: SignedDuration = SignedDuration::from_secs(10);

/// Level with the log, or not yet.
#[derive(Debug, Default)]
pub(crate) struct Steady {
    since: Option<Instant>,
    /// When the wall clock was last looked at, and what it said.
    looked: Option<(Instant, Timestamp)>,
}

impl Steady {
    /// Looks at the wall clock. One that was set would make every open call due at once, and may be set back: what is
    /// due is waited for anew.
    pub(crate) fn look(&mut self, now: Timestamp) {
        let set = self.looked.is_some_and(|(at, said)| {
            let went = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
            now.duration_since(said).saturating_sub(went).abs() > SET_BY
        });
        if set {
            tracing::warn!(%now, "the clock was set: for two minutes nothing expires");
            self.lost();
        }
        self.looked = Some((Instant::now(), now));
    }

    /// Billing has passed the end of the log. Once level, a busy log that is a moment ahead again is no reason to doubt.
    pub(crate) fn level(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Another works, or the log is away.
    pub(crate) fn lost(&mut self) {
        self.since = None;
    }

    pub(crate) fn is_level(&self) -> bool {
        self.since.is_some()
    }

    /// For long enough.
    pub(crate) fn may_expire(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= STEADY_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_makes_nothing_due() {
        let (mut steady, mut now) = (Steady::default(), Timestamp::UNIX_EPOCH);
        steady.level();
        for _ in 0..120 {
            tokio::time::advance(Duration::from_secs(1)).await;
            now += SignedDuration::from_secs(1);
            steady.look(now);
        }
        assert!(steady.may_expire());
        for hours in [1, -1] {
            steady.look(now + SignedDuration::from_hours(hours));
            steady.level();
            assert!(steady.is_level() && !steady.may_expire());
        }
    }
}

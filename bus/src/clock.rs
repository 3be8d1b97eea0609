//! The time of day. Everything else takes the time as an argument.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Says what time it is: the system's time, or in tests a time that moves only when told to.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    Fixed(Arc<Mutex<Timestamp>>),
    /// Goes with tokio's clock from a time on: what a paused runtime thinks it is.
    #[cfg(feature = "storm")]
    Tokio {
        began_at: Timestamp,
        began: tokio::time::Instant,
    },
}

impl Clock {
    /// A clock that stands still at `time`; its clones show the same time.
    pub fn fixed(time: Timestamp) -> Self {
        Self::Fixed(Arc::new(Mutex::new(time)))
    }

    /// A clock that shows `time` now, and goes with tokio's.
    #[cfg(feature = "storm")]
    pub fn tokio(time: Timestamp) -> Self {
        Self::Tokio { began_at: time, began: tokio::time::Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock the ban points to")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Fixed(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
            #[cfg(feature = "storm")]
            Self::Tokio { began_at, began } => after(*began_at, began.elapsed()),
        }
    }

    /// Moves a fixed clock on, at most to the end of time. The system's clock goes by itself and stays as it is.
    pub fn advance(&self, by: Duration) {
        match self {
            Self::System => {}
            Self::Fixed(time) => {
                let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
                *time = after(*time, by);
            }
            #[cfg(feature = "storm")]
            Self::Tokio { .. } => {}
        }
    }
}

/// `time` plus `by`, at most the end of time: a huge TTL means "for ever", not an error.
pub(crate) fn after(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let same = clock.clone();
        clock.advance(Duration::from_secs(90));
        assert_eq!(same.now().as_second(), 90);
        clock.advance(Duration::MAX);
        assert_eq!(same.now(), Timestamp::MAX);
    }
}

//! How an attempt ended, and what follows from it.

use std::time::Duration;

use jiff::Timestamp;
use proto::Wrote;

/// The status that says: never ask me again.
pub(crate) const GONE: u16 = 410;
/// A cause stands in the log and on screens. Some of it is what the other side wrote.
const CAUSE_CHARS_MAX: usize = 200;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken {
        status: u16,
        took: Duration,
        /// Of a CRM: what stands there now.
        wrote: Option<Wrote>,
    },
    Refused {
        status: Option<u16>,
        cause: String,
        retry_after: Option<Duration>,
    },
    /// The destination takes nothing from anybody until then; nothing is wrong with it, or with what was sent.
    Limited {
        status: u16,
        cause: String,
        pause: Duration,
    },
    /// It would go the same way every time.
    Hopeless {
        status: Option<u16>,
        cause: String,
    },
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Delivered,
    Failed { used: u32, next_at: Timestamp },
    Dead,
}

impl Answer {
    /// Nobody answered.
    pub(crate) fn refused(cause: &str) -> Self {
        Self::Refused { status: None, cause: cause.to_owned(), retry_after: None }
    }

    /// The same, without these texts in its cause.
    pub(crate) fn hiding<'a>(mut self, secrets: impl Iterator<Item = &'a String>) -> Self {
        match &mut self {
            Self::Taken { .. } => {}
            Self::Refused { cause, .. } | Self::Limited { cause, .. } | Self::Hopeless { cause, .. } => {
                secrets.for_each(|secret| *cause = cause.replace(secret, "…"));
            }
        }
        self
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Taken { status, .. } | Self::Limited { status, .. } => Some(*status),
            Self::Refused { status, .. } | Self::Hopeless { status, .. } => *status,
        }
    }

    /// Why it was not taken, in short.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Taken { .. } => String::new(),
            Self::Refused { cause, .. } | Self::Limited { cause, .. } | Self::Hopeless { cause, .. } => {
                cause.chars().take(CAUSE_CHARS_MAX).collect()
            }
        }
    }
}

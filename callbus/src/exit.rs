//! How a command ends: the exit codes scripts rely on.

use std::fmt;
use std::process::ExitCode;

/// What went wrong, for scripts. 0 is success, 2 a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    CheckFailed = 3,
    Auth = 4,
    NotFound = 5,
    Unreachable = 6,
}

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub exit: Exit,
    pub cause: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Self {
        Self { exit, cause: cause.into() }
    }

    pub(crate) fn say(exit: Exit, sentence: impl fmt::Display) -> Self {
        Self { exit, cause: anyhow::anyhow!("{sentence}") }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

/// Whatever has no code of its own has failed.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(cause: E) -> Self {
        Self { exit: Exit::Failed, cause: cause.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

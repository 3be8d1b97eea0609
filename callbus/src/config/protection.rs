//! Whether callbacks must be signed: `WEBHOOK_PROTECTION`, or by its older name `PROTECT_VOICE_CALLBACKS`.

use super::fault::Fault;
use crate::environment::Environment;

const NAME: &str = "WEBHOOK_PROTECTION";
const OLDER_NAME: &str = "PROTECT_VOICE_CALLBACKS";

/// When signatures are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    Never,
    /// Everywhere but in development.
    Deploy,
    Always,
}

impl Protection {
    /// The newer name wins.
    ///
    /// # Errors
    /// For a value that means nothing: it may have been meant to protect.
    pub(crate) fn of(environment: &Environment) -> Result<Self, Fault> {
        let set = [NAME, OLDER_NAME].into_iter().find_map(|name| Some((name, environment.get(name)?)));
        match set {
            None => Ok(Self::Deploy),
            Some((name, value)) => match value.to_ascii_lowercase().as_str() {
                "never" => Ok(Self::Never),
                "deploy" => Ok(Self::Deploy),
                "always" => Ok(Self::Always),
                _ => Err(Fault::setting(name, format!("{value:?} is not known"), "write never, deploy or always")),
            },
        }
    }

    pub(crate) fn verifies(self, environment: &Environment) -> bool {
        match self {
            Self::Never => false,
            Self::Deploy => !environment.is_development(),
            Self::Always => true,
        }
    }
}

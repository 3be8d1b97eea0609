//! The answer when nobody can say: no worker, too late, or an answer Sinch would not take.

use proto::svaml::{Action, Instruction};
use proto::{Kind, Svaml};

/// What an app's callers get then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// Say this and hang up (ICE and PIE); an answered call goes on (ACE).
    Say(String),
    /// An error status on purpose, so that Sinch tries the app's fallback URL.
    Error,
}

impl Default for Fallback {
    fn default() -> Self {
        Self::Say("We are sorry, your call cannot be connected right now. Please try again later.".to_owned())
    }
}

impl Fallback {
    /// `None` asks for an error status.
    pub(crate) fn answer(&self, kind: Kind) -> Option<Svaml> {
        if kind == Kind::Ace {
            return Some(Svaml::only(Action::Continue));
        }
        match self {
            Self::Say(text) => {
                Some(Svaml { instructions: vec![Instruction::say(text.as_str())], action: Action::Hangup })
            }
            Self::Error => None,
        }
    }
}

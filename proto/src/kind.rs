//! The kinds of event a call has.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened to a call. The first six are Sinch's callbacks, the rest ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Incoming call: what to do with it?
    Ice,
    /// Answered call: go on?
    Ace,
    /// Prompt input: the caller used a menu.
    Pie,
    /// Disconnected call.
    Dice,
    /// Something worth knowing (recording, AMD, an error); nothing is asked.
    Notify,
    /// An event this version has no name for; kept as it is.
    Unknown,
    /// What we answered, and why.
    Decided,
    /// A named event of the policy's own, made from a DICE or a notify.
    Emitted,
    /// What the platform said of the call when billing asked it.
    Asked,
    /// A call of ours was ordered.
    Placed,
    /// The platform's call is a leg of one we placed.
    Dialled,
    /// A call we placed went a step on.
    Progressed,
    /// The CDR: what the call came to.
    Settled,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::Ice,
        Self::Ace,
        Self::Pie,
        Self::Dice,
        Self::Notify,
        Self::Unknown,
        Self::Decided,
        Self::Emitted,
        Self::Asked,
        Self::Placed,
        Self::Dialled,
        Self::Progressed,
        Self::Settled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ice => "ice",
            Self::Ace => "ace",
            Self::Pie => "pie",
            Self::Dice => "dice",
            Self::Notify => "notify",
            Self::Unknown => "unknown",
            Self::Decided => "decided",
            Self::Emitted => "emitted",
            Self::Asked => "asked",
            Self::Placed => "placed",
            Self::Dialled => "dialled",
            Self::Progressed => "progressed",
            Self::Settled => "settled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Sinch waits for SVAML.
    pub fn wants_svaml(self) -> bool {
        matches!(self, Self::Ice | Self::Ace | Self::Pie)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

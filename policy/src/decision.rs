//! What a policy decided.

use proto::svaml::Action;
use proto::{PhoneNumber, Svaml, WalletId};

use crate::ask::Ask;
use crate::explanation::Explanation;
use crate::reason::Reason;

/// The longest call Sinch connects, in seconds.
pub(crate) const CALL_MAX_SECS: u32 = 14_400;

/// A decision and all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The rule that won, or the last one tried.
    pub rule: String,
    pub verdict: Verdict,
    /// Who pays. Always there when credit is to be reserved.
    pub wallet: Option<WalletId>,
    /// Call memory to set, in the order of the rule.
    pub remember: Vec<(String, String)>,
    pub explanation: Explanation,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// This, at no cost to a wallet.
    Answer(Svaml),
    /// This, once credit is held for at most so many seconds to that number; see [`Decision::granted`].
    Reserve { svaml: Svaml, number: PhoneNumber, cap_secs: u32 },
    /// No, with the answer that says so.
    Deny { reason: Reason, svaml: Svaml },
    /// Somebody else says what: see [`crate::Policy::answered`] and [`crate::Policy::ask_failed`].
    Ask { ask: Ask, reserve: bool },
}

impl Decision {
    /// The answer when credit for `secs` seconds is held: `maxDuration` is that, or the rule's own limit if it is less.
    ///
    /// At least a second is written, because no limit at all would be one without end. Verdicts that reserve nothing
    /// keep their answer; where there is none yet, the call ends.
    pub fn granted(&self, secs: u32) -> Svaml {
        match &self.verdict {
            Verdict::Answer(svaml) | Verdict::Deny { svaml, .. } => svaml.clone(),
            Verdict::Ask { .. } => Svaml::only(Action::Hangup),
            Verdict::Reserve { svaml, cap_secs, .. } => {
                let mut svaml = svaml.clone();
                if let Action::ConnectPstn(connect) = &mut svaml.action {
                    connect.max_duration = Some(secs.min(*cap_secs).max(1));
                }
                svaml
            }
        }
    }
}

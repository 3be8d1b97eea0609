//! What a decision means for the caller, so that two can be compared.

use std::fmt;

use proto::svaml::Action;
use proto::{Svaml, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Verdict};
use crate::reason::Reason;

/// What is done with a call, before anybody looks at credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    Answered,
    /// Answered, if there is credit for it.
    Reserved,
    Refused,
    /// Somebody else is asked.
    Asked,
}

/// A decision in short. Two are equal when neither the caller nor who pays could tell them apart, whatever the rule.
#[derive(Debug, Clone)]
pub struct Outline {
    pub outcome: Course,
    pub reason: Option<Reason>,
    pub rule: String,
    /// What is answered, as long as credit lasts; `None` where somebody else is asked.
    pub answer: Option<Svaml>,
    /// Who pays, where somebody does.
    pub wallet: Option<WalletId>,
    /// Host and path, or `nats`, of who is asked.
    pub asks: Option<String>,
}

impl Outline {
    pub fn of(decision: &Decision) -> Self {
        let rule = decision.rule.clone();
        let answer = || Some(decision.granted(u32::MAX));
        let (outcome, reason, answer, asks) = match &decision.verdict {
            Verdict::Answer(_) => (Course::Answered, None, answer(), None),
            Verdict::Reserve { .. } => (Course::Reserved, None, answer(), None),
            Verdict::Deny { reason, .. } => (Course::Refused, Some(reason.clone()), answer(), None),
            Verdict::Ask { ask, .. } => (Course::Asked, None, None, Some(ask.to.to_string())),
        };
        let wallet = decision.wallet.clone().filter(|_| outcome == Course::Reserved);
        Self { outcome, reason, rule, answer, wallet, asks }
    }

    /// SVAML's name of the action: `connectPstn`, `hangup`.
    pub fn action(&self) -> Option<&'static str> {
        self.answer.as_ref().map(|svaml| Action::name(&svaml.action))
    }
}

impl PartialEq for Outline {
    fn eq(&self, other: &Self) -> bool {
        let Self { outcome, reason, rule: _, answer, wallet, asks } = self;
        (outcome, reason, answer) == (&other.outcome, &other.reason, &other.answer)
            && (wallet, asks) == (&other.wallet, &other.asks)
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::Reserved => "reserved",
            Self::Refused => "refused",
            Self::Asked => "asked",
        })
    }
}

//! `decided`: what a callback was answered, and why. The worker writes this body, the ingress records it as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{DecisionKey, EventId, WalletId};
use crate::kind::Kind;

/// Body of the event `callbus.call.decided.v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// Same key, same answer. For a grant it also names the leg.
    pub key: DecisionKey,
    /// Of the callback that was answered.
    pub kind: Kind,
    /// Event id of that callback.
    pub callback: EventId,
    /// The SVAML, exactly the bytes that were sent.
    pub answer: Box<RawValue>,
    pub outcome: Outcome,
    /// Why it was refused or fell back: `NOT_ALLOWLISTED`, `NO_CREDIT`, `NO_WORKER`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule that won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Revision of the policy the rule stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Who pays, or would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletId>,
    /// The rule asked for credit: granted, or refused for want of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reserve: bool,
    /// The hold behind a grant, with its price rows: `money::Hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<RawValue>>,
    /// Rules tried and values read: `policy::Explanation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Box<RawValue>>,
    /// Which worker decided, or `ingress` for a fallback.
    pub by: String,
    /// From the ask's arrival to the decision.
    pub took_micros: u64,
}

/// What a decision came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered; no credit was asked for.
    Answered,
    /// Answered, and credit is held.
    Granted,
    /// The policy, the price list or the wallet said no.
    Refused,
    /// Nobody could decide in time.
    Fallback,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Fallback => "fallback",
        }
    }
}

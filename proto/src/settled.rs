//! `settled`: the call detail record, one per call, free and refused calls too. Written when the call has ended and
//! its charge, if any, is posted; again, and in its place, when more becomes known of the call: the newest stands.

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::asked::Said;
use crate::id::{AppName, CallId, Leg, WalletId};
use crate::placed::LegOf;

/// Body of the event `callbus.call.settled.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    pub call: CallId,
    pub app: AppName,
    /// The caller as Sinch named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When the ICE came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Sinch's result: `ANSWERED`, `BUSY`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Sinch's reason for the end: `CALLERHANGUP`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds from answer to end.
    pub duration_secs: u32,
    /// Code of the refusal, when the call was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The call ended, but nothing we decided is known of it: an operator should look. Such a CDR never stands in the
    /// place of a matched one of the same call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmatched: bool,
    /// An end was told of a call whose money was settled so long ago that wallets have forgotten it; it moved nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// What the platform said last, when billing asked how the call ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Said>,
    /// Another end that was told, and differs from the one the call is charged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disputed: Option<OtherEnd>,
    /// What each authorised leg came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<SettledLeg>,
    /// What Sinch charges us for the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier_cost: Option<SupplierCost>,
    /// It is a leg of a call that we placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<LegOf>,
}

impl Settled {
    /// Whether it stands, coming after another CDR of the same call: the newest does, and one that is unmatched never in
    /// the place of one that is not.
    pub fn replaces(&self, before: &Self) -> bool {
        !self.unmatched || before.unmatched
    }
}

/// An end as another DICE told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OtherEnd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u32>,
}

/// One leg's bill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettledLeg {
    pub leg: Leg,
    pub wallet: WalletId,
    pub currency: String,
    /// Name, version and prefix of the price list behind the price.
    pub deck: String,
    pub deck_version: String,
    pub prefix: String,
    pub held: Decimal,
    pub granted_secs: u32,
    pub billed_secs: u32,
    pub cost: Decimal,
    /// The call cost more than was held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overrun: bool,
    /// The cost rests on a guess: no end was heard of, or the leg began in a menu and its answer was not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimate: bool,
}

/// Sinch's `debit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupplierCost {
    pub amount: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

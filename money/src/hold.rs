//! Holds: money set aside for a leg before it is known what it costs.

use jiff::{SignedDuration, Timestamp};
use proto::{CallId, Leg, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::deck::DeckRef;
use crate::price::Price;

/// After the last granted second somebody must have told the end within this; then it is asked for.
pub const GRACE: SignedDuration = SignedDuration::from_secs(120);

/// What a decision set aside for one leg. It stands in the decision and in the wallet's history for ever, with
/// everything that settling the leg needs, so that a price list changed since changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    pub leg: Leg,
    pub call: CallId,
    pub wallet: WalletId,
    /// The cost of exactly `granted_secs`, in the currency of `price`.
    pub amount: Micros,
    pub granted_secs: u32,
    /// The rows the call will be charged by.
    pub price: Price,
    pub deck: DeckRef,
    /// The digits that chose the price.
    pub prefix: String,
    pub placed_at: Timestamp,
    /// When somebody must ask what became of the call: ring limit, granted seconds and a grace after `placed_at`.
    pub expires_at: Timestamp,
    /// What a smaller grant of the same leg had set aside, in whose place this one stands. Written by `place` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<Micros>,
}

/// How a leg ended, as the platform told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The platform's result was ANSWERED.
    pub answered: bool,
    /// From the answer to the end.
    pub duration_secs: u32,
    /// The ACE, or without one the end less its duration: says which period of the price each second falls in.
    pub answered_at: Timestamp,
    pub at: Timestamp,
}

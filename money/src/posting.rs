//! Postings: what happened to a wallet's money, kept for ever. Their fold is the [`Wallet`](crate::Wallet).

use jiff::Timestamp;
use proto::{CallId, Leg, WalletId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::currency::Currency;
use crate::hold::Hold;
use crate::limits::LimitsEdit;
use crate::lots::{GrantKind, GrantTerms, Share};
use crate::wallet::WalletStatus;

/// Most postings one event carries, so that it stays well below what a broker takes.
pub const POSTINGS_MAX: usize = 500;

/// The body of one event of a wallet: postings that were decided one after another and are appended together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalletEvent {
    pub wallet: WalletId,
    /// Of every amount in `postings`.
    pub currency: Currency,
    /// At most [`POSTINGS_MAX`].
    pub postings: Vec<Posting>,
}

/// One thing that happened to a wallet. Decided by the functions of [`command`](crate::command).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Posting {
    TopUpPosted(TopUp),
    HoldPlaced(Box<Hold>),
    CallCharged(Charge),
    HoldReleased(Release),
    HoldExpired(Expiry),
    WalletChanged(Change),
    GrantExpired(GrantExpiry),
    RefundPosted(Refund),
    ChargeCorrected(Correction),
}

impl Posting {
    /// What it changes about the limits.
    pub fn limits_edit(&self) -> Option<&LimitsEdit> {
        match self {
            Self::WalletChanged(change) => change.limits.as_ref(),
            Self::TopUpPosted(_)
            | Self::HoldPlaced(_)
            | Self::CallCharged(_)
            | Self::HoldReleased(_)
            | Self::HoldExpired(_)
            | Self::GrantExpired(_)
            | Self::RefundPosted(_)
            | Self::ChargeCorrected(_) => None,
        }
    }
}

/// Money came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopUp {
    pub id: PostingId,
    /// More than 0.
    pub amount: Micros,
    /// Present when it is a grant, which is spent in its turn and may expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantTerms>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Who posted it: a person or a program, as the API knows them.
    pub by: String,
}

/// A leg was answered and has ended: its hold is freed and its cost taken, in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Charge {
    pub leg: Leg,
    pub call: CallId,
    /// What the hold had set aside.
    pub held: Micros,
    pub amount: Micros,
    pub duration_secs: u32,
    /// The seconds paid for, every increment whole.
    pub billed_secs: u32,
    /// The call cost more than was held. It is charged all the same; the balance may be negative now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overrun: bool,
    /// Present where the price depends on it: with it and the hold's price rows, anybody can rate the call again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    /// What grants paid of it; the wallet's own money paid the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paid_by: Vec<Share>,
}

/// A leg ended without an answer, or after 0 s: its hold is freed, nothing is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    pub leg: Leg,
    pub call: CallId,
    pub held: Micros,
    pub ended_at: Timestamp,
}

/// Nobody could say how a leg ended. By itself a flag: somebody should look at the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expiry {
    pub leg: Leg,
    pub call: CallId,
    pub held: Micros,
    /// What was kept as an estimate: all that was held when the call is known to have been answered, else 0.
    pub amount: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// What grants paid of `amount`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paid_by: Vec<Share>,
}

/// A grant has expired, and this was left of it. Again when it got something back later, or when holds stood in the
/// way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantExpiry {
    pub grant: PostingId,
    /// 1 for its first expiry.
    pub nth: u32,
    pub amount: Micros,
    pub kind: GrantKind,
    pub expires_at: Timestamp,
}

/// Some of a charge, or all of it, was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refund {
    pub id: PostingId,
    pub leg: Leg,
    pub call: CallId,
    pub amount: Micros,
    /// What of it went back to the grants that had paid; the rest is the wallet's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned_to: Vec<Share>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    pub by: String,
}

/// A charge was wrong, and is another one now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Correction {
    pub id: PostingId,
    pub leg: Leg,
    pub call: CallId,
    /// The charge with the corrections before this one, without refunds.
    pub from: Micros,
    pub to: Micros,
    /// What grants paid of a charge that became larger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paid_by: Vec<Share>,
    /// What went back to grants of one that became smaller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned_to: Vec<Share>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    pub by: String,
}

/// The wallet's settings were changed; what is absent stayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WalletStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_limit: Option<Micros>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsEdit>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    pub by: String,
}

/// The name of what somebody asked to be posted: a top-up, a grant, a refund, a correction. The same id is the same
/// posting, for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PostingId(String);

/// Text that cannot name a posting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: write 1 to 128 visible ASCII characters")]
pub struct NotAPostingId;

impl PostingId {
    /// # Errors
    /// When it is not 1 to 128 visible ASCII characters.
    pub fn new(text: impl Into<String>) -> Result<Self, NotAPostingId> {
        let text = text.into();
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text)) } else { Err(NotAPostingId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PostingId {
    type Error = NotAPostingId;
    fn try_from(text: String) -> Result<Self, NotAPostingId> {
        Self::new(text)
    }
}

impl From<PostingId> for String {
    fn from(id: PostingId) -> String {
        id.0
    }
}

/// A side of the double entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// The wallet's money that no hold has set aside. With [`Account::Held`] it makes what is posted.
    Free,
    /// The wallet's money in open holds.
    Held,
    /// Where top-ups come from.
    Funding,
    /// Where charges go, and paid grants that expire.
    Revenue,
    /// Where promotional grants come from, and go to when they expire.
    Promotion,
}

/// The double entry of a posting: what each account gains. Always sums to zero; entries of nothing are left out.
pub fn entries(posting: &Posting) -> Vec<(Account, Micros)> {
    let moves = match posting {
        Posting::TopUpPosted(TopUp { amount, grant, .. }) => match grant.map(|terms| terms.kind) {
            Some(GrantKind::Granted) => vec![(Account::Promotion, Account::Free, *amount)],
            Some(GrantKind::Paid) | None => vec![(Account::Funding, Account::Free, *amount)],
        },
        Posting::HoldPlaced(hold) => {
            vec![(Account::Free, Account::Held, hold.amount.saturating_sub(hold.in_place_of.unwrap_or_default()))]
        }
        Posting::CallCharged(charge) => free_and_take(charge.held, charge.amount),
        Posting::HoldReleased(release) => free_and_take(release.held, Micros::ZERO),
        Posting::HoldExpired(expiry) => free_and_take(expiry.held, expiry.amount),
        Posting::WalletChanged(_) => vec![],
        Posting::RefundPosted(refund) => vec![(Account::Revenue, Account::Free, refund.amount)],
        Posting::ChargeCorrected(Correction { from, to, .. }) => {
            vec![(Account::Revenue, Account::Free, from.saturating_sub(*to))]
        }
        Posting::GrantExpired(expiry) => match expiry.kind {
            GrantKind::Granted => vec![(Account::Free, Account::Promotion, expiry.amount)],
            GrantKind::Paid => vec![(Account::Free, Account::Revenue, expiry.amount)],
        },
    };
    let moves = moves.into_iter().filter(|(_, _, amount)| *amount != Micros::ZERO);
    moves.flat_map(|(from, to, amount)| [(from, amount.negated()), (to, amount)]).collect()
}

fn free_and_take(held: Micros, amount: Micros) -> Vec<(Account, Account, Micros)> {
    vec![(Account::Held, Account::Free, held), (Account::Free, Account::Revenue, amount)]
}

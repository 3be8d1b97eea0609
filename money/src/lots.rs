//! Lots: what of a wallet's money came as grants, and the order in which it is spent.
//!
//! What is in no lot is the wallet's own money: plain top-ups, and below zero its debt. It is spent as paid credit of
//! the default priority that never expires, down to zero; what nothing else covers is taken from it as well.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rpds::RedBlackTreeMapSync;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::posting::PostingId;

/// Most grants of a wallet that have something left.
pub const GRANTS_MAX: usize = 100;

/// Of grants that do not say, and of the wallet's own money.
pub const PRIORITY_DEFAULT: u16 = 100;

/// What makes a top-up a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTerms {
    pub kind: GrantKind,
    /// The lower, the earlier it is spent.
    pub priority: u16,
    /// From then on it pays for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Where a grant came from. In the order of spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Promotional: nobody paid for it.
    Granted,
    Paid,
}

/// What a grant paid, or got back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    pub grant: PostingId,
    pub amount: Micros,
    /// The grant's, for whoever keeps no terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A grant, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lot {
    pub grant: PostingId,
    pub terms: GrantTerms,
    pub left: Micros,
}

/// The grants of a wallet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<WrittenLot>", into = "Vec<WrittenLot>")]
pub(crate) struct Lots {
    known: RedBlackTreeMapSync<PostingId, Known>,
    /// Those with something left, in the order of spending.
    live: BTreeMap<Turn, (PostingId, Micros)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    terms: GrantTerms,
    nth: usize,
    /// How often what was left of it has expired.
    expiries: u32,
}

/// A grant as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLot {
    grant: PostingId,
    terms: GrantTerms,
    expiries: u32,
    left: Micros,
}

/// Priority, earliest expiry, granted before paid, oldest.
type Turn = (u16, Timestamp, GrantKind, usize);

impl Lots {
    pub(crate) fn grant(&mut self, id: &PostingId, terms: GrantTerms, amount: Micros) {
        let nth = self.known.size().saturating_add(1);
        self.known.insert_mut(id.clone(), Known { terms, nth, expiries: 0 });
        self.give(&[Share { grant: id.clone(), amount, expires_at: None }]);
    }

    /// Who pays `amount` for something that began then, of a wallet with `own` money beside its grants. A grant that
    /// had expired by then does not.
    pub(crate) fn shares(&self, own: Micros, amount: Micros, began_at: Timestamp) -> Vec<Share> {
        let own_turn = (PRIORITY_DEFAULT, Timestamp::MAX, GrantKind::Paid, 0);
        let (mut due, mut own, mut shares) = (amount, own.max(Micros::ZERO), Vec::new());
        for (turn, (grant, left)) in &self.live {
            if *turn > own_turn {
                due = due.saturating_sub(own.min(due));
                own = Micros::ZERO;
            }
            let amount = (*left).min(due);
            if amount <= Micros::ZERO || turn.1 <= began_at {
                continue;
            }
            due = due.saturating_sub(amount);
            shares.push(Share {
                grant: grant.clone(),
                amount,
                expires_at: self.terms(grant).and_then(|t| t.expires_at),
            });
        }
        shares
    }

    pub(crate) fn take(&mut self, shares: &[Share]) {
        shares.iter().for_each(|share| self.add(&share.grant, share.amount.negated()));
    }

    pub(crate) fn give(&mut self, shares: &[Share]) {
        shares.iter().for_each(|share| self.add(&share.grant, share.amount));
    }

    /// Takes the `nth` expiry of a grant; false when it was taken before.
    pub(crate) fn expire(&mut self, id: &PostingId, nth: u32, amount: Micros) -> bool {
        match self.known.get(id).copied() {
            Some(known) if known.expiries < nth => {
                self.known.insert_mut(id.clone(), Known { expiries: nth, ..known });
            }
            Some(_) | None => return false,
        }
        self.add(id, amount.negated());
        true
    }

    pub(crate) fn terms(&self, id: &PostingId) -> Option<GrantTerms> {
        self.known.get(id).map(|known| known.terms)
    }

    /// What is left of a grant, and how often it has expired.
    pub(crate) fn left(&self, id: &PostingId) -> (Micros, u32) {
        let Some(known) = self.known.get(id) else { return (Micros::ZERO, 0) };
        (self.live.get(&known.turn()).map(|(_, left)| *left).unwrap_or_default(), known.expiries)
    }

    /// Those with something left, in the order of spending.
    pub(crate) fn live(&self) -> impl Iterator<Item = Lot> {
        self.live
            .iter()
            .filter_map(|(_, (grant, left))| Some(Lot { grant: grant.clone(), terms: self.terms(grant)?, left: *left }))
    }

    fn add(&mut self, id: &PostingId, amount: Micros) {
        let Some(turn) = self.known.get(id).map(Known::turn) else { return };
        let (left, _) = self.left(id);
        let left = left.saturating_add(amount);
        if left > Micros::ZERO {
            self.live.insert(turn, (id.clone(), left));
        } else {
            self.live.remove(&turn);
        }
    }
}

/// In the order in which they were granted.
impl From<Lots> for Vec<WrittenLot> {
    fn from(lots: Lots) -> Self {
        let mut known: Vec<_> = lots.known.iter().collect();
        known.sort_unstable_by_key(|(_, known)| known.nth);
        let written = |(grant, Known { terms, expiries, .. }): (&PostingId, &Known)| {
            let (left, _) = lots.left(grant);
            WrittenLot { grant: grant.clone(), terms: *terms, expiries: *expiries, left }
        };
        known.into_iter().map(written).collect()
    }
}

impl From<Vec<WrittenLot>> for Lots {
    fn from(written: Vec<WrittenLot>) -> Self {
        let mut lots = Self::default();
        for WrittenLot { grant, terms, expiries, left } in written {
            lots.grant(&grant, terms, left);
            lots.expire(&grant, expiries, Micros::ZERO);
        }
        lots
    }
}

impl Known {
    fn turn(&self) -> Turn {
        let GrantTerms { kind, priority, expires_at } = self.terms;
        (priority, expires_at.unwrap_or(Timestamp::MAX), kind, self.nth)
    }
}

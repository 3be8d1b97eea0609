//! A charge after it was posted: what was given back of it, what was corrected, and who has paid it by now.

use proto::{CallId, Leg};
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::lots::Share;
use crate::posting::{Correction, Posting, PostingId, Refund};

/// A charge as it was posted, once and for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    pub leg: Leg,
    pub call: CallId,
    pub amount: Micros,
    pub paid_by: Vec<Share>,
}

/// What became of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// With all corrections, refunds not deducted.
    pub charged: Micros,
    pub refunded: Micros,
    /// What grants have paid of the difference.
    paid_by: Vec<Share>,
}

/// The refunds and corrections of a wallet. They are few, and remembered for ever: a leg is forgotten sooner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adjustments {
    asked: RedBlackTreeMapSync<PostingId, Asked>,
    legs: RedBlackTreeMapSync<Leg, Adjusted>,
}

/// What an id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    Refund { leg: Leg, amount: Micros },
    Correction { leg: Leg, to: Micros },
}

/// What came after the charge of a leg.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjusted {
    refunded: Micros,
    /// Added to the charge; negative where it became smaller.
    corrected: Micros,
    /// Added to what each grant has paid.
    shares: Vec<Share>,
}

impl Charged {
    /// The charge a posting closes a leg with: nothing, where it was released. `None` for other postings.
    pub fn of(posting: &Posting) -> Option<Self> {
        let (leg, call, amount, paid_by) = match posting {
            Posting::CallCharged(charge) => (&charge.leg, &charge.call, charge.amount, &charge.paid_by),
            Posting::HoldExpired(expiry) => (&expiry.leg, &expiry.call, expiry.amount, &expiry.paid_by),
            Posting::HoldReleased(release) => (&release.leg, &release.call, Micros::ZERO, &Vec::new()),
            Posting::TopUpPosted(_)
            | Posting::HoldPlaced(_)
            | Posting::WalletChanged(_)
            | Posting::GrantExpired(_)
            | Posting::RefundPosted(_)
            | Posting::ChargeCorrected(_) => return None,
        };
        Some(Self { leg: leg.clone(), call: call.clone(), amount, paid_by: paid_by.clone() })
    }
}

impl Standing {
    /// What may still be given back.
    pub fn left(&self) -> Micros {
        self.charged.saturating_sub(self.refunded)
    }

    /// Where `amount` goes back to: first to the wallet's own money, which had paid last, then to the grants from the
    /// last to the first.
    pub(crate) fn returned(&self, amount: Micros) -> Vec<Share> {
        let own = self.paid_by.iter().fold(self.left(), |own, share| own.saturating_sub(share.amount));
        let mut rest = amount.saturating_sub(own.max(Micros::ZERO));
        let mut returned = Vec::new();
        for share in self.paid_by.iter().rev() {
            let amount = share.amount.min(rest);
            if amount > Micros::ZERO {
                rest = rest.saturating_sub(amount);
                returned.push(Share { amount, ..share.clone() });
            }
        }
        returned
    }
}

impl Adjustments {
    pub(crate) fn standing(&self, charged: &Charged) -> Standing {
        let adjusted = self.legs.get(&charged.leg).cloned().unwrap_or_default();
        let mut paid_by = charged.paid_by.clone();
        adjusted.shares.iter().for_each(|share| add(&mut paid_by, share));
        let (charged, refunded) = (charged.amount.saturating_add(adjusted.corrected), adjusted.refunded);
        Standing { charged, refunded, paid_by }
    }

    pub(crate) fn asked(&self, id: &PostingId) -> Option<&Asked> {
        self.asked.get(id)
    }

    /// False when it was taken before.
    pub(crate) fn refund(&mut self, refund: &Refund) -> bool {
        let Refund { id, leg, amount, returned_to, .. } = refund;
        if self.asked.contains_key(id) {
            return false;
        }
        self.asked.insert_mut(id.clone(), Asked::Refund { leg: leg.clone(), amount: *amount });
        let mut adjusted = self.legs.get(leg).cloned().unwrap_or_default();
        adjusted.refunded = adjusted.refunded.saturating_add(*amount);
        returned_to.iter().for_each(|share| add(&mut adjusted.shares, &negated(share)));
        self.legs.insert_mut(leg.clone(), adjusted);
        true
    }

    /// False when it was taken before.
    pub(crate) fn correct(&mut self, correction: &Correction) -> bool {
        let Correction { id, leg, from, to, paid_by, returned_to, .. } = correction;
        if self.asked.contains_key(id) {
            return false;
        }
        self.asked.insert_mut(id.clone(), Asked::Correction { leg: leg.clone(), to: *to });
        let mut adjusted = self.legs.get(leg).cloned().unwrap_or_default();
        adjusted.corrected = adjusted.corrected.saturating_add(to.saturating_sub(*from));
        paid_by.iter().for_each(|share| add(&mut adjusted.shares, share));
        returned_to.iter().for_each(|share| add(&mut adjusted.shares, &negated(share)));
        self.legs.insert_mut(leg.clone(), adjusted);
        true
    }
}

fn add(shares: &mut Vec<Share>, more: &Share) {
    match shares.iter_mut().find(|share| share.grant == more.grant) {
        Some(share) => share.amount = share.amount.saturating_add(more.amount),
        None => shares.push(more.clone()),
    }
}

fn negated(share: &Share) -> Share {
    Share { amount: share.amount.negated(), ..share.clone() }
}

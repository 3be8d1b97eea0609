//! What is posted, decided from a wallet and a fact.
//!
//! `Ok(None)` means that there is nothing to post: it has been done already. So every fact may be told again, and each
//! leg is charged at most once. The caller appends the posting at the place the wallet was folded up to, or not at all.

use jiff::Timestamp;
use proto::Leg;

use crate::amount::{Micros, Overflow};
use crate::charge::{Asked, Charged};
use crate::currency::Currency;
use crate::hold::{Ended, Hold};
use crate::lots::{GRANTS_MAX, GrantTerms};
use crate::posting::{Change, Charge, Correction, Expiry, GrantExpiry, Posting, PostingId, Refund, Release, TopUp};
use crate::rate::{CannotRate, cost};
use crate::wallet::{LegState, Wallet};

/// Why something may not be posted. Nothing of it passes by trying again: a person has to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("post {asked} to a wallet in {wallet}: use a wallet of that currency")]
    Currency { wallet: Currency, asked: Currency },
    #[error("begin a wallet without a currency: name one")]
    NoCurrency,
    #[error("post the amount {0}: it must be positive")]
    Amount(Micros),
    #[error("set a limit to {0}: it must not be negative")]
    Limit(Micros),
    #[error("post a grant: {GRANTS_MAX} of the wallet have something left; use a top-up")]
    Grants,
    #[error("use the id {:?}: it stands for something else; use a new one", .0.as_str())]
    AnotherId(PostingId),
    #[error("refund {asked}: {left} of the charge is left")]
    AboveCharge { asked: Micros, left: Micros },
    #[error("correct a charge to {to}: {refunded} of it was refunded")]
    BelowRefunds { to: Micros, refunded: Micros },
    #[error("post the top-up {id:?} of {asked}: it was posted before, with {posted}, or on other terms; use a new id", id = id.as_str())]
    IdTaken { id: PostingId, posted: Micros, asked: Micros },
    #[error("place the hold of a leg authorised at {0}: the wallet may have closed and forgotten it")]
    Late(Timestamp),
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error("charge the call: {0}")]
    Rate(#[from] CannotRate),
}

/// Posts the hold of a recorded decision, even where it overdraws the wallet: the grant has left, so the money is
/// exposed. Of several grants of one leg the largest stands: any may be the one the platform obeys. `None` when the leg
/// has as large a hold, or is closed already.
///
/// # Errors
/// When the currencies differ, the amount is negative or too large, or the decision is so old that the wallet may have
/// forgotten the leg.
pub fn place(wallet: &Wallet, hold: &Hold) -> Result<Option<Posting>, Refused> {
    let in_place_of = match wallet.leg(&hold.leg) {
        LegState::Open(smaller) if smaller.amount < hold.amount => Some(smaller.amount),
        LegState::Open(_) | LegState::Closed(_) => return Ok(None),
        LegState::Unknown if wallet.may_have_forgotten(hold.placed_at) => return Err(Refused::Late(hold.placed_at)),
        LegState::Unknown => None,
    };
    check_currency(wallet, hold.price.currency())?;
    if hold.amount.is_negative() {
        return Err(Refused::Amount(hold.amount));
    }
    wallet.facts().held.checked_add(hold.amount)?;
    Ok(Some(Posting::HoldPlaced(Box::new(Hold { in_place_of, ..hold.clone() }))))
}

/// Settles a leg that has ended: charged by the price rows of its hold when it was answered and lasted, else released.
/// Above the hold is charged too, and flagged. `None` when the leg is closed already, or not open yet: keep the end
/// until the hold has been placed.
///
/// # Errors
/// When the cost is too large to be posted, or the price says nothing about the time of the call.
pub fn settle(wallet: &Wallet, leg: &Leg, ended: Ended) -> Result<Option<Posting>, Refused> {
    let LegState::Open(hold) = wallet.leg(leg) else { return Ok(None) };
    let Ended { answered, duration_secs, answered_at, at: ended_at } = ended;
    let (leg, call, held) = (hold.leg.clone(), hold.call.clone(), hold.amount);
    if !answered || duration_secs == 0 {
        return Ok(Some(Posting::HoldReleased(Release { leg, call, held, ended_at })));
    }
    let cost = cost(&hold.price, duration_secs, answered_at)?;
    wallet.facts().posted.checked_sub(cost.amount)?;
    Ok(Some(Posting::CallCharged(Charge {
        leg,
        call,
        held,
        amount: cost.amount,
        duration_secs,
        billed_secs: cost.billed_secs,
        overrun: cost.amount > held,
        answered_at: hold.price.has_periods().then_some(answered_at),
        ended_at,
        paid_by: wallet.shares(cost.amount, hold.placed_at),
    })))
}

/// Closes a leg of which nobody can say how it ended: what was held is kept as an estimate if the call is known to have
/// been answered, and released if not. `None` when the leg is not open.
///
/// # Errors
/// When the balance would become too small to be posted.
pub fn expire(wallet: &Wallet, leg: &Leg, answered_at: Option<Timestamp>) -> Result<Option<Posting>, Refused> {
    let LegState::Open(hold) = wallet.leg(leg) else { return Ok(None) };
    let amount = if answered_at.is_some() { hold.amount } else { Micros::ZERO };
    wallet.facts().posted.checked_sub(amount)?;
    let (leg, call, held) = (hold.leg.clone(), hold.call.clone(), hold.amount);
    let paid_by = wallet.shares(amount, hold.placed_at);
    Ok(Some(Posting::HoldExpired(Expiry { leg, call, held, amount, answered_at, paid_by })))
}

/// Posts money that came in, or was granted. The first posting gives a wallet its currency. `None` when this id was
/// posted before.
///
/// # Errors
/// When the amount is not positive, the currencies differ, the id stands for another amount, or the balance would
/// become too large.
pub fn top_up(wallet: &Wallet, currency: Currency, top_up: TopUp) -> Result<Option<Posting>, Refused> {
    let TopUp { id, amount, grant, .. } = &top_up;
    check_currency(wallet, currency)?;
    if let Some(posted) = wallet.top_up(id) {
        return if posted == *amount && wallet.grant_terms(id) == *grant {
            Ok(None)
        } else {
            Err(Refused::IdTaken { id: id.clone(), posted, asked: *amount })
        };
    }
    if wallet.asked(id).is_some() {
        return Err(Refused::AnotherId(id.clone()));
    }
    if *amount <= Micros::ZERO {
        return Err(Refused::Amount(*amount));
    }
    if grant.is_some() && wallet.grants().count() >= GRANTS_MAX {
        return Err(Refused::Grants);
    }
    let facts = wallet.facts();
    facts.posted.checked_add(*amount)?.checked_add(facts.credit_limit)?;
    Ok(Some(Posting::TopUpPosted(top_up)))
}

/// Takes what is left of a grant that has expired by now, except what calls may still spend of it: those whose hold was
/// placed before. That goes when they are closed. `None` when there is nothing to take.
///
/// # Errors
/// When the balance would become too small to be posted.
pub fn expire_grant(wallet: &Wallet, id: &PostingId, now: Timestamp) -> Result<Option<Posting>, Refused> {
    let Some(GrantTerms { kind, expires_at: Some(expires_at), .. }) = wallet.grant_terms(id) else { return Ok(None) };
    let ((left, expiries), facts) = (wallet.grant_left(id), wallet.facts());
    let amount = left.saturating_sub(wallet.held_before(expires_at)).min(facts.posted.saturating_sub(facts.held));
    if expires_at > now || amount <= Micros::ZERO {
        return Ok(None);
    }
    facts.posted.checked_sub(amount)?;
    let nth = expiries.saturating_add(1);
    Ok(Some(Posting::GrantExpired(GrantExpiry { grant: id.clone(), nth, amount, kind, expires_at })))
}

/// Gives back some of a charge, or without an amount all that is left of it, to whom it was taken from. `None` when
/// this id was posted before.
///
/// # Errors
/// When the amount is not positive or more than is left, the id stands for something else, or the balance would become
/// too large.
pub fn refund(
    wallet: &Wallet,
    charged: &Charged,
    id: PostingId,
    amount: Option<Micros>,
    note: String,
    by: String,
) -> Result<Option<Posting>, Refused> {
    match wallet.asked(&id) {
        Some(Asked::Refund { leg, amount: posted }) if *leg == charged.leg && amount.is_none_or(|a| a == *posted) => {
            return Ok(None);
        }
        Some(_) => return Err(Refused::AnotherId(id)),
        None if wallet.top_up(&id).is_some() => return Err(Refused::AnotherId(id)),
        None => {}
    }
    let standing = wallet.standing(charged);
    let (left, amount) = (standing.left(), amount.unwrap_or(standing.left()));
    if amount > left || left == Micros::ZERO {
        return Err(Refused::AboveCharge { asked: amount, left });
    }
    if amount <= Micros::ZERO {
        return Err(Refused::Amount(amount));
    }
    let facts = wallet.facts();
    facts.posted.checked_add(amount)?.checked_add(facts.credit_limit)?;
    let (leg, call, returned_to) = (charged.leg.clone(), charged.call.clone(), standing.returned(amount));
    Ok(Some(Posting::RefundPosted(Refund { id, leg, call, amount, returned_to, note, by })))
}

/// Makes a charge `to`. `None` when this id was posted before, or the charge is that already.
///
/// # Errors
/// When `to` is negative or below what was refunded, the id stands for something else, or the balance would become too
/// large or too small.
pub fn correct(
    wallet: &Wallet,
    charged: &Charged,
    id: PostingId,
    to: Micros,
    note: String,
    by: String,
) -> Result<Option<Posting>, Refused> {
    match wallet.asked(&id) {
        Some(Asked::Correction { leg, to: posted }) if *leg == charged.leg && *posted == to => return Ok(None),
        Some(_) => return Err(Refused::AnotherId(id)),
        None if wallet.top_up(&id).is_some() => return Err(Refused::AnotherId(id)),
        None => {}
    }
    let standing = wallet.standing(charged);
    let (from, refunded) = (standing.charged, standing.refunded);
    if to.is_negative() || to < refunded {
        return Err(Refused::BelowRefunds { to, refunded });
    }
    if to == from {
        return Ok(None);
    }
    let facts = wallet.facts();
    facts.posted.checked_add(from.checked_sub(to)?)?.checked_add(facts.credit_limit)?;
    let more = to.saturating_sub(from);
    let (paid_by, returned_to) = if more > Micros::ZERO {
        (wallet.shares(more, Timestamp::MIN), vec![])
    } else {
        (vec![], standing.returned(more.negated()))
    };
    let (leg, call) = (charged.leg.clone(), charged.call.clone());
    let correction = Correction { id, leg, call, from, to, paid_by, returned_to, note, by };
    Ok(Some(Posting::ChargeCorrected(correction)))
}

/// Changes a wallet's settings. `None` when they are so already.
///
/// # Errors
/// When the currencies differ, a limit is negative, or the credit limit would make what is available too large.
pub fn change(wallet: &Wallet, currency: Currency, change: Change) -> Result<Option<Posting>, Refused> {
    check_currency(wallet, currency)?;
    let facts = wallet.facts();
    let changed @ (_, credit_limit, limits) = &wallet.changed(&change);
    if let Some(negative) = limits.amounts().chain([*credit_limit]).find(|amount| amount.is_negative()) {
        return Err(Refused::Limit(negative));
    }
    facts.posted.checked_add(*credit_limit)?;
    let changes = *changed != (facts.status, facts.credit_limit, facts.limits);
    Ok(changes.then_some(Posting::WalletChanged(change)))
}

fn check_currency(wallet: &Wallet, asked: Currency) -> Result<(), Refused> {
    match wallet.facts().currency {
        Some(wallet) if wallet != asked => Err(Refused::Currency { wallet, asked }),
        Some(_) | None => Ok(()),
    }
}

//! A statement: what happened to a wallet's money in a time, and why.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proto::{CallId, Leg};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::{Micros, Overflow};
use crate::currency::Currency;
use crate::deck::DeckRef;
use crate::lots::Share;
use crate::posting::{Charge, Expiry, Posting, PostingId, TopUp, WalletEvent};
use crate::price::Price;
use crate::wallet::{LegState, Wallet};

/// Everything posted from `from` to before `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Statement {
    pub currency: Option<Currency>,
    pub from: Timestamp,
    pub to: Timestamp,
    pub opening: Micros,
    pub closing: Micros,
    /// What each kind of posting moved; with `opening` they make `closing`.
    pub totals: BTreeMap<&'static str, Micros>,
    /// Oldest first.
    pub lines: Vec<Line>,
}

/// One posting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    pub seq: u64,
    pub time: Timestamp,
    pub what: &'static str,
    /// What it did to the balance.
    pub amount: Micros,
    /// After it.
    pub balance: Micros,
    /// What the open holds set aside, after it.
    pub held: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<Leg>,
    /// What a charge was rated by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceUsed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_secs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PostingId>,
    /// What grants paid, or with a minus got back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Share>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub note: String,
    /// Who asked for it, where somebody did.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub by: String,
}

/// The row of a price list that stood in the hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceUsed {
    pub deck: DeckRef,
    pub prefix: String,
    pub price: Price,
}

/// The statement of a wallet, from its whole history: events with their sequence and time.
///
/// # Errors
/// When opening balance and lines do not add up to the closing balance within what an amount can be; the commands post
/// nothing that could do so.
pub fn statement<'a>(
    events: impl IntoIterator<Item = (u64, Timestamp, &'a WalletEvent)>,
    from: Timestamp,
    to: Timestamp,
) -> Result<Statement, Overflow> {
    let mut wallet = Wallet::default();
    let mut found = Statement {
        currency: None,
        from,
        to,
        opening: Micros::ZERO,
        closing: Micros::ZERO,
        totals: BTreeMap::new(),
        lines: Vec::new(),
    };
    let mut opened = false;
    for (seq, time, event) in events {
        if time >= to {
            break;
        }
        found.currency.get_or_insert(event.currency);
        for posting in &event.postings {
            let before = wallet.facts().posted;
            if !opened && time >= from {
                (opened, found.opening) = (true, before);
            }
            let line = entry(&mut wallet, seq, time, event.currency, posting)?;
            if opened {
                let total = found.totals.entry(line.what).or_default();
                *total = total.checked_add(line.amount)?;
                found.lines.push(line);
            }
        }
    }
    found.closing = wallet.facts().posted;
    if !opened {
        found.opening = found.closing;
    }
    let sum = found.totals.values().try_fold(found.opening, |sum, total| sum.checked_add(*total))?;
    if sum == found.closing { Ok(found) } else { Err(Overflow) }
}

/// Posts a posting to the wallet, and tells what it did and why. Amounts of all entries of a wallet, one after another,
/// add up to its balance: what the wallet had taken before has the amount 0.
///
/// # Errors
/// When the amount lies beyond what an amount can be; the commands post nothing that could do so.
pub fn entry(
    wallet: &mut Wallet,
    seq: u64,
    time: Timestamp,
    currency: Currency,
    posting: &Posting,
) -> Result<Line, Overflow> {
    let mut line = line(wallet, seq, time, posting);
    let before = wallet.facts().posted;
    wallet.post(time, currency, posting);
    let after = wallet.facts();
    (line.balance, line.held) = (after.posted, after.held);
    line.amount = after.posted.checked_sub(before)?;
    Ok(line)
}

/// The posting and its cause; `wallet` is as it was before.
fn line(wallet: &Wallet, seq: u64, time: Timestamp, posting: &Posting) -> Line {
    let (call, leg) = about(posting);
    let price = leg.and_then(|leg| match (posting, wallet.leg(leg)) {
        (Posting::CallCharged(_) | Posting::HoldExpired(_), LegState::Open(hold)) => {
            Some(PriceUsed { deck: hold.deck.clone(), prefix: hold.prefix.clone(), price: hold.price.clone() })
        }
        (_, LegState::Open(_) | LegState::Closed(_) | LegState::Unknown) => None,
    });
    let mut line = Line {
        seq,
        time,
        what: what(posting),
        amount: Micros::ZERO,
        balance: Micros::ZERO,
        held: Micros::ZERO,
        call: call.cloned(),
        leg: leg.cloned(),
        price,
        duration_secs: None,
        billed_secs: None,
        id: None,
        grants: Vec::new(),
        note: String::new(),
        by: String::new(),
    };
    let back = |shares: &[Share]| -> Vec<Share> {
        shares.iter().map(|share| Share { amount: share.amount.negated(), ..share.clone() }).collect()
    };
    match posting {
        Posting::TopUpPosted(TopUp { id, note, by, .. }) => {
            (line.id, line.note, line.by) = (Some(id.clone()), note.clone(), by.clone());
        }
        Posting::CallCharged(Charge { duration_secs, billed_secs, paid_by, .. }) => {
            (line.duration_secs, line.billed_secs) = (Some(*duration_secs), Some(*billed_secs));
            line.grants.clone_from(paid_by);
        }
        Posting::HoldExpired(Expiry { paid_by, .. }) => line.grants.clone_from(paid_by),
        Posting::RefundPosted(refund) => {
            (line.id, line.note, line.by) = (Some(refund.id.clone()), refund.note.clone(), refund.by.clone());
            line.grants = back(&refund.returned_to);
        }
        Posting::ChargeCorrected(correction) => {
            (line.id, line.note) = (Some(correction.id.clone()), correction.note.clone());
            line.by.clone_from(&correction.by);
            line.grants = [correction.paid_by.clone(), back(&correction.returned_to)].concat();
        }
        Posting::GrantExpired(expiry) => line.id = Some(expiry.grant.clone()),
        Posting::WalletChanged(change) => (line.note, line.by) = (change.note.clone(), change.by.clone()),
        Posting::HoldPlaced(_) | Posting::HoldReleased(_) => {}
    }
    line
}

/// In one or two words.
fn what(posting: &Posting) -> &'static str {
    match posting {
        Posting::TopUpPosted(TopUp { grant: Some(_), .. }) => "grant",
        Posting::TopUpPosted(TopUp { grant: None, .. }) => "top-up",
        Posting::HoldPlaced(_) => "held",
        Posting::CallCharged(_) => "charged",
        Posting::HoldReleased(_) => "released",
        Posting::HoldExpired(_) => "estimated",
        Posting::WalletChanged(_) => "changed",
        Posting::GrantExpired(_) => "grant expired",
        Posting::RefundPosted(_) => "refunded",
        Posting::ChargeCorrected(_) => "corrected",
    }
}

fn about(posting: &Posting) -> (Option<&CallId>, Option<&Leg>) {
    match posting {
        Posting::HoldPlaced(hold) => (Some(&hold.call), Some(&hold.leg)),
        Posting::CallCharged(charge) => (Some(&charge.call), Some(&charge.leg)),
        Posting::HoldReleased(release) => (Some(&release.call), Some(&release.leg)),
        Posting::HoldExpired(expiry) => (Some(&expiry.call), Some(&expiry.leg)),
        Posting::RefundPosted(refund) => (Some(&refund.call), Some(&refund.leg)),
        Posting::ChargeCorrected(correction) => (Some(&correction.call), Some(&correction.leg)),
        Posting::TopUpPosted(_) | Posting::WalletChanged(_) | Posting::GrantExpired(_) => (None, None),
    }
}

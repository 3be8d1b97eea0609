//! A wallet: the fold of its postings.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use proto::Leg;
use rpds::RedBlackTreeMapSync;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::charge::{Adjustments, Asked, Charged, Standing};
use crate::closed::ClosedLegs;
use crate::currency::Currency;
use crate::hold::Hold;
use crate::limits::{Limits, Spent};
use crate::lots::{GrantTerms, Lot, Lots, Share};
use crate::posting::{Change, Correction, GrantExpiry, Posting, PostingId, Refund, TopUp, WalletEvent};

/// How long a wallet remembers the legs that were closed. What happens to a leg longer gone is
/// never posted by itself.
pub const LEG_MEMORY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Who pays, and what is left. Changed by its postings and nothing else; they always fit, in whatever order or number.
///
/// A clone costs next to nothing, however long the history: both share what they have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    currency: Option<Currency>,
    status: WalletStatus,
    credit_limit: Micros,
    limits: Limits,
    spent: Spent,
    posted: Micros,
    held: Micros,
    open: RedBlackTreeMapSync<Leg, Arc<Hold>>,
    closed: ClosedLegs,
    top_ups: RedBlackTreeMapSync<PostingId, Micros>,
    lots: Lots,
    adjustments: Adjustments,
    latest: Timestamp,
    last_seq: u64,
    impossible: u64,
}

/// Whether a wallet pays for new calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalletStatus {
    #[default]
    Active,
    Blocked,
    Closed,
}

/// What a decision may know of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalletFacts {
    /// `None` until the wallet's first posting.
    pub currency: Option<Currency>,
    pub status: WalletStatus,
    /// Top-ups less charges.
    pub posted: Micros,
    /// How far below zero `posted` may go.
    pub credit_limit: Micros,
    /// The sum of the open holds.
    pub held: Micros,
    /// What a new hold may take: posted + credit limit − held, and of expired grants nothing but what holds stand on.
    pub available: Micros,
    pub limits: Limits,
    /// What was charged, estimates included; what a refund or a correction gives back was spent all the same.
    pub spent: Spent,
}

/// A leg that has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// When the wallet learned of it.
    pub at: Timestamp,
    pub charged: Micros,
}

/// What a wallet knows of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegState<'a> {
    /// Never seen, or closed longer ago than [`LEG_MEMORY`].
    Unknown,
    Open(&'a Hold),
    Closed(Closed),
}

impl WalletFacts {
    /// The most a hold may take on a date of the wallet's calendar: what is available, and not above what the day and
    /// the month leave.
    pub fn budget(&self, date: Date) -> Micros {
        let (day, month) = self.spent.on(date);
        let left = |max: Option<Micros>, spent| {
            max.map_or(Micros::MAX, |max| max.saturating_sub(spent).saturating_sub(self.held))
        };
        let (day_left, month_left) = (left(self.limits.spend_day_max, day), left(self.limits.spend_month_max, month));
        self.available.min(day_left).min(month_left)
    }
}

impl Wallet {
    /// Takes one event of the wallet's history. `seq` is its place in the log, `time` the event's own.
    ///
    /// Total: an event at or before [`Wallet::last_seq`] is ignored, a posting the wallet has taken already changes
    /// nothing, and one that cannot be is only counted ([`Wallet::impossible`]).
    pub fn apply(&mut self, seq: u64, time: Timestamp, event: &WalletEvent) {
        if seq <= self.last_seq {
            return;
        }
        self.last_seq = seq;
        for posting in &event.postings {
            self.post(time, event.currency, posting);
        }
    }

    /// Takes one posting; false when it changed nothing.
    ///
    /// A writer that gathers a batch takes each posting here before it decides the next one. Once the batch is in the
    /// log, [`Wallet::apply`] finds the postings taken already; if the append fails, the wallet is folded anew.
    pub fn post(&mut self, time: Timestamp, currency: Currency, posting: &Posting) -> bool {
        if *self.currency.get_or_insert(currency) != currency {
            self.impossible = self.impossible.saturating_add(1);
            return false;
        }
        let at = self.latest.max(time);
        let changed = match posting {
            Posting::TopUpPosted(top_up) => self.take_top_up(top_up),
            Posting::HoldPlaced(hold) => self.open(hold),
            Posting::CallCharged(charge) => {
                self.close(&charge.leg, charge.amount, at) && self.spend(time, charge.amount, &charge.paid_by)
            }
            Posting::HoldReleased(release) => self.close(&release.leg, Micros::ZERO, at),
            Posting::HoldExpired(expiry) => {
                self.close(&expiry.leg, expiry.amount, at) && self.spend(time, expiry.amount, &expiry.paid_by)
            }
            Posting::WalletChanged(change) => self.take_change(change),
            Posting::GrantExpired(expiry) => self.take_expiry(expiry),
            Posting::RefundPosted(refund) => self.take_refund(refund),
            Posting::ChargeCorrected(correction) => self.take_correction(correction),
        };
        // Time moves on only now, so that the fold judged a hold's age as the command did that placed it.
        self.latest = at;
        self.forget();
        changed
    }

    /// As of the newest event.
    pub fn facts(&self) -> WalletFacts {
        self.facts_at(self.latest)
    }

    pub fn facts_at(&self, now: Timestamp) -> WalletFacts {
        WalletFacts {
            currency: self.currency,
            status: self.status,
            posted: self.posted,
            credit_limit: self.credit_limit,
            held: self.held,
            available: available(self.posted, self.held, self.credit_limit, self.expired_at(now)),
            limits: self.limits.clone(),
            spent: self.spent,
        }
    }

    /// What a new hold may take, as of the newest event. Below zero after an overrun.
    pub fn available(&self) -> Micros {
        self.facts().available
    }

    /// What is left of the grants that have expired by then.
    fn expired_at(&self, now: Timestamp) -> Micros {
        // To the millisecond, as admission has it.
        let over = |at: Timestamp| at.as_millisecond() <= now.as_millisecond();
        let expired = self.lots.live().filter(|lot| lot.terms.expires_at.is_some_and(over));
        expired.fold(Micros::ZERO, |sum, lot| sum.saturating_add(lot.left))
    }

    /// The grants that have something left, in the order of spending.
    pub fn grants(&self) -> impl Iterator<Item = Lot> {
        self.lots.live()
    }

    /// The terms of a grant that was posted.
    pub fn grant_terms(&self, id: &PostingId) -> Option<GrantTerms> {
        self.lots.terms(id)
    }

    /// What is left of a grant, and how often it has expired.
    pub(crate) fn grant_left(&self, id: &PostingId) -> (Micros, u32) {
        self.lots.left(id)
    }

    /// What became of a charge of this wallet.
    pub fn standing(&self, charged: &Charged) -> Standing {
        self.adjustments.standing(charged)
    }

    /// What the id of a refund or a correction stands for.
    pub(crate) fn asked(&self, id: &PostingId) -> Option<&Asked> {
        self.adjustments.asked(id)
    }

    /// What grants would pay of a debit for something that began then.
    pub(crate) fn shares(&self, amount: Micros, began_at: Timestamp) -> Vec<Share> {
        let own = self.lots.live().fold(self.posted, |own, lot| own.saturating_sub(lot.left));
        self.lots.shares(own, amount, began_at)
    }

    /// What the holds placed before a time set aside.
    pub(crate) fn held_before(&self, time: Timestamp) -> Micros {
        let before = self.holds().filter(|hold| hold.placed_at < time);
        before.fold(Micros::ZERO, |sum, hold| sum.saturating_add(hold.amount))
    }

    pub fn leg(&self, leg: &Leg) -> LegState<'_> {
        match (self.open.get(leg), self.closed.get(leg)) {
            (Some(hold), _) => LegState::Open(hold),
            (None, Some(closed)) => LegState::Closed(closed),
            (None, None) => LegState::Unknown,
        }
    }

    /// Whether a leg that was authorised at `placed_at` may be closed and forgotten by now.
    pub fn may_have_forgotten(&self, placed_at: Timestamp) -> bool {
        self.latest.duration_since(placed_at) >= LEG_MEMORY
    }

    /// The open holds, by leg.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.open.values().map(Arc::as_ref)
    }

    /// The legs closed within [`LEG_MEMORY`], the longest closed first.
    pub fn closed(&self) -> impl DoubleEndedIterator<Item = (Leg, Closed)> {
        self.closed.iter()
    }

    /// How many things it remembers: its size in memory goes by it.
    pub fn memories(&self) -> usize {
        self.open.size().saturating_add(self.closed.len()).saturating_add(self.top_ups.size())
    }

    /// The amount of a top-up that was posted.
    pub fn top_up(&self, id: &PostingId) -> Option<Micros> {
        self.top_ups.get(id).copied()
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Place in the log of the last event taken; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many postings could not be taken: of another currency, or beyond what an amount can be. Always 0, unless
    /// something other than the commands of this crate wrote the history.
    pub fn impossible(&self) -> u64 {
        self.impossible
    }

    /// Status, credit limit and limits as a change leaves them.
    pub(crate) fn changed(&self, change: &Change) -> (WalletStatus, Micros, Limits) {
        let limits = change.limits.as_ref().map_or_else(|| self.limits.clone(), |edit| self.limits.edited(edit));
        (change.status.unwrap_or(self.status), change.credit_limit.unwrap_or(self.credit_limit), limits)
    }

    fn take_top_up(&mut self, top_up: &TopUp) -> bool {
        let TopUp { id, amount, grant, .. } = top_up;
        if self.top_ups.contains_key(id) {
            return false;
        }
        let Ok(posted) = self.posted.checked_add(*amount) else { return self.cannot() };
        self.posted = posted;
        self.top_ups.insert_mut(id.clone(), *amount);
        if let Some(terms) = grant {
            self.lots.grant(id, *terms, *amount);
        }
        true
    }

    fn take_refund(&mut self, refund: &Refund) -> bool {
        let Ok(posted) = self.posted.checked_add(refund.amount) else { return self.cannot() };
        let new = self.adjustments.refund(refund);
        if new {
            self.posted = posted;
            self.lots.give(&refund.returned_to);
        }
        new
    }

    fn take_correction(&mut self, correction: &Correction) -> bool {
        let Correction { from, to, paid_by, returned_to, .. } = correction;
        let Ok(posted) = self.posted.checked_add(from.saturating_sub(*to)) else { return self.cannot() };
        let new = self.adjustments.correct(correction);
        if new {
            self.posted = posted;
            self.lots.take(paid_by);
            self.lots.give(returned_to);
        }
        new
    }

    fn take_expiry(&mut self, expiry: &GrantExpiry) -> bool {
        let Ok(posted) = self.posted.checked_sub(expiry.amount) else { return self.cannot() };
        let new = self.lots.expire(&expiry.grant, expiry.nth, expiry.amount);
        if new {
            self.posted = posted;
        }
        new
    }

    fn take_change(&mut self, change: &Change) -> bool {
        let after = self.changed(change);
        let changed = after != (self.status, self.credit_limit, self.limits.clone());
        (self.status, self.credit_limit, self.limits) = after;
        changed
    }

    fn open(&mut self, hold: &Hold) -> bool {
        let before = match self.leg(&hold.leg) {
            LegState::Open(smaller) if hold.in_place_of == Some(smaller.amount) => smaller.amount,
            LegState::Unknown if !self.may_have_forgotten(hold.placed_at) => Micros::ZERO,
            LegState::Open(_) | LegState::Closed(_) | LegState::Unknown => return false,
        };
        let Ok(held) = self.held.saturating_sub(before).checked_add(hold.amount) else { return self.cannot() };
        self.held = held;
        self.open.insert_mut(hold.leg.clone(), Arc::new(hold.clone()));
        true
    }

    /// Closes a leg whether or not its hold has been seen: a hold that comes after it stays out.
    fn close(&mut self, leg: &Leg, charged: Micros, at: Timestamp) -> bool {
        if self.closed.get(leg).is_some() {
            return false;
        }
        let Ok(posted) = self.posted.checked_sub(charged) else { return self.cannot() };
        self.posted = posted;
        if let Some(hold) = self.open.get(leg) {
            self.held = self.held.saturating_sub(hold.amount);
            self.open.remove_mut(leg);
        }
        self.closed.insert(leg, Closed { at, charged });
        true
    }

    fn spend(&mut self, time: Timestamp, amount: Micros, paid_by: &[Share]) -> bool {
        self.lots.take(paid_by);
        self.spent.add(self.limits.date(time), amount);
        true
    }

    fn cannot(&mut self) -> bool {
        self.impossible = self.impossible.saturating_add(1);
        false
    }

    /// Forgets by the time of events, not of a clock, so that every fold of a history forgets the same.
    fn forget(&mut self) {
        while self.closed.oldest().is_some_and(|closed| self.may_have_forgotten(closed.at)) {
            self.closed.remove_oldest();
        }
    }
}

/// What a new hold may take. Of what is left of expired grants nothing is, but holds that stand on it stay covered:
/// expiry never makes a wallet overdrawn.
pub(crate) fn available(posted: Micros, held: Micros, credit_limit: Micros, expired: Micros) -> Micros {
    let free = posted.saturating_sub(held);
    free.saturating_sub(expired.min(free.max(Micros::ZERO))).saturating_add(credit_limit)
}

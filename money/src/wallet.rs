//! A wallet: the fold of its postings.

use std::collections::{BTreeMap, VecDeque};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use proto::Leg;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::currency::Currency;
use crate::hold::Hold;
use crate::limits::{Limits, Spent};
use crate::posting::{Change, Posting, TopUpId, WalletEvent};

/// How long a wallet remembers the legs that were closed. What happens to a leg longer gone is
/// never posted by itself.
pub const LEG_MEMORY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Who pays, and what is left. Changed by its postings and nothing else; they always fit, in whatever order or number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wallet {
    currency: Option<Currency>,
    status: WalletStatus,
    credit_limit: Micros,
    limits: Limits,
    spent: Spent,
    posted: Micros,
    held: Micros,
    open: BTreeMap<Leg, Hold>,
    closed: BTreeMap<Leg, Closed>,
    /// The closed legs, the longest closed first.
    closed_order: VecDeque<Leg>,
    top_ups: BTreeMap<TopUpId, Micros>,
    latest: Timestamp,
    last_seq: u64,
    impossible: u64,
}

/// Whether a wallet pays for new calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalletStatus {
    #[default]
    Active,
    Blocked,
    Closed,
}

/// What a decision may know of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What a new hold may take: posted + credit limit − held.
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
    /// The most a hold may take on a date of the wallet's calendar: what is available, and not above what the day and the
    /// month leave.
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
            Posting::TopUpPosted(top_up) => self.take_top_up(&top_up.id, top_up.amount),
            Posting::HoldPlaced(hold) => self.open(hold),
            Posting::CallCharged(charge) => {
                self.close(&charge.leg, charge.amount, at) && self.spend(time, charge.amount)
            }
            Posting::HoldReleased(release) => self.close(&release.leg, Micros::ZERO, at),
            Posting::HoldExpired(expiry) => {
                self.close(&expiry.leg, expiry.amount, at) && self.spend(time, expiry.amount)
            }
            Posting::WalletChanged(change) => self.take_change(change),
        };
        // Time moves on only now, so that the fold judged a hold's age as the command did that placed it.
        self.latest = at;
        self.forget();
        changed
    }

    pub fn facts(&self) -> WalletFacts {
        WalletFacts {
            currency: self.currency,
            status: self.status,
            posted: self.posted,
            credit_limit: self.credit_limit,
            held: self.held,
            available: self.available(),
            limits: self.limits.clone(),
            spent: self.spent,
        }
    }

    /// What a new hold may take: posted + credit limit − held. Below zero after an overrun.
    pub fn available(&self) -> Micros {
        self.posted.saturating_add(self.credit_limit).saturating_sub(self.held)
    }

    pub fn leg(&self, leg: &Leg) -> LegState<'_> {
        match (self.open.get(leg), self.closed.get(leg)) {
            (Some(hold), _) => LegState::Open(hold),
            (None, Some(closed)) => LegState::Closed(*closed),
            (None, None) => LegState::Unknown,
        }
    }

    /// Whether a leg that was authorised at `placed_at` may be closed and forgotten by now.
    pub fn may_have_forgotten(&self, placed_at: Timestamp) -> bool {
        self.latest.duration_since(placed_at) >= LEG_MEMORY
    }

    /// The open holds, by leg.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.open.values()
    }

    /// The legs closed within [`LEG_MEMORY`].
    pub fn closed(&self) -> impl Iterator<Item = (&Leg, &Closed)> {
        self.closed.iter()
    }

    /// The amount of a top-up that was posted.
    pub fn top_up(&self, id: &TopUpId) -> Option<Micros> {
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

    fn take_top_up(&mut self, id: &TopUpId, amount: Micros) -> bool {
        if self.top_ups.contains_key(id) {
            return false;
        }
        let Ok(posted) = self.posted.checked_add(amount) else { return self.cannot() };
        self.posted = posted;
        self.top_ups.insert(id.clone(), amount);
        true
    }

    fn take_change(&mut self, change: &Change) -> bool {
        let after = self.changed(change);
        let changed = after != (self.status, self.credit_limit, self.limits.clone());
        (self.status, self.credit_limit, self.limits) = after;
        changed
    }

    fn open(&mut self, hold: &Hold) -> bool {
        if self.leg(&hold.leg) != LegState::Unknown || self.may_have_forgotten(hold.placed_at) {
            return false;
        }
        let Ok(held) = self.held.checked_add(hold.amount) else { return self.cannot() };
        self.held = held;
        self.open.insert(hold.leg.clone(), hold.clone());
        true
    }

    /// Closes a leg whether or not its hold has been seen: a hold that comes after it stays out.
    fn close(&mut self, leg: &Leg, charged: Micros, at: Timestamp) -> bool {
        if self.closed.contains_key(leg) {
            return false;
        }
        let Ok(posted) = self.posted.checked_sub(charged) else { return self.cannot() };
        self.posted = posted;
        if let Some(hold) = self.open.remove(leg) {
            self.held = self.held.saturating_sub(hold.amount);
        }
        self.closed.insert(leg.clone(), Closed { at, charged });
        self.closed_order.push_back(leg.clone());
        true
    }

    fn spend(&mut self, time: Timestamp, amount: Micros) -> bool {
        self.spent.add(self.limits.date(time), amount);
        true
    }

    fn cannot(&mut self) -> bool {
        self.impossible = self.impossible.saturating_add(1);
        false
    }

    /// Forgets by the time of events, not of a clock, so that every fold of a history forgets the same.
    fn forget(&mut self) {
        while let Some(oldest) = self.closed_order.front() {
            match self.closed.get(oldest) {
                Some(closed) if !self.may_have_forgotten(closed.at) => break,
                Some(_) | None => self.closed.remove(oldest),
            };
            self.closed_order.pop_front();
        }
    }
}

//! Admission: may this call begin? The one place that serialises the calls of a wallet.
//!
//! It only compares and adds integers below 2^53, times being milliseconds, so that a function in a key-value store can
//! do exactly the same; this one is its oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use proto::Leg;

use crate::amount::Micros;
use crate::currency::Currency;
use crate::posting::{Posting, WalletEvent};
use crate::wallet::{Wallet, WalletFacts, WalletStatus};

/// How long a leg that has ended refuses a new hold, in milliseconds. A live ask is minutes old at most, since its
/// signature would be refused; the wallet itself remembers longer.
pub const ENDED_MEMORY_MILLIS: i64 = 3_600_000;

/// One wallet as admission sees it: its fold, and the tentative holds of calls whose decision is not in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    currency: Option<Currency>,
    status: WalletStatus,
    posted: Micros,
    credit_limit: Micros,
    held: Micros,
    open: BTreeMap<Leg, Open>,
    /// When the tentative holds free themselves.
    tentative: BTreeSet<(i64, Leg)>,
    ended: BTreeSet<Leg>,
    /// When the ended legs are forgotten.
    ended_until: BTreeSet<(i64, Leg)>,
    last_seq: u64,
}

/// What became of an ask for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReply {
    /// Held, tentatively: until its `HoldPlaced` comes, it is freed, or it expires.
    Ok,
    /// The leg has a hold already, and this is the decision that came with it; nothing changed.
    Dup(Arc<[u8]>),
    Insufficient {
        available: Micros,
    },
    /// The wallet is not active, the leg has ended, or it is held by a decision nobody here remembers.
    Closed,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Ok,
    /// Events are missing after `have`: read them from the log and apply them first.
    Gap {
        have: u64,
    },
    /// Applied before.
    Old,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    amount: Micros,
    /// When a tentative hold frees itself; none once it is in the log.
    tentative_until: Option<i64>,
    /// The words of the decision, for whoever asks about the leg again. Opaque here.
    decision: Option<Arc<[u8]>>,
}

impl Admission {
    /// The state of a wallet just folded from the log.
    pub fn load(wallet: &Wallet) -> Self {
        let WalletFacts { currency, status, posted, credit_limit, held, available: _ } = wallet.facts();
        let firm = |amount| Open { amount, tentative_until: None, decision: None };
        let ended_until = wallet.closed().map(|(leg, closed)| (ended_until(closed.at), leg.clone()));
        Self {
            currency,
            status,
            posted,
            credit_limit,
            held,
            open: wallet.holds().map(|hold| (hold.leg.clone(), firm(hold.amount))).collect(),
            tentative: BTreeSet::new(),
            ended: wallet.closed().map(|(leg, _)| leg.clone()).collect(),
            ended_until: ended_until.collect(),
            last_seq: wallet.last_seq(),
        }
    }

    /// Sets `amount` aside for a leg if it is available, and keeps the `decision` with it; a negative amount counts as
    /// 0. A hold whose decision never reaches the log frees itself at `expires_at`, when somebody next asks.
    pub fn hold(
        &mut self,
        now: Timestamp,
        leg: &Leg,
        amount: Micros,
        expires_at: Timestamp,
        decision: &[u8],
    ) -> HoldReply {
        self.sweep(now.as_millisecond());
        if let Some(open) = self.open.get(leg) {
            return open.decision.clone().map_or(HoldReply::Closed, HoldReply::Dup);
        }
        if self.ended.contains(leg) || self.status != WalletStatus::Active {
            return HoldReply::Closed;
        }
        let amount = amount.max(Micros::ZERO);
        let available = self.available();
        if amount > available {
            return HoldReply::Insufficient { available };
        }
        let expires = expires_at.as_millisecond();
        let open = Open { amount, tentative_until: Some(expires), decision: Some(decision.into()) };
        self.insert(leg, open);
        HoldReply::Ok
    }

    /// The decision kept with the hold of a leg, while it is held.
    pub fn decision(&self, leg: &Leg) -> Option<Arc<[u8]>> {
        self.open.get(leg)?.decision.clone()
    }

    /// Frees a tentative hold whose decision will not be sent. A hold in the log stays: only its leg's end frees it.
    pub fn free(&mut self, leg: &Leg) {
        if self.open.get(leg).is_some_and(|open| open.tentative_until.is_some()) {
            self.remove(leg);
        }
    }

    /// Takes an event of the wallet's history, which must follow `prev_seq`, the event before it.
    ///
    /// The writer has decided each posting on the wallet's fold, so none of them is a repetition here. An event in
    /// another currency moves nothing, as in the fold.
    pub fn apply(&mut self, prev_seq: u64, seq: u64, time: Timestamp, event: &WalletEvent) -> Applied {
        if seq <= self.last_seq {
            return Applied::Old;
        }
        if prev_seq != self.last_seq {
            return Applied::Gap { have: self.last_seq };
        }
        self.last_seq = seq;
        if *self.currency.get_or_insert(event.currency) != event.currency {
            return Applied::Ok;
        }
        for posting in &event.postings {
            match posting {
                Posting::TopUpPosted(top_up) => self.posted = self.posted.saturating_add(top_up.amount),
                Posting::HoldPlaced(hold) => {
                    let decision = self.remove(&hold.leg).and_then(|open| open.decision);
                    self.insert(&hold.leg, Open { amount: hold.amount, tentative_until: None, decision });
                }
                Posting::CallCharged(charge) => self.end(&charge.leg, charge.amount, time),
                Posting::HoldReleased(release) => self.end(&release.leg, Micros::ZERO, time),
                Posting::HoldExpired(expiry) => self.end(&expiry.leg, expiry.amount, time),
                Posting::WalletChanged(change) => {
                    self.status = change.status.unwrap_or(self.status);
                    self.credit_limit = change.credit_limit.unwrap_or(self.credit_limit);
                }
            }
        }
        Applied::Ok
    }

    /// What the wallet has now; tentative holds count as held until they free themselves.
    pub fn facts(&mut self, now: Timestamp) -> WalletFacts {
        self.sweep(now.as_millisecond());
        let Self { currency, status, posted, credit_limit, held, .. } = *self;
        WalletFacts { currency, status, posted, credit_limit, held, available: self.available() }
    }

    /// Place in the log of the last event applied.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn available(&self) -> Micros {
        self.posted.saturating_add(self.credit_limit).saturating_sub(self.held)
    }

    fn insert(&mut self, leg: &Leg, open: Open) {
        self.held = self.held.saturating_add(open.amount);
        if let Some(until) = open.tentative_until {
            self.tentative.insert((until, leg.clone()));
        }
        self.open.insert(leg.clone(), open);
    }

    fn remove(&mut self, leg: &Leg) -> Option<Open> {
        let open = self.open.remove(leg)?;
        self.held = self.held.saturating_sub(open.amount);
        if let Some(until) = open.tentative_until {
            self.tentative.remove(&(until, leg.clone()));
        }
        Some(open)
    }

    fn end(&mut self, leg: &Leg, amount: Micros, time: Timestamp) {
        self.remove(leg);
        self.posted = self.posted.saturating_sub(amount);
        if self.ended.insert(leg.clone()) {
            self.ended_until.insert((ended_until(time), leg.clone()));
        }
    }

    /// Frees the tentative holds and forgets the ended legs whose time has come.
    fn sweep(&mut self, now_millis: i64) {
        while let Some((_, leg)) = pop_due(&mut self.tentative, now_millis) {
            self.remove(&leg);
        }
        while let Some((_, leg)) = pop_due(&mut self.ended_until, now_millis) {
            self.ended.remove(&leg);
        }
    }
}

fn ended_until(at: Timestamp) -> i64 {
    at.as_millisecond().saturating_add(ENDED_MEMORY_MILLIS)
}

fn pop_due(deadlines: &mut BTreeSet<(i64, Leg)>, now_millis: i64) -> Option<(i64, Leg)> {
    let due = deadlines.first().is_some_and(|(until, _)| *until <= now_millis);
    if due { deadlines.pop_first() } else { None }
}

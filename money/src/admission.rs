//! Admission: may this call begin? The one place that serialises the calls of a wallet.
//!
//! It only compares and adds integers below 2^53, times being milliseconds, so that a function in a key-value store can
//! do exactly the same; this one is its oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use proto::Leg;

use crate::amount::Micros;
use crate::currency::Currency;
use crate::limits::{Limits, Spent};
use crate::lots::Share;
use crate::posting::{Correction, Posting, PostingId, TopUp, WalletEvent};
use crate::wallet::{self, Wallet, WalletFacts, WalletStatus};

/// How long a leg that has ended refuses a new hold, in milliseconds. A live ask is minutes old at most, since its
/// signature would be refused; the wallet itself remembers longer.
pub const ENDED_MEMORY_MILLIS: i64 = 3_600_000;

/// A clock further behind the newest second than this says that the clock before it was wrong: it is not waited for.
const BEHIND_SECS_MAX: i64 = 5;

/// One wallet as admission sees it: its fold, and the tentative holds of calls whose decision is not in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    currency: Option<Currency>,
    status: WalletStatus,
    posted: Micros,
    credit_limit: Micros,
    limits: Limits,
    spent: Spent,
    /// What is left of the grants that expire, and when they do.
    grants: BTreeMap<PostingId, (i64, Micros)>,
    /// The newest second in which a call began, and how many did. Lost with the state: a second is soon over.
    began: (i64, u32),
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
    /// The leg has ended, or it is held by a decision nobody here remembers.
    Closed,
    Limited(Limit),
}

/// The first check that keeps a hold from being placed, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The wallet is not active.
    Status(WalletStatus),
    /// As many calls as may be are open.
    Concurrent,
    /// As many calls as may have begun within this second.
    Velocity,
    /// What is left of the day, held amounts deducted.
    SpendDay {
        left: Micros,
    },
    SpendMonth {
        left: Micros,
    },
    Credit {
        available: Micros,
    },
}

impl Limit {
    /// What it leaves for a hold; `None` where no amount is small enough.
    pub fn left(self) -> Option<Micros> {
        match self {
            Self::SpendDay { left } | Self::SpendMonth { left } | Self::Credit { available: left } => Some(left),
            Self::Status(_) | Self::Concurrent | Self::Velocity => None,
        }
    }
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
        let WalletFacts { currency, status, posted, credit_limit, held, available: _, limits, spent } = wallet.facts();
        let firm = |amount| Open { amount, tentative_until: None, decision: None };
        let ended_until = wallet.closed().map(|(leg, closed)| (ended_until(closed.at), leg));
        Self {
            currency,
            status,
            posted,
            credit_limit,
            limits,
            spent,
            grants: wallet
                .grants()
                .filter_map(|lot| Some((lot.grant, (lot.terms.expires_at?.as_millisecond(), lot.left))))
                .collect(),
            began: (0, 0),
            held,
            open: wallet.holds().map(|hold| (hold.leg.clone(), firm(hold.amount))).collect(),
            tentative: BTreeSet::new(),
            ended: wallet.closed().map(|(leg, _)| leg).collect(),
            ended_until: ended_until.collect(),
            last_seq: wallet.last_seq(),
        }
    }

    /// The wallet as just folded from the log, in the place of what was known of it. What only admission knows stays:
    /// the tentative holds that the log says nothing of, the words of decisions, and the calls of this second.
    #[must_use]
    pub fn reloaded(&self, wallet: &Wallet) -> Self {
        let mut fresh = Self { began: self.began, ..Self::load(wallet) };
        for (leg, known) in &self.open {
            match fresh.open.get_mut(leg) {
                Some(open) => open.decision.clone_from(&known.decision),
                None if known.tentative_until.is_some() && !fresh.ended.contains(leg) => {
                    fresh.insert(leg, known.clone())
                }
                None => {}
            }
        }
        fresh
    }

    /// Sets `amount` aside for a leg if it is available, and keeps the `decision` with it; a negative amount counts as
    /// 0. A hold whose decision never reaches the log frees itself at `expires_at`, when somebody next asks. `date` is
    /// what the wallet's calendar shows ([`Limits::date`]).
    pub fn hold(
        &mut self,
        now: Timestamp,
        date: Date,
        leg: &Leg,
        amount: Micros,
        expires_at: Timestamp,
        decision: &[u8],
    ) -> HoldReply {
        self.sweep(now.as_millisecond());
        if let Some(open) = self.open.get(leg) {
            return open.decision.clone().map_or(HoldReply::Closed, HoldReply::Dup);
        }
        if self.ended.contains(leg) {
            return HoldReply::Closed;
        }
        let (amount, second) = (amount.max(Micros::ZERO), now.as_second());
        if let Some(limit) = self.limit(now, date, amount) {
            return HoldReply::Limited(limit);
        }
        let newest = if self.is_behind(second) { second } else { second.max(self.began.0) };
        self.began = (newest, self.began_in(second).saturating_add(1));
        let expires = expires_at.as_millisecond();
        let open = Open { amount, tentative_until: Some(expires), decision: Some(decision.into()) };
        self.insert(leg, open);
        HoldReply::Ok
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
                Posting::TopUpPosted(TopUp { id, amount, grant, .. }) => {
                    self.posted = self.posted.saturating_add(*amount);
                    self.add_to_grant(id, grant.and_then(|terms| terms.expires_at), *amount);
                }
                Posting::HoldPlaced(hold) => {
                    let decision = self.remove(&hold.leg).and_then(|open| open.decision);
                    self.insert(&hold.leg, Open { amount: hold.amount, tentative_until: None, decision });
                }
                Posting::CallCharged(charge) => self.charge(&charge.leg, charge.amount, &charge.paid_by, time),
                Posting::GrantExpired(expiry) => {
                    self.posted = self.posted.saturating_sub(expiry.amount);
                    self.add_to_grant(&expiry.grant, Some(expiry.expires_at), expiry.amount.negated());
                }
                Posting::RefundPosted(refund) => {
                    self.posted = self.posted.saturating_add(refund.amount);
                    self.give(&refund.returned_to);
                }
                Posting::ChargeCorrected(Correction { from, to, paid_by, returned_to, .. }) => {
                    self.posted = self.posted.saturating_add(from.saturating_sub(*to));
                    self.take(paid_by);
                    self.give(returned_to);
                }
                Posting::HoldReleased(release) => self.end(&release.leg, time),
                Posting::HoldExpired(expiry) => self.charge(&expiry.leg, expiry.amount, &expiry.paid_by, time),
                Posting::WalletChanged(change) => {
                    self.status = change.status.unwrap_or(self.status);
                    self.credit_limit = change.credit_limit.unwrap_or(self.credit_limit);
                    if let Some(edit) = &change.limits {
                        self.limits = self.limits.edited(edit);
                    }
                }
            }
        }
        Applied::Ok
    }

    /// What the wallet has now; tentative holds count as held until they free themselves.
    pub fn facts(&mut self, now: Timestamp) -> WalletFacts {
        self.sweep(now.as_millisecond());
        let Self { currency, status, posted, credit_limit, held, spent, .. } = *self;
        let (available, limits) = (self.available(now), self.limits.clone());
        WalletFacts { currency, status, posted, credit_limit, held, available, limits, spent }
    }

    /// What the log has told: as [`Admission::facts`], but without tentative holds, and no time passes.
    pub fn firm(&self) -> WalletFacts {
        let open = self.open.values().filter(|open| open.tentative_until.is_none());
        let held = open.fold(Micros::ZERO, |held, open| held.saturating_add(open.amount));
        let Self { currency, status, posted, credit_limit, spent, .. } = *self;
        let (available, limits) = (posted.saturating_add(credit_limit).saturating_sub(held), self.limits.clone());
        WalletFacts { currency, status, posted, credit_limit, held, available, limits, spent }
    }

    /// What is left of the grants that expire.
    pub fn grants(&self) -> impl Iterator<Item = (&PostingId, Micros)> {
        self.grants.iter().map(|(grant, (_, left))| (grant, *left))
    }

    /// Place in the log of the last event applied.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn available(&self, now: Timestamp) -> Micros {
        let expired = self.grants.values().filter(|(expires, _)| *expires <= now.as_millisecond());
        let expired = expired.fold(Micros::ZERO, |sum, (_, left)| sum.saturating_add(*left));
        wallet::available(self.posted, self.held, self.credit_limit, expired)
    }

    fn limit(&self, now: Timestamp, date: Date, amount: Micros) -> Option<Limit> {
        if self.status != WalletStatus::Active {
            return Some(Limit::Status(self.status));
        }
        let Limits { concurrent_max, calls_per_sec_max, spend_day_max, spend_month_max, .. } = &self.limits;
        if concurrent_max.is_some_and(|max| self.open.len() >= max as usize) {
            return Some(Limit::Concurrent);
        }
        if calls_per_sec_max.is_some_and(|max| self.began_in(now.as_second()) >= max) {
            return Some(Limit::Velocity);
        }
        let (day, month) = self.spent.on(date);
        let left = |max: &Option<Micros>, spent| max.map(|max| max.saturating_sub(spent).saturating_sub(self.held));
        if let Some(left) = left(spend_day_max, day).filter(|left| amount > *left) {
            return Some(Limit::SpendDay { left });
        }
        if let Some(left) = left(spend_month_max, month).filter(|left| amount > *left) {
            return Some(Limit::SpendMonth { left });
        }
        let available = self.available(now);
        (amount > available).then_some(Limit::Credit { available })
    }

    /// Calls that began in this second. A clock that is a little behind counts with the newest second.
    fn began_in(&self, second: i64) -> u32 {
        let (newest, calls) = self.began;
        if second > newest || self.is_behind(second) { 0 } else { calls }
    }

    fn is_behind(&self, second: i64) -> bool {
        second < self.began.0.saturating_sub(BEHIND_SECS_MAX)
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

    fn charge(&mut self, leg: &Leg, amount: Micros, paid_by: &[Share], time: Timestamp) {
        self.take(paid_by);
        self.posted = self.posted.saturating_sub(amount);
        self.spent.add(self.limits.date(time), amount);
        self.end(leg, time);
    }

    fn take(&mut self, shares: &[Share]) {
        shares.iter().for_each(|share| self.add_to_grant(&share.grant, share.expires_at, share.amount.negated()));
    }

    fn give(&mut self, shares: &[Share]) {
        shares.iter().for_each(|share| self.add_to_grant(&share.grant, share.expires_at, share.amount));
    }

    /// Grants that never expire need not be told from other money here.
    fn add_to_grant(&mut self, id: &PostingId, expires_at: Option<Timestamp>, amount: Micros) {
        let Some(expires_at) = expires_at else { return };
        let left = self.grants.get(id).map(|(_, left)| *left).unwrap_or_default().saturating_add(amount);
        if left > Micros::ZERO {
            self.grants.insert(id.clone(), (expires_at.as_millisecond(), left));
        } else {
            self.grants.remove(id);
        }
    }

    fn end(&mut self, leg: &Leg, time: Timestamp) {
        self.remove(leg);
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

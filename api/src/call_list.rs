//! The newest calls: a short fold of the log, caught up whenever somebody looks.

use std::collections::{BTreeMap, HashMap};

use bus::{Bus, Recorded, Unavailable};
use jiff::Timestamp;
use proto::signature::Verified;
use proto::{AppName, CallId, Callback, Decided, Filter, Kind, Outcome, Settled, Stream, Subject, callback::Details};
use rust_decimal::Decimal;
use serde::Serialize;

/// Calls that are kept.
pub(crate) const CALLS_MAX: usize = 1_000;

/// The first look goes back this far: enough for as many calls of the usual length, however long the log is.
const EVENTS_BACK: u64 = 50_000;

const CALLS: Filter = Filter::All(Stream::Calls);

/// One line of the list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallSummary {
    pub call: CallId,
    pub app: AppName,
    /// When the first callback came in.
    pub started_at: Timestamp,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of the decision that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Sinch's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bills: Vec<Bill>,
    #[serde(skip)]
    pub first_seq: u64,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Open,
    Ended,
    Settled,
}

/// What one leg came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bill {
    pub wallet: String,
    pub cost: Decimal,
    pub currency: String,
    pub billed_secs: u32,
}

/// The list. Calls that left it are not missed: they are in the log.
#[derive(Debug, Default)]
pub(crate) struct CallList {
    last_seq: u64,
    calls: HashMap<(AppName, CallId), CallSummary>,
    by_age: BTreeMap<u64, (AppName, CallId)>,
}

impl CallList {
    pub(crate) async fn catch_up(&mut self, bus: &Bus) -> Result<(), Unavailable> {
        if self.last_seq == 0 {
            self.last_seq = bus.last_seq(&CALLS).await?.saturating_sub(EVENTS_BACK);
        }
        let mut events = bus.events(&CALLS, self.last_seq);
        while let Some(next) = events.next().await? {
            self.apply(&next);
        }
        self.last_seq = events.passed_seq();
        Ok(())
    }

    /// Newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &CallSummary> {
        self.by_age.values().rev().filter_map(|key| self.calls.get(key))
    }

    /// Where a call begins in the log; the log's beginning for one that is not on the list.
    pub(crate) fn begins_at(&self, call: &CallId) -> u64 {
        self.calls.values().filter(|summary| summary.call == *call).map(|s| s.first_seq).min().unwrap_or_default()
    }

    fn apply(&mut self, recorded: &Recorded) {
        if recorded.seq <= self.last_seq {
            return;
        }
        self.last_seq = recorded.seq;
        let event = &recorded.event;
        let Subject::Call { kind, app, .. } = &event.subject else { return };
        let Ok(call) = CallId::new(event.about.as_str()) else { return };
        let key = (app.clone(), call);
        match kind {
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {
                let summary = self.open(key, recorded);
                if let Ok(callback) = Callback::parse(&Verified::unchecked(event.data.clone())) {
                    summary.take_callback(callback);
                }
            }
            // They follow a callback; of a call that left the list they bring nothing back.
            Kind::Decided => {
                if let (Some(summary), Ok(decided)) = (self.calls.get_mut(&key), serde_json::from_slice(&event.data)) {
                    summary.take_decision(decided);
                }
            }
            Kind::Emitted | Kind::Asked => {}
            Kind::Settled => {
                if let (Some(summary), Ok(settled)) = (self.calls.get_mut(&key), serde_json::from_slice(&event.data)) {
                    summary.take_settlement(settled);
                }
            }
        }
    }

    fn open(&mut self, key: (AppName, CallId), recorded: &Recorded) -> &mut CallSummary {
        if !self.calls.contains_key(&key) {
            if self.calls.len() == CALLS_MAX
                && let Some((_, oldest)) = self.by_age.pop_first()
            {
                self.calls.remove(&oldest);
            }
            self.by_age.insert(recorded.seq, key.clone());
        }
        let (app, call) = key.clone();
        self.calls.entry(key).or_insert_with(|| CallSummary {
            call,
            app,
            started_at: recorded.event.time,
            state: State::Open,
            from: None,
            to: None,
            outcome: None,
            rule: None,
            reason: None,
            result: None,
            duration_secs: None,
            bills: Vec::new(),
            first_seq: recorded.seq,
        })
    }
}

impl CallSummary {
    fn take_callback(&mut self, callback: Callback) {
        match callback.details {
            Details::Ice(ice) => {
                self.from = ice.cli.or(callback.common.user);
                self.to = ice.to.and_then(|to| to.endpoint);
            }
            Details::Dice(dice) => {
                self.from = self.from.take().or(dice.from);
                self.to = self.to.take().or(dice.to.and_then(|to| to.endpoint));
                self.result = dice.result;
                self.duration_secs = dice.duration_secs;
                if self.state == State::Open {
                    self.state = State::Ended;
                }
            }
            Details::Ace(_) | Details::Pie(_) | Details::Notify(_) | Details::Unknown { .. } => {}
        }
    }

    /// What became of the call is decided by its ICE and PIE; of ACE only a refusal is news.
    fn take_decision(&mut self, decided: Decided) {
        if decided.kind == Kind::Ace && decided.outcome == Outcome::Answered {
            return;
        }
        self.outcome = Some(decided.outcome);
        self.rule = decided.rule;
        self.reason = decided.reason;
    }

    fn take_settlement(&mut self, settled: Settled) {
        // A late echo of a call long settled does not stand in the place of its CDR.
        if settled.unmatched && self.state == State::Settled {
            return;
        }
        self.state = State::Settled;
        self.result = settled.result.or(self.result.take());
        self.duration_secs = Some(settled.duration_secs);
        let bill = |leg: proto::settled::SettledLeg| Bill {
            wallet: leg.wallet.to_string(),
            cost: leg.cost,
            currency: leg.currency,
            billed_secs: leg.billed_secs,
        };
        self.bills = settled.legs.into_iter().map(bill).collect();
    }
}

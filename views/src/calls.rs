//! `calls`: one row for each call, merged from all its events.

use proto::callback::Details;
use proto::signature::Verified;
use proto::{CallId, Callback, Decided, Dialled, Event, Kind, Outcome, Settled, Subject};
use serde::{Deserialize, Serialize};

use crate::table::Holds::{Boolean, Integer, Text, Time as Moment};
use crate::table::Table;
use crate::value::{Time, number, text};

pub(crate) const CALLS: Table<'static> = Table {
    name: "calls",
    columns: &[
        ("app", Text),
        ("call", Text),
        ("first_seq", Integer),
        ("started_at", Moment),
        ("caller", Text),
        ("callee", Text),
        ("answered_at", Moment),
        ("ended_at", Moment),
        ("result", Text),
        ("end_reason", Text),
        ("duration_secs", Integer),
        ("outcome", Text),
        ("rule", Text),
        ("reason", Text),
        ("wallet", Text),
        ("decided_at", Moment),
        ("cdr", Text),
        ("settled_at", Moment),
        ("unmatched", Boolean),
        ("placed", Text),
    ],
};

/// What is known of a call. One event makes a row with little in it, and rows of one call are merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    pub app: String,
    pub call: String,
    /// Where the call begins in the log.
    pub first_seq: u64,
    /// When its first event was recorded.
    pub started_at: Time,
    pub caller: Option<String>,
    pub callee: Option<String>,
    pub answered_at: Option<Time>,
    pub ended_at: Option<Time>,
    /// Sinch's result and reason.
    pub result: Option<String>,
    pub end_reason: Option<String>,
    pub duration_secs: Option<u32>,
    /// Of the decision that counts.
    pub outcome: Option<Outcome>,
    pub rule: Option<String>,
    pub reason: Option<String>,
    /// The first that a decision named, or that pays for a call that we placed.
    pub wallet: Option<String>,
    pub decided_at: Option<Time>,
    /// Event id of the CDR that stands.
    pub cdr: Option<String>,
    pub settled_at: Option<Time>,
    pub unmatched: bool,
    /// The call that we placed, of which this one is a leg.
    pub placed: Option<String>,
}

/// [`CallRow::merge`] in SQL: what is there with what comes.
pub(crate) fn merge() -> String {
    let newer = "(excluded.decided_at is not null
        and (calls.decided_at is null or excluded.decided_at > calls.decided_at))";
    let stands = "(excluded.cdr is not null and (calls.cdr is null
        or (not excluded.unmatched, excluded.settled_at) > (not calls.unmatched, calls.settled_at)))";
    let rule = |(name, _): &(&'static str, _)| match *name {
        "app" | "call" => None,
        "first_seq" | "started_at" => Some((*name, format!("excluded.{name} < calls.{name}"))),
        "outcome" | "rule" | "reason" | "decided_at" => Some((*name, newer.to_owned())),
        "cdr" | "settled_at" | "unmatched" => Some((*name, stands.to_owned())),
        name => Some((name, format!("calls.{name} is null"))),
    };
    let sets = CALLS
        .columns
        .iter()
        .filter_map(rule)
        .map(|(name, takes)| format!("{name} = case when {takes} then excluded.{name} else calls.{name} end"));
    format!("on conflict (app, call) do update set {}", sets.collect::<Vec<_>>().join(", "))
}

impl CallRow {
    /// What an event says of its call; nothing when it is not about one, or cannot be read.
    pub(crate) fn of(seq: u64, event: &Event) -> Option<Self> {
        let Subject::Call { kind, app, .. } = &event.subject else { return None };
        CallId::new(event.about.as_str()).ok()?;
        let at = Time::from(event.time);
        let mut row = Self {
            app: app.to_string(),
            call: event.about.clone(),
            first_seq: seq,
            started_at: at,
            caller: None,
            callee: None,
            answered_at: None,
            ended_at: None,
            result: None,
            end_reason: None,
            duration_secs: None,
            outcome: None,
            rule: None,
            reason: None,
            wallet: None,
            decided_at: None,
            cdr: None,
            settled_at: None,
            unmatched: false,
            placed: None,
        };
        match kind {
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {
                if let Ok(callback) = Callback::parse(&Verified::unchecked(event.data.clone())) {
                    row.take_callback(at, callback);
                }
            }
            Kind::Decided => row.take_decision(at, serde_json::from_slice(&event.data).ok()?),
            Kind::Dialled => {
                let dialled: Dialled = serde_json::from_slice(&event.data).ok()?;
                (row.placed, row.wallet) = (Some(dialled.of.call.into()), Some(dialled.wallet.into()));
            }
            // Those are about the call that we placed, which is none of the platform's.
            Kind::Asked | Kind::Emitted | Kind::Placed | Kind::Progressed => return None,
            Kind::Settled => {
                let settled: Settled = serde_json::from_slice(&event.data).ok()?;
                row.caller = settled.from.as_deref().map(number);
                row.callee = settled.to.as_deref().map(number);
                (row.cdr, row.settled_at, row.unmatched) = (Some(event.id.to_string()), Some(at), settled.unmatched);
            }
        }
        Some(row)
    }

    fn take_callback(&mut self, at: Time, callback: Callback) {
        match callback.details {
            Details::Ice(ice) => {
                self.caller = ice.cli.or(callback.common.user).as_deref().map(number);
                self.callee = ice.to.and_then(|to| to.endpoint).as_deref().map(number);
            }
            Details::Dice(dice) => {
                self.caller = dice.from.as_deref().map(number);
                self.callee = dice.to.and_then(|to| to.endpoint).as_deref().map(number);
                (self.ended_at, self.duration_secs) = (Some(at), dice.duration_secs);
                (self.result, self.end_reason) = (dice.result.as_deref().map(text), dice.reason.as_deref().map(text));
            }
            Details::Ace(_) => self.answered_at = Some(at),
            Details::Pie(_) | Details::Notify(_) | Details::Unknown { .. } => {}
        }
    }

    /// What became of the call is decided by its ICE and PIE; of ACE only a refusal is news.
    fn take_decision(&mut self, at: Time, decided: Decided) {
        if decided.kind == Kind::Ace && decided.outcome == Outcome::Answered {
            return;
        }
        (self.decided_at, self.outcome) = (Some(at), Some(decided.outcome));
        (self.rule, self.reason) = (decided.rule.as_deref().map(text), decided.reason.as_deref().map(text));
        self.wallet = decided.wallet.map(String::from);
    }

    /// Takes what a later part of the log says of the same call. It changes nothing when it was taken before, and it is
    /// the same wherever the log is cut.
    pub(crate) fn merge(&mut self, later: Self) {
        fn keep<T>(first: &mut Option<T>, later: Option<T>) {
            if first.is_none() {
                *first = later;
            }
        }
        self.first_seq = self.first_seq.min(later.first_seq);
        self.started_at = self.started_at.min(later.started_at);
        keep(&mut self.caller, later.caller);
        keep(&mut self.callee, later.callee);
        keep(&mut self.answered_at, later.answered_at);
        keep(&mut self.ended_at, later.ended_at);
        keep(&mut self.result, later.result);
        keep(&mut self.end_reason, later.end_reason);
        keep(&mut self.duration_secs, later.duration_secs);
        keep(&mut self.wallet, later.wallet);
        keep(&mut self.placed, later.placed);
        if later.decided_at > self.decided_at {
            (self.decided_at, self.outcome) = (later.decided_at, later.outcome);
            (self.rule, self.reason) = (later.rule, later.reason);
        }
        // A late echo of a call long settled does not stand in the place of its CDR.
        let newer = (!later.unmatched, later.settled_at) > (!self.unmatched, self.settled_at);
        if later.cdr.is_some() && (self.cdr.is_none() || newer) {
            (self.cdr, self.settled_at, self.unmatched) = (later.cdr, later.settled_at, later.unmatched);
        }
    }
}

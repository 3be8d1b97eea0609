//! A call that we place, as the fold of its events, and what is to be done for it next. No I/O and no clock: events and
//! the time go in, what to do comes out, so that it can be played with everything that may happen.
//!
//! Its parties are called in turn, each once the one before has answered. Nobody is dialled twice on a guess: a leg of
//! which it is not known whether it was dialled counts as dialled once a callback of it comes, and as not dialled when
//! none has come for longer than it may ring. The call is over when nobody is to be dialled any more and every leg is
//! settled.

use jiff::{SignedDuration, Timestamp};
use proto::{CallId, Leg, LegBill, Moment, Placed, Progressed, Side, Step};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

mod facts;

#[cfg(test)]
mod tests;

pub use facts::{DialStanding, LegStanding};

/// A callback of a leg may be so late, beyond the time it may ring.
pub(crate) const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What a leg counts as of which nobody heard.
pub(crate) const NOT_KNOWN: &str = "it is not known whether it was dialled";

/// A call that we place.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where what was ordered stands in `CALLS`.
    pub(crate) placed_seq: u64,
    pub(crate) placed: Placed,
    placed_at: Timestamp,
    legs: Vec<DialLeg>,
    hangup_asked: bool,
    over_at: Option<Timestamp>,
}

/// One try to reach one party.
#[derive(Debug, Clone)]
pub(crate) struct DialLeg {
    pub(crate) side: Side,
    pub(crate) attempt: u8,
    pub(crate) leg: Option<Leg>,
    pub(crate) hold: Option<Value>,
    /// When it was begun.
    since: Timestamp,
    /// The platform's id, once it is known in whatever way.
    pub(crate) platform_call: Option<CallId>,
    /// When it was written down that the platform has it.
    dialled_at: Option<Timestamp>,
    not_dialled: Option<NotDialled>,
    answered_at: Option<Timestamp>,
    ended: Option<Ended>,
    bill: Option<LegBill>,
}

#[derive(Debug, Clone)]
struct NotDialled {
    at: Timestamp,
    cause: String,
    may_be_redialled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    at: Timestamp,
    answered: bool,
}

/// How a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegState {
    /// Whether the platform has it is not known (yet).
    Dialling,
    Ringing,
    Answered,
    NotDialled,
    NotAnswered,
    Ended,
}

/// What is to be done. A leg is named by its side and attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Do {
    /// Hold credit and call out.
    Dial(Side, u8),
    /// The platform has it, which a callback told: write that down.
    Adopt(Side, u8, CallId),
    HangUp(CallId),
    /// Nobody heard of it for so long that it counts as not dialled.
    GiveUp(Side, u8),
    /// Write down that the call is over.
    Finish,
}

/// What is to be done now, and when to look again at the latest where nothing happens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) now: Vec<Do>,
    pub(crate) look_at: Option<Timestamp>,
}

/// What is wanted of the call.
enum Wanted {
    End,
    Dial(Side, u8, Timestamp),
    Wait,
}

impl Dial {
    pub fn new(placed_seq: u64, placed: Placed, placed_at: Timestamp) -> Self {
        Self { placed_seq, placed, placed_at, legs: Vec::new(), hangup_asked: false, over_at: None }
    }

    /// Takes what was written down at `time`. Total, and the same twice changes nothing.
    pub fn apply(&mut self, time: Timestamp, step: &Step) {
        match step {
            Step::Dialling { side, attempt, leg, hold, .. } => {
                let begun = self.leg(*side, *attempt, time);
                begun.leg.get_or_insert_with(|| leg.clone());
                begun.hold = begun.hold.take().or_else(|| hold.clone());
            }
            Step::Dialled { side, attempt, platform_call } => {
                if let Some(leg) = self.leg(*side, *attempt, time).of_call(platform_call) {
                    leg.dialled_at.get_or_insert(time);
                }
            }
            Step::NotDialled { side, attempt, cause, may_be_redialled } => {
                let leg = self.leg(*side, *attempt, time);
                let (cause, may_be_redialled) = (cause.clone(), *may_be_redialled);
                leg.not_dialled.get_or_insert(NotDialled { at: time, cause, may_be_redialled });
            }
            Step::Answered { side, attempt, platform_call, at } => {
                if let Some(leg) = self.leg(*side, *attempt, time).of_call(platform_call) {
                    leg.answered_at.get_or_insert(*at);
                }
            }
            Step::Ended { side, attempt, platform_call, at, answered } => {
                if let Some(leg) = self.leg(*side, *attempt, time).of_call(platform_call) {
                    leg.ended.get_or_insert(Ended { at: *at, answered: *answered });
                }
            }
            Step::Settled { side, attempt, platform_call, bill } => {
                if let Some(leg) = self.leg(*side, *attempt, time).of_call(platform_call) {
                    let answered = bill.answered_at.is_some() || bill.result.as_deref() == Some("ANSWERED");
                    leg.ended.get_or_insert(Ended { at: bill.ended_at.unwrap_or(time), answered });
                    // A later CDR of the same leg is the better one.
                    leg.bill = Some(bill.clone());
                }
            }
            Step::HangupAsked { .. } => self.hangup_asked = true,
            Step::Over => {
                self.over_at.get_or_insert(time);
            }
        }
    }

    pub fn is_over(&self) -> bool {
        self.over_at.is_some()
    }

    /// What is to be done for it.
    pub(crate) fn next(&self, now: Timestamp) -> Next {
        let mut next = Next::default();
        if self.is_over() {
            return next;
        }
        let ring = SignedDuration::from_secs(self.placed.ring_secs.into());
        for leg in &self.legs {
            let due = match leg.state() {
                LegState::Dialling => Some((leg.since, ring + PATIENCE, Do::GiveUp(leg.side, leg.attempt))),
                LegState::Ringing => {
                    let rings = leg.platform_call.clone().zip(leg.dialled_at);
                    rings.map(|(call, since)| (since, ring, Do::HangUp(call)))
                }
                LegState::Answered | LegState::NotDialled | LegState::NotAnswered | LegState::Ended => None,
            };
            if let Some((since, lasts, what)) = due {
                next.at(later(since, lasts), now, what);
            }
            if let (Some(call), None) = (&leg.platform_call, leg.dialled_at) {
                next.now.push(Do::Adopt(leg.side, leg.attempt, call.clone()));
            }
        }
        match self.wanted() {
            Wanted::Wait => {}
            Wanted::Dial(side, attempt, at) => next.at(at, now, Do::Dial(side, attempt)),
            Wanted::End if self.legs.iter().all(DialLeg::is_settled) => next.now.push(Do::Finish),
            Wanted::End => {
                let up = self.legs.iter().filter(|leg| matches!(leg.state(), LegState::Ringing | LegState::Answered));
                next.now.extend(up.filter_map(|leg| leg.platform_call.clone()).map(Do::HangUp));
            }
        }
        next.now.sort();
        next.now.dedup();
        next
    }

    /// Each party in turn: it is dialled, or waited for, or it has answered and the next one's turn has come.
    fn wanted(&self) -> Wanted {
        if self.hangup_asked {
            return Wanted::End;
        }
        let mut from = self.placed.at.map_or(self.placed_at, |at| at.max(self.placed_at));
        for (side, _) in self.placed.order.parties() {
            let tries = || self.legs.iter().filter(move |leg| leg.side == side);
            let any = |state| tries().any(|leg| leg.state() == state);
            if any(LegState::Ended) {
                return Wanted::End;
            }
            if let Some(answered_at) = tries().filter_map(|leg| leg.answered_at).min() {
                from = answered_at;
                continue;
            }
            if any(LegState::Dialling) || any(LegState::Ringing) {
                return Wanted::Wait;
            }
            let Some(last) = tries().max_by_key(|leg| leg.attempt) else { return Wanted::Dial(side, 1, from) };
            return match last.failed_at() {
                Some(at) if last.attempt <= self.placed.redial.times => {
                    let pause = SignedDuration::from_secs(self.placed.redial.pause_secs.into());
                    Wanted::Dial(side, last.attempt.saturating_add(1), later(at, pause))
                }
                Some(_) | None => Wanted::End,
            };
        }
        Wanted::Wait
    }

    /// Whether it is known of a leg of this side that the platform had it.
    pub(crate) fn has_rung(&self, side: Side) -> bool {
        self.legs.iter().any(|leg| leg.side == side && leg.dialled_at.is_some())
    }

    pub(crate) fn find(&self, side: Side, attempt: u8) -> Option<&DialLeg> {
        self.legs.iter().find(|leg| (leg.side, leg.attempt) == (side, attempt))
    }

    /// A leg may be heard of before it is known to have been begun.
    fn leg(&mut self, side: Side, attempt: u8, time: Timestamp) -> &mut DialLeg {
        let place = match self.legs.iter().position(|leg| (leg.side, leg.attempt) == (side, attempt)) {
            Some(place) => place,
            None => {
                self.legs.push(DialLeg::new(side, attempt, time));
                self.legs.len() - 1
            }
        };
        &mut self.legs[place]
    }

    /// What is written down of a step: with what is told of it, as the call stands after it.
    pub(crate) fn progressed(&self, time: Timestamp, step: Step) -> Progressed {
        let mut after = self.clone();
        after.apply(time, &step);
        let order = &self.placed.order;
        let moment = match &step {
            // Of several tries the first.
            Step::Dialled { side, .. } if !self.has_rung(*side) => order.start_of(*side),
            Step::Over => Some(Moment::CallEnd),
            Step::Dialling { .. }
            | Step::Dialled { .. }
            | Step::NotDialled { .. }
            | Step::Answered { .. }
            | Step::Ended { .. }
            | Step::Settled { .. }
            | Step::HangupAsked { .. } => None,
        };
        let facts = after.facts(side_of(&step));
        Progressed { tell: self.placed.told_of(moment), moment, step, facts }
    }
}

fn side_of(step: &Step) -> Option<Side> {
    match step {
        Step::Dialling { side, .. }
        | Step::Dialled { side, .. }
        | Step::NotDialled { side, .. }
        | Step::Answered { side, .. }
        | Step::Ended { side, .. }
        | Step::Settled { side, .. } => Some(*side),
        Step::HangupAsked { .. } | Step::Over => None,
    }
}

impl Next {
    fn at(&mut self, at: Timestamp, now: Timestamp, what: Do) {
        if at <= now {
            self.now.push(what);
        } else {
            self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
        }
    }
}

impl DialLeg {
    fn new(side: Side, attempt: u8, since: Timestamp) -> Self {
        Self {
            side,
            attempt,
            leg: None,
            hold: None,
            since,
            platform_call: None,
            dialled_at: None,
            not_dialled: None,
            answered_at: None,
            ended: None,
            bill: None,
        }
    }

    /// The leg, if it is this call of the platform or may be: a stranger's call with our mark is none of it.
    fn of_call(&mut self, platform_call: &CallId) -> Option<&mut Self> {
        let ours = self.platform_call.get_or_insert_with(|| platform_call.clone()) == platform_call;
        ours.then_some(self)
    }

    pub(crate) fn state(&self) -> LegState {
        match (&self.ended, &self.platform_call, &self.not_dialled) {
            (Some(Ended { answered: true, .. }), _, _) => LegState::Ended,
            (Some(_), _, _) if self.answered_at.is_some() => LegState::Ended,
            (Some(_), _, _) => LegState::NotAnswered,
            (None, Some(_), _) if self.answered_at.is_some() => LegState::Answered,
            (None, Some(_), _) => LegState::Ringing,
            (None, None, Some(_)) => LegState::NotDialled,
            (None, None, None) => LegState::Dialling,
        }
    }

    /// When it failed in a way that may go better the next time.
    fn failed_at(&self) -> Option<Timestamp> {
        match (&self.ended, &self.not_dialled) {
            (Some(ended), _) => Some(ended.at),
            (None, Some(NotDialled { at, may_be_redialled: true, .. })) => Some(*at),
            (None, Some(_) | None) => None,
        }
    }

    /// Nothing more is to come of it.
    fn is_settled(&self) -> bool {
        self.bill.is_some() || self.state() == LegState::NotDialled
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

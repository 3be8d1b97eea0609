//! What can be told of a placed call, and how it stands.

use jiff::Timestamp;
use proto::{CallFacts, CallId, Order, PhoneNumber, Side};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Dial, DialLeg, LegState};

/// How a placed call stands, for who asks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DialStanding {
    /// `placed`, `ringing`, `answered` or `ended`.
    pub state: String,
    pub hangup_asked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Of all legs.
    pub cost: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    pub legs: Vec<LegStanding>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct LegStanding {
    pub side: Side,
    pub attempt: u8,
    pub state: LegState,
    /// The platform's id: the call that can be asked about by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// Why it was not dialled, or how Sinch says it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Dial {
    /// How it stands.
    pub fn standing(&self) -> DialStanding {
        let facts = self.facts(None);
        DialStanding {
            state: facts.status,
            hangup_asked: self.hangup_asked,
            ended_at: self.over_at,
            cost: facts.cost.unwrap_or_default(),
            currency: facts.currency,
            legs: self.legs.iter().map(DialLeg::standing).collect(),
        }
    }

    /// All that can be told of it by now.
    pub(super) fn facts(&self, leg: Option<Side>) -> CallFacts {
        let (caller, callee, direction) = self.who();
        let bills = || self.legs.iter().filter_map(|leg| leg.bill.as_ref());
        let answered = |side| self.legs.iter().find(move |leg| leg.side == side && leg.answered_at().is_some());
        // Of two legs the one that was reached last; the other one has waited for it.
        let talk = answered(Side::To).or_else(|| answered(Side::From));
        let ended_by = self.ended_by();
        let status = match (self.is_over(), talk, self.legs.iter().any(|leg| leg.dialled_at.is_some())) {
            (true, _, _) => "ended",
            (false, Some(_), _) => "answered",
            (false, None, true) => "ringing",
            (false, None, false) => "placed",
        };
        let bill = ended_by.and_then(|leg| leg.bill.as_ref());
        let (cost, billed_secs) = bills().fold((Decimal::ZERO, 0_u32), |(cost, secs), bill| {
            (cost.saturating_add(bill.cost), secs.saturating_add(bill.billed_secs))
        });
        let any = bills().next().is_some();
        CallFacts {
            caller: caller.to_string(),
            callee: callee.to_string(),
            status: status.to_owned(),
            direction: direction.to_owned(),
            started_at: self.legs.iter().filter_map(|leg| leg.dialled_at).min(),
            answered_at: talk.and_then(DialLeg::answered_at),
            ended_at: self.is_over().then(|| self.ended_at()).flatten(),
            duration_secs: talk.and_then(|leg| leg.bill.as_ref()).map(|bill| bill.duration_secs),
            billed_secs: any.then_some(billed_secs),
            cost: any.then_some(cost),
            currency: bills().find_map(|bill| bill.currency.clone()),
            reason: bill.and_then(|bill| bill.reason.clone()).or_else(|| Some(self.why_not()?.to_owned())),
            result: bill.and_then(|bill| bill.result.clone()),
            custom: self.placed.custom.clone(),
            recording_url: None,
            leg,
        }
    }

    /// Who calls whom, as people would say.
    fn who(&self) -> (&PhoneNumber, &PhoneNumber, &'static str) {
        match &self.placed.order {
            Order::Outbound { to, .. } => (&self.placed.cli, to, "outbound"),
            Order::ClickToCall { from, to } => (from, to, "click_to_call"),
        }
    }

    /// The leg that was up and ended first; where nobody was reached, the last that was tried.
    fn ended_by(&self) -> Option<&DialLeg> {
        let ended = || self.legs.iter().filter_map(|leg| Some((leg.ended?.at, leg)));
        let talked = ended().filter(|(_, leg)| leg.state() == LegState::Ended).min_by_key(|(at, _)| *at);
        talked.or_else(|| ended().max_by_key(|(at, _)| *at)).map(|(_, leg)| leg)
    }

    /// Of a call of which not one leg came to be.
    fn why_not(&self) -> Option<&str> {
        self.legs.last()?.not_dialled.as_ref().map(|not| not.cause.as_str())
    }

    fn ended_at(&self) -> Option<Timestamp> {
        self.legs.iter().filter_map(|leg| leg.ended).map(|ended| ended.at).max().or(self.over_at)
    }
}

impl DialLeg {
    fn answered_at(&self) -> Option<Timestamp> {
        self.answered_at.or_else(|| self.bill.as_ref()?.answered_at)
    }

    fn standing(&self) -> LegStanding {
        let reason = || self.bill.as_ref()?.reason.clone();
        LegStanding {
            side: self.side,
            attempt: self.attempt,
            state: self.state(),
            call: self.platform_call.clone(),
            answered_at: self.answered_at(),
            duration_secs: self.bill.as_ref().map(|bill| bill.duration_secs),
            cost: self.bill.as_ref().map(|bill| bill.cost),
            why: reason().or_else(|| self.not_dialled.as_ref().map(|not| not.cause.clone())),
        }
    }
}

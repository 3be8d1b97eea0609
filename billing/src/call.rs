//! One call as billing sees it: a fold of its events, in whatever order they come, and the CDR it comes to.
//!
//! What must happen at some time goes by our own clocks: the ingress's for when something was received, billing's for
//! how long it has been quiet. Sinch's timestamps only measure a call against itself, and stand in the CDR.

use bus::Recorded;
use jiff::{SignedDuration, Timestamp};
use money::hold::GRACE;
use money::{Ended, Hold, Micros, cost};
use proto::callback::Details;
use proto::event::{TRACEPARENT, json};
use proto::settled::{SettledLeg, SupplierCost};
use proto::signature::Verified;
use proto::{
    AppName, CallId, Callback, Decided, DecisionKey, Event, EventId, Kind, Outcome, Partition, Settled, Subject,
};
use rust_decimal::Decimal;

/// An ended call of which no decision is known is settled as unmatched after this; a hold of which no decision came is
/// freed.
const UNMATCHED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A settled call is remembered this long: longer than a spool keeps events to send them again.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(20);

/// No call lasts longer than four hours; one of which nothing was heard for longer is settled as it is.
const SILENT_MAX: SignedDuration = SignedDuration::from_hours(5);

/// A time of Sinch's that is further from our clock is not believed.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(10);

/// A longer duration is not believed.
const DURATION_MAX_SECS: u32 = 24 * 3600;

/// What is known of a call.
#[derive(Debug)]
pub(crate) struct Call {
    app: AppName,
    id: CallId,
    /// Where its first event stands: billing reads again from the oldest call it still needs.
    pub first_seq: u64,
    started_at: Option<Timestamp>,
    from: Option<String>,
    to: Option<String>,
    /// The last ACE.
    answer: Option<Moment>,
    decided: bool,
    /// Where the first decision stands in its trace.
    pub decided_in: Option<String>,
    refused: Option<String>,
    /// Decisions without a hold of which a worker may have placed one that was never recorded.
    strays: Vec<DecisionKey>,
    /// In the order they were authorised.
    pub legs: Vec<CallLeg>,
    end: Option<End>,
    /// The CDR is in the log.
    pub settled: bool,
    /// By billing's own clock.
    heard_at: Timestamp,
}

/// When something happened: as Sinch says, and when we received it.
#[derive(Debug, Clone, Copy)]
struct Moment {
    told: Option<Timestamp>,
    received: Timestamp,
}

impl Moment {
    /// Sinch's time where it can be true, since a period's prices hang on it; else ours.
    fn believed(self) -> Timestamp {
        self.told.filter(|told| told.duration_since(self.received).abs() <= SKEW_MAX).unwrap_or(self.received)
    }
}

/// A leg, and how far its money is.
#[derive(Debug)]
pub(crate) struct CallLeg {
    pub hold: Hold,
    authorised_in: Kind,
    pub placed: bool,
    pub bill: Option<Bill>,
}

/// What a leg came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bill {
    cost: Micros,
    billed_secs: u32,
    overrun: bool,
    estimate: bool,
}

/// How a leg ended, and whether that is beyond doubt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub ended: Ended,
    certain: bool,
}

#[derive(Debug)]
struct End {
    answered: bool,
    duration_secs: Option<u32>,
    at: Moment,
    result: Option<String>,
    reason: Option<String>,
    supplier_cost: Option<SupplierCost>,
}

impl Call {
    pub(crate) fn new(app: AppName, id: CallId, first: &Recorded, now: Timestamp) -> Self {
        Self {
            app,
            id,
            first_seq: first.seq,
            started_at: None,
            from: None,
            to: None,
            answer: None,
            decided: false,
            decided_in: None,
            refused: None,
            strays: Vec::new(),
            legs: Vec::new(),
            end: None,
            settled: false,
            heard_at: now,
        }
    }

    /// Takes one event. Taking it twice, or in another order, makes no difference to the money.
    ///
    /// # Errors
    /// A sentence, when the event cannot be read; it then changes nothing.
    pub(crate) fn apply(&mut self, kind: Kind, event: &Event, now: Timestamp) -> Result<(), String> {
        self.heard_at = now;
        match kind {
            Kind::Decided => self.decided(event),
            Kind::Emitted => Ok(()),
            Kind::Settled => {
                self.settled = true;
                Ok(())
            }
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {
                let callback = Callback::parse(&Verified::unchecked(event.data.clone()));
                self.received(callback.map_err(|error| error.to_string())?, event.time);
                Ok(())
            }
        }
    }

    fn received(&mut self, callback: Callback, received: Timestamp) {
        let at = Moment { told: callback.common.timestamp, received };
        match callback.details {
            Details::Ice(ice) => {
                self.started_at = Some(at.told.unwrap_or(received));
                self.from = ice.cli.or(callback.common.user);
                self.to = ice.to.and_then(|to| to.endpoint);
            }
            Details::Ace(_) if self.answer.is_none_or(|answer| answer.received <= received) => self.answer = Some(at),
            // The first end stands; another DICE of the same call is a duplicate or a conflict, never a second charge.
            Details::Dice(dice) if self.end.is_none() => {
                self.from = self.from.take().or_else(|| dice.from.clone());
                self.to = self.to.take().or_else(|| dice.to.as_ref()?.endpoint.clone());
                self.end = Some(End {
                    answered: dice.answered(),
                    duration_secs: dice.duration_secs,
                    at,
                    supplier_cost: dice.debit.as_ref().and_then(|debit| {
                        Some(SupplierCost { amount: debit.amount?, currency: debit.currency_id.clone() })
                    }),
                    result: dice.result,
                    reason: dice.reason,
                });
            }
            Details::Ace(_) | Details::Dice(_) | Details::Pie(_) | Details::Notify(_) | Details::Unknown { .. } => {}
        }
    }

    fn decided(&mut self, event: &Event) -> Result<(), String> {
        let decided: Decided = serde_json::from_slice(&event.data).map_err(|error| error.to_string())?;
        let hold = match decided.hold {
            Some(hold) => Some(serde_json::from_str(hold.get()).map_err(|error| format!("its hold: {error}"))?),
            None => None,
        };
        if !self.decided {
            // A CDR that was written before says unmatched.
            self.decided = true;
            self.decided_in = event.attribute(TRACEPARENT).map(str::to_owned);
            self.settled = false;
        }
        match (hold, decided.outcome) {
            (Some(hold), _) => self.authorised(hold, decided.kind),
            (None, Outcome::Fallback) if decided.kind.wants_svaml() => self.strays.push(decided.key),
            (None, Outcome::Refused) if decided.kind != Kind::Ace && self.legs.is_empty() => {
                self.refused = decided.reason;
            }
            (None, Outcome::Fallback | Outcome::Refused | Outcome::Answered | Outcome::Granted) => {}
        }
        Ok(())
    }

    fn authorised(&mut self, hold: Hold, authorised_in: Kind) {
        if self.legs.iter().any(|leg| leg.hold.leg == hold.leg) {
            return;
        }
        let place = self.legs.partition_point(|leg| leg.hold.placed_at <= hold.placed_at);
        self.legs.insert(place, CallLeg { hold, authorised_in, placed: false, bill: None });
        self.refused = None;
        self.settled = false;
    }

    /// How a leg ended, once that is known. Only one leg was connected when the call ended: the last, unless another
    /// has been charged for it already.
    pub(crate) fn ending(&self, index: usize) -> Option<Ending> {
        let leg = self.legs.get(index)?;
        let released = |at, certain| {
            Some(Ending { ended: Ended { answered: false, duration_secs: 0, answered_at: at, at }, certain })
        };
        if self.legs.iter().any(|other| other.bill.is_some_and(|bill| bill.cost > Micros::ZERO)) {
            return released(self.heard_at, false);
        }
        if index + 1 < self.legs.len() {
            return released(self.heard_at, true);
        }
        let end = self.end.as_ref()?;
        let at = end.at.told.unwrap_or(end.at.received);
        if !end.answered {
            // A duration without an answer is odd enough to be looked at.
            return released(at, end.duration_secs.unwrap_or_default() == 0);
        }
        let talked = self.talked_secs(end);
        let (duration_secs, certain) = match (leg.authorised_in, end.duration_secs, talked) {
            // A leg that began in a menu is not charged for the menu.
            (Kind::Pie, Some(duration), Some(talked)) => (talked.min(duration), true),
            (Kind::Pie, Some(duration), None) => (duration, false),
            (_, Some(duration), _) => (duration, true),
            (_, None, Some(talked)) => (talked, false),
            (_, None, None) => (0, false),
        };
        let believed = duration_secs.min(DURATION_MAX_SECS);
        let answered_at = match self.answer {
            Some(answer) => answer.believed(),
            None => later(end.at.believed(), -i64::from(believed)),
        };
        let ended = Ended { answered: true, duration_secs: believed, answered_at, at };
        Some(Ending { ended, certain: certain && believed == duration_secs })
    }

    /// From the ACE to the end, by Sinch's clock where it tells both times, else by ours.
    fn talked_secs(&self, end: &End) -> Option<u32> {
        let answer = self.answer?;
        let talked = match (answer.told, end.at.told) {
            (Some(from), Some(to)) => to.duration_since(from),
            (None, _) | (_, None) => end.at.received.duration_since(answer.received),
        };
        u32::try_from(talked.as_secs()).ok().filter(|secs| *secs > 0)
    }

    /// The leg's expiry has passed and nobody told its end; with the time of its answer, if it was answered.
    pub(crate) fn expired(&self, index: usize, now: Timestamp) -> Option<Option<Timestamp>> {
        let leg = self.legs.get(index)?;
        if self.end.is_some() || leg.bill.is_some() {
            return None;
        }
        let answered_at = self.answer.map(|answer| answer.received);
        let expires_at = match answered_at {
            Some(answered_at) => later(later(answered_at, i64::from(leg.hold.granted_secs)), GRACE.as_secs()),
            None => leg.hold.expires_at,
        };
        (now >= expires_at).then_some(answered_at)
    }

    /// Ended, but no decision is known: the ICE may still be on its way, or was never ours.
    pub(crate) fn ended_undecided(&self) -> bool {
        self.end.is_some() && !self.decided
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Keys under which a worker may hold credit that nobody will ever claim; each is named once.
    pub(crate) fn take_strays(&mut self, now: Timestamp) -> Vec<DecisionKey> {
        if self.end.is_none() && now.duration_since(self.heard_at) < UNMATCHED_AFTER {
            return Vec::new();
        }
        let mut strays = std::mem::take(&mut self.strays);
        strays.retain(|key| self.legs.iter().all(|leg| leg.hold.leg != *key));
        strays
    }

    /// Something of the call is worth a CDR: not for a late notification about one that is long forgotten.
    fn known(&self) -> bool {
        self.started_at.is_some() || self.decided || self.end.is_some()
    }

    /// Nothing more will happen to the call's money, and its CDR is not written yet.
    pub(crate) fn due(&self, now: Timestamp) -> bool {
        let silent = now.duration_since(self.heard_at);
        let over = match &self.end {
            Some(_) => self.decided || silent >= UNMATCHED_AFTER,
            None => silent >= SILENT_MAX || self.legs.last().is_some_and(|leg| leg.bill.is_some()),
        };
        over && self.known() && !self.settled && self.legs.iter().all(|leg| leg.bill.is_some())
    }

    /// The call can be forgotten.
    pub(crate) fn over(&self, now: Timestamp) -> bool {
        (self.settled || !self.known())
            && self.legs.iter().all(|leg| leg.bill.is_some())
            && now.duration_since(self.heard_at) >= REMEMBERED
    }

    /// The CDR. Should a leg be authorised after it was written, another one follows and stands in its place.
    pub(crate) fn settlement(&self, now: Timestamp) -> Event {
        let legs = self.legs.iter().map(CallLeg::settled).collect::<Vec<_>>();
        let mut parts = vec!["settled", self.app.as_str(), self.id.as_str()];
        parts.extend(legs.iter().map(|leg| leg.leg.as_str()));
        if !self.decided {
            // Never in the place of the call's real CDR, should this be a late echo of a call long forgotten.
            parts.push("unmatched");
        }
        let id = EventId::of(&parts);
        let end = self.end.as_ref();
        let shown = |at: Moment| at.told.unwrap_or(at.received);
        let settled = Settled {
            call: self.id.clone(),
            app: self.app.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            started_at: self.started_at,
            answered_at: self.answer.map(shown),
            ended_at: end.map(|end| shown(end.at)),
            result: end.and_then(|end| end.result.clone()),
            reason: end.and_then(|end| end.reason.clone()),
            duration_secs: end.and_then(|end| end.duration_secs).unwrap_or_default(),
            refused: self.refused.clone(),
            unmatched: !self.decided,
            legs,
            supplier_cost: end.and_then(|end| end.supplier_cost.clone()),
        };
        Event {
            id,
            subject: Subject::Call { kind: Kind::Settled, app: self.app.clone(), partition: Partition::of(&self.id) },
            about: self.id.to_string(),
            source: "billing".to_owned(),
            time: now,
            extra: Vec::new(),
            data: json(&settled).into(),
        }
    }
}

impl CallLeg {
    /// Notes what the leg came to. `charged` is what the wallet says; the rest follows from the hold's own price rows,
    /// so that a process that died between posting and CDR changes nothing.
    pub(crate) fn note(&mut self, charged: Micros, ending: Option<Ending>) {
        let priced = ending.and_then(|ending| match ending.ended {
            Ended { answered: true, duration_secs, answered_at, .. } => {
                cost(&self.hold.price, duration_secs, answered_at).ok()
            }
            Ended { answered: false, .. } => None,
        });
        let billed = priced.filter(|priced| priced.amount == charged);
        let certain = ending.is_some_and(|ending| ending.certain) && (billed.is_some() || charged == Micros::ZERO);
        self.bill = Some(Bill {
            cost: charged,
            billed_secs: billed.map(|priced| priced.billed_secs).unwrap_or_default(),
            overrun: charged > self.hold.amount,
            estimate: !certain,
        });
    }

    fn settled(&self) -> SettledLeg {
        let Bill { cost, billed_secs, overrun, estimate } = self.bill.unwrap_or_default();
        SettledLeg {
            leg: self.hold.leg.clone(),
            wallet: self.hold.wallet.clone(),
            currency: self.hold.price.currency().to_string(),
            deck: self.hold.deck.name.clone(),
            deck_version: self.hold.deck.version.clone(),
            prefix: self.hold.prefix.clone(),
            held: decimal(self.hold.amount),
            granted_secs: self.hold.granted_secs,
            billed_secs,
            cost: decimal(cost),
            overrun,
            estimate,
        }
    }
}

/// At most the end of time: a hostile number of seconds is no reason to stop.
fn later(at: Timestamp, secs: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(secs)).unwrap_or(Timestamp::MAX)
}

fn decimal(amount: Micros) -> Decimal {
    Decimal::new(amount.get(), 6).normalize()
}

#[cfg(test)]
mod tests;

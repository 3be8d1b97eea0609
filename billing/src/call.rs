//! One call as billing sees it: a fold of its events, in whatever order they come, and the CDR it comes to.
//!
//! What must happen at some time goes by our own clocks: the ingress's for when something was received, billing's for
//! how long it has been quiet. Sinch's timestamps only measure a call against itself, and stand in the CDR.

use bus::Recorded;
use jiff::{SignedDuration, Timestamp};
use money::hold::GRACE;
use money::{Ended, Hold, Micros};
use proto::asked::{Asked, Because, Said};
use proto::callback::Details;
use proto::event::TRACEPARENT;
use proto::signature::Verified;
use proto::{AppName, CallId, Callback, Decided, DecisionKey, Dialled, Event, EventId, Kind, LegOf, Outcome};

use crate::enquiry::{Enquiry, Question};
use end::{End, Moment};
pub(crate) use leg::{Bill, CallLeg, Ending};

mod cdr;
mod end;
mod leg;

/// An ended call of which no decision is known is settled as unmatched after this; a hold of which no decision came is
/// freed.
const UNMATCHED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A settled call is remembered this long: longer than a spool keeps events to send them again.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(20);

/// No call lasts longer than four hours; one of which nothing was heard for longer is settled as it is.
const SILENT_MAX: SignedDuration = SignedDuration::from_hours(5);

/// The platform is asked once more a while after it was given up; by then it was, or nobody asks any more.
const GIVEN_UP_MAX: SignedDuration = SignedDuration::from_hours(2);

/// What is known of a call.
#[derive(Debug)]
pub(crate) struct Call {
    app: AppName,
    id: CallId,
    /// Where its first event stands: billing reads again from the oldest call it still needs.
    pub first_seq: u64,
    /// The newest event taken.
    pub last_seq: u64,
    started_at: Option<Timestamp>,
    from: Option<String>,
    to: Option<String>,
    /// The last ACE.
    answer: Option<Moment>,
    decided: bool,
    /// Where the first decision stands in its trace.
    pub decided_in: Option<String>,
    refused: Option<String>,
    /// It is a leg of a call that we placed.
    placed: Option<LegOf>,
    /// Decisions without a hold of which a worker may have placed one that was never recorded.
    strays: Vec<DecisionKey>,
    /// In the order they were authorised.
    pub legs: Vec<CallLeg>,
    /// As the first DICE told it.
    end: Option<End>,
    /// As another DICE told it, in another way than the one that stood then.
    other_end: Option<End>,
    /// As the platform told it when it was asked: above what DICEs said.
    told_end: Option<End>,
    /// The platform was asked how long the call lasted; it is not asked that again.
    nobody_knows_duration: bool,
    /// Two ends were told, and the platform was not asked yet.
    disputed: bool,
    asked: Option<Said>,
    /// The platform said that the call goes on: nothing expires before.
    ongoing_until: Option<Timestamp>,
    /// When the platform had been asked in vain.
    gave_up_at: Option<Timestamp>,
    enquiry: Enquiry,
    /// Nothing more of the call is in the log than what is here.
    pub looked: bool,
    /// A wallet may have forgotten the call.
    pub late: bool,
    /// The CDR that stands in the log.
    pub cdr: Option<EventId>,
    /// It says what is known of the call.
    pub settled: bool,
    /// By billing's own clock.
    heard_at: Timestamp,
}

impl Call {
    pub(crate) fn new(app: AppName, id: CallId, first: &Recorded, now: Timestamp) -> Self {
        Self {
            app,
            id,
            first_seq: first.seq,
            last_seq: 0,
            started_at: None,
            from: None,
            to: None,
            answer: None,
            decided: false,
            decided_in: None,
            refused: None,
            placed: None,
            strays: Vec::new(),
            legs: Vec::new(),
            end: None,
            other_end: None,
            told_end: None,
            nobody_knows_duration: false,
            disputed: false,
            asked: None,
            ongoing_until: None,
            gave_up_at: None,
            enquiry: Enquiry::default(),
            looked: false,
            late: false,
            cdr: None,
            settled: false,
            heard_at: now,
        }
    }

    /// Takes one event; one that it has taken already changes nothing.
    ///
    /// # Errors
    /// A sentence, when the event cannot be read; it then changes nothing.
    pub(crate) fn apply(&mut self, kind: Kind, recorded: &Recorded, now: Timestamp) -> Result<(), String> {
        if recorded.seq <= self.last_seq {
            return Ok(());
        }
        self.last_seq = recorded.seq;
        self.heard_at = now;
        let event = &recorded.event;
        match kind {
            Kind::Decided => self.decided(event),
            Kind::Dialled => self.dialled(event),
            Kind::Emitted | Kind::Placed | Kind::Progressed => Ok(()),
            Kind::Asked => self.told(event),
            Kind::Settled => {
                self.cdr = Some(event.id.clone());
                Ok(())
            }
            Kind::Ice | Kind::Ace | Kind::Pie | Kind::Dice | Kind::Notify | Kind::Unknown => {
                let callback = Callback::parse(&Verified::unchecked(event.data.clone()));
                self.received(callback.map_err(|error| error.to_string())?, event);
                Ok(())
            }
        }
    }

    fn received(&mut self, callback: Callback, event: &Event) {
        let at = Moment { told: callback.common.timestamp, received: event.time };
        match callback.details {
            Details::Ice(ice) => {
                self.started_at = Some(at.told.unwrap_or(at.received));
                self.from = ice.cli.or(callback.common.user);
                self.to = ice.to.and_then(|to| to.endpoint);
            }
            Details::Ace(_) if self.answer.is_none_or(|answer| answer.received <= at.received) => {
                self.answer = Some(at)
            }
            Details::Dice(dice) => {
                self.from = self.from.take().or_else(|| dice.from.clone());
                self.to = self.to.take().or_else(|| dice.to.as_ref()?.endpoint.clone());
                self.ended(End::of_dice(*dice, event.id.clone(), at));
            }
            Details::Ace(_) | Details::Pie(_) | Details::Notify(_) | Details::Unknown { .. } => {}
        }
    }

    /// The first end stands; another DICE of the same call is a duplicate or a conflict, never a second charge.
    fn ended(&mut self, end: End) {
        if [&self.end, &self.other_end].into_iter().flatten().any(|told| told.basis() == end.basis()) {
            return;
        }
        self.settled = false;
        self.disputed = self.standing_end().is_some_and(|standing| standing.basis() != end.basis());
        if self.end.is_none() {
            self.end = Some(end);
        } else {
            self.other_end = Some(end);
        }
    }

    fn told(&mut self, event: &Event) -> Result<(), String> {
        let asked: Asked = serde_json::from_slice(&event.data).map_err(|error| error.to_string())?;
        self.settled = false;
        self.asked = Some(asked.said);
        self.enquiry.answered(self.gave_up_at.is_some());
        let lasts_too_long =
            self.legs.last().is_some_and(|leg| event.time.duration_since(leg.hold.expires_at) > SILENT_MAX);
        match (asked.because, asked.ending()) {
            (_, Some(info)) => {
                (self.disputed, self.gave_up_at) = (false, None);
                self.told_end = Some(End::of_info(info, event));
                self.nobody_knows_duration = true;
            }
            (Because::Disputed, None) => self.disputed = false,
            (Because::NoDuration, None) => self.nobody_knows_duration = true,
            (Because::NoEnd, None) if asked.said == Said::Ongoing && !lasts_too_long => {
                self.gave_up_at = None;
                self.ongoing_until = Some(later(event.time, GRACE.as_secs()));
            }
            (Because::NoEnd, None) => self.gave_up_at = Some(self.gave_up_at.unwrap_or(event.time)),
        }
        Ok(())
    }

    /// The end the call is charged by: the platform's word, unless it cannot be rated and another can.
    fn standing_end(&self) -> Option<&End> {
        let asked = self.told_end.as_ref().filter(|told| told.can_be_rated() || self.end.is_none());
        asked.or(self.end.as_ref())
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

    /// That we dialled it authorises it: nothing of it may ever be decided.
    fn dialled(&mut self, event: &Event) -> Result<(), String> {
        let dialled: Dialled = serde_json::from_slice(&event.data).map_err(|error| error.to_string())?;
        let hold = dialled.hold.map(|hold| serde_json::from_str(hold.get())).transpose();
        if self.placed.is_none() {
            self.started_at = self.started_at.or(Some(event.time));
            (self.placed, self.decided, self.settled) = (Some(dialled.of), true, false);
        }
        if let Some(hold) = hold.map_err(|error| format!("its hold: {error}"))? {
            self.authorised(hold, Kind::Dialled);
        }
        Ok(())
    }

    fn authorised(&mut self, hold: Hold, authorised_in: Kind) {
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.hold.leg == hold.leg) {
            // Any of several grants may be the one the platform obeys: the largest is held.
            if leg.bill.is_none() && leg.hold.amount < hold.amount {
                (leg.hold, leg.placed) = (hold, false);
            }
            return;
        }
        let place = self.legs.partition_point(|leg| leg.hold.placed_at <= hold.placed_at);
        self.legs.insert(place, CallLeg { hold, authorised_in, placed: false, bill: None });
        self.refused = None;
        self.settled = false;
    }

    /// How a leg ended, once that is known. Only one leg was connected when the call ended: the one that was charged
    /// for it already, else the last.
    pub(crate) fn ending(&self, index: usize) -> Option<Ending> {
        let leg = self.legs.get(index)?;
        let released = |at, certain| {
            Some(Ending { ended: Ended { answered: false, duration_secs: 0, answered_at: at, at }, certain })
        };
        let among = |leg: &CallLeg| leg.authorised_in != Kind::Dialled;
        let charged =
            self.legs.iter().position(|leg| among(leg) && leg.bill.is_some_and(|bill| bill.cost > Micros::ZERO));
        let connected = charged.unwrap_or(self.legs.len() - 1);
        // What we dialled is up from its answer to the end, whatever it was led to meanwhile.
        if among(leg) && index != connected {
            return released(self.heard_at, index < connected);
        }
        let end = self.standing_end()?;
        let at = end.at.told.unwrap_or(end.at.received);
        if !end.answered {
            // A duration without an answer is odd enough to be looked at.
            return released(at, end.duration_secs.unwrap_or_default() == 0);
        }
        // A guess is never longer than what was granted.
        let granted_secs = leg.hold.granted_secs;
        let talked = self.talked_secs(end).map(|talked| match end.duration() {
            Some(_) => talked,
            None => talked.min(granted_secs),
        });
        let (believed, certain) = match (leg.authorised_in, end.duration(), talked) {
            // A leg that began in a menu is not charged for the menu.
            (Kind::Pie, Some(duration), Some(talked)) => (talked.min(duration), true),
            (Kind::Pie, Some(duration), None) => (duration, false),
            (_, Some(duration), _) => (duration, true),
            (_, None, Some(talked)) => (talked, false),
            // Answered, and nobody says for how long: what was held is kept as an estimate.
            (_, None, None) => (granted_secs, false),
        };
        let answered_at = match self.answer {
            Some(answer) => answer.believed(),
            None => later(end.at.believed(), -i64::from(believed)),
        };
        let ended = Ended { answered: true, duration_secs: believed, answered_at, at };
        Some(Ending { ended, certain })
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

    /// The leg's expiry has passed and nobody told its end.
    pub(crate) fn expired(&self, index: usize, now: Timestamp) -> bool {
        let Some(leg) = self.legs.get(index).filter(|_| self.standing_end().is_none()) else { return false };
        let expires_at = match self.answered_at() {
            Some(answered_at) => later(later(answered_at, i64::from(leg.hold.granted_secs)), GRACE.as_secs()),
            None => leg.hold.expires_at,
        };
        now >= self.ongoing_until.map_or(expires_at, |until| until.max(expires_at))
    }

    /// By our own clock.
    pub(crate) fn answered_at(&self) -> Option<Timestamp> {
        self.answer.map(|answer| answer.received)
    }

    /// Nobody can say how the call ended.
    pub(crate) fn gave_up(&self) -> bool {
        self.gave_up_at.is_some()
    }

    /// An estimate stands, and the platform will be asked again.
    fn waits_for_the_platform(&self, now: Timestamp) -> bool {
        self.gave_up() && !self.has_ended() && !self.enquiry.over() && now.duration_since(self.heard_at) < GIVEN_UP_MAX
    }

    /// What the platform is to be asked about the call now.
    pub(crate) fn question(&mut self, now: Timestamp, may_expire: bool, room: bool) -> Option<Question> {
        // Of several legs only the last can still be waited for.
        let last = self.legs.len().checked_sub(1).filter(|_| may_expire);
        let because = match last.is_some_and(|last| self.expired(last, now)) {
            true => Because::NoEnd,
            false if self.disputed && self.decided => Because::Disputed,
            false if self.lacks_duration() => Because::NoDuration,
            false => return None,
        };
        self.enquiry.begin((&self.app, &self.id), because, self.gave_up_at, now, room)
    }

    /// Somebody is to pay for a call of which nobody said how long it lasted.
    fn lacks_duration(&self) -> bool {
        let unrated = self.standing_end().is_some_and(|end| !end.can_be_rated());
        unrated && !self.legs.is_empty() && !self.nobody_knows_duration
    }

    /// The platform said nothing that could be kept.
    pub(crate) fn unanswered(&mut self, now: Timestamp) {
        self.enquiry.failed(self.gave_up_at.is_some(), now);
    }

    /// What the last end was told in: names the correction it calls for.
    pub(crate) fn told_in(&self) -> Option<&EventId> {
        self.standing_end().map(|end| &end.told_in)
    }

    /// Ended, but no decision is known: the ICE may still be on its way, or was never ours.
    pub(crate) fn ended_undecided(&self) -> bool {
        self.has_ended() && !self.decided
    }

    /// So for a while: what the log has of the call is to be looked up.
    pub(crate) fn to_be_looked_up(&self, now: Timestamp) -> bool {
        self.ended_undecided() && !self.looked && now.duration_since(self.heard_at) >= UNMATCHED_AFTER
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.standing_end().is_some()
    }

    /// Keys under which a worker may hold credit that nobody will ever claim; each is named once.
    pub(crate) fn take_strays(&mut self, now: Timestamp) -> Vec<DecisionKey> {
        if !self.has_ended() && now.duration_since(self.heard_at) < UNMATCHED_AFTER {
            return Vec::new();
        }
        let mut strays = std::mem::take(&mut self.strays);
        strays.retain(|key| self.legs.iter().all(|leg| leg.hold.leg != *key));
        strays
    }

    /// Something of the call is worth a CDR: not for a late notification about one that is long forgotten.
    fn known(&self) -> bool {
        self.started_at.is_some() || self.decided || self.has_ended()
    }

    /// Nothing more will happen to the call's money, and its CDR is not written yet.
    pub(crate) fn due(&self, now: Timestamp) -> bool {
        let silent = now.duration_since(self.heard_at);
        let over = match self.standing_end() {
            Some(_) => self.decided || (self.looked && silent >= UNMATCHED_AFTER),
            None => silent >= SILENT_MAX || self.legs.last().is_some_and(|leg| leg.bill.is_some()),
        };
        over && self.known() && !self.settled && self.legs.iter().all(|leg| leg.bill.is_some())
    }

    /// The call can be forgotten.
    pub(crate) fn over(&self, now: Timestamp) -> bool {
        (self.settled || !self.known())
            && !self.waits_for_the_platform(now)
            && self.legs.iter().all(|leg| leg.bill.is_some())
            && now.duration_since(self.heard_at) >= REMEMBERED
    }
}

/// At most the end of time: a hostile number of seconds is no reason to stop.
fn later(at: Timestamp, secs: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(secs)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;

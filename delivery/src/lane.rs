//! A lane: the deliveries to one destination that one group has open, as a state machine. No I/O, no clock: what happened
//! goes in with its time, what is to be done comes out.
//!
//! * Within a call one delivery is on its way at a time, in the order they came; calls go side by side.
//! * At most [`OPEN_MAX`] are open. What comes beyond waits where it lies, in the stream `CALLS`: the lane has *fallen
//!   behind*, and reads on from there as places become free.
//! * After ten failures without a success, over a minute at least, the lane *breaks* ([`breaker`]): nothing is sent but a
//!   probe now and then, one delivery after the other, whose plan does not go on by it. The first success mends it.

use std::cmp::{max, min};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::{Delivery, EventId, Moment, Share};

use crate::done::{Done, Over};
use crate::order::LaneStanding;
use crate::plan::Plan;

mod answer;
mod breaker;
pub(crate) mod past;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Answer, GONE, Judgement};
use breaker::Breaker;
pub(crate) use breaker::Change;

/// Deliveries in memory. Beyond, the log itself is what waits.
pub(crate) const OPEN_MAX: usize = 1000;
/// A lane that has fallen behind reads on when it has no more than this.
const OPEN_LOW: usize = OPEN_MAX / 2;
/// Attempts may be this far ahead of their rate, since timers are coarse.
const RATE_SLACK: SignedDuration = SignedDuration::from_millis(100);
/// A destination that asks for more patience is asked again after this.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The longest limit of a CRM is that of a day, which may have 25 hours.
const LIMITED_MAX: Duration = Duration::from_secs(25 * 3600);

/// How the destination wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// For all but what is of no use after some minutes: that a call began, or was answered.
    pub plan: Plan,
    pub concurrency_max: usize,
    pub rate_per_sec: Option<u32>,
    pub paused: bool,
}

impl Rules {
    fn plan(&self, live: bool) -> &Plan {
        if live { Plan::live() } else { &self.plan }
    }
}

/// The deliveries to one destination that one group has open.
#[derive(Debug)]
pub(crate) struct Lane {
    rules: Rules,
    /// By the place they took in the line.
    open: BTreeMap<u64, Open>,
    places: HashMap<EventId, u64>,
    next_place: u64,
    /// Of each call, its deliveries in order.
    calls: HashMap<String, VecDeque<u64>>,
    /// The first of each call that only waits for its time.
    ready: BTreeSet<(Timestamp, u64)>,
    flying: usize,
    /// When the next attempt would come at an even rate.
    even_at: Timestamp,
    /// It asked to be left alone until then.
    held_until: Timestamp,
    breaker: Breaker,
    backlog: Option<Backlog>,
    done: Done,
    /// Newest place in `DELIVERIES` this lane has seen.
    last_seq: u64,
}

#[derive(Debug)]
struct Open {
    delivery: Delivery,
    call: String,
    state: State,
    attempts: u32,
    /// Attempts of the plan that are used up.
    used: u32,
    /// An operator wants it, however old it is.
    wanted: bool,
    /// Place of its first event in `DELIVERIES`, or one before it.
    noted_seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// That it waits is being written down.
    Noting,
    Waiting {
        due: Timestamp,
    },
    Flying {
        probe: bool,
    },
}

/// What waits in `CALLS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backlog {
    from: u64,
    /// Newest event that was left there.
    told: u64,
    /// Place in `DELIVERIES` of the event that says so; 0 while that is being written.
    noted_seq: u64,
    reading: bool,
}

/// What becomes of a delivery that is offered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is open already, or was lately.
    Known,
    /// It waits in `CALLS`, which is written down.
    Behind,
    /// It waits in `CALLS` from here on, which must be written down first.
    FellBehind { from: u64 },
    /// It waits, which must be written down.
    Queue,
    /// It is sent now.
    Start(Start),
}

/// What becomes of one that an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is open, or it was since.
    Known,
    /// It waits, which must be written down.
    Queue,
    /// There is no place for it just now.
    Full,
}

/// One attempt to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub delivery: Delivery,
    pub call: String,
    pub attempt: u32,
    pub probe: bool,
    /// Too old to be of use: give it up instead.
    pub useless: bool,
}

/// What is to be done now, and when to ask again.
#[derive(Debug, Default)]
pub(crate) struct Next {
    pub starts: Vec<Start>,
    pub wake_at: Option<Timestamp>,
    /// Read on in `CALLS` from this event.
    pub read_from: Option<u64>,
}

impl Lane {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            open: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
            calls: HashMap::new(),
            ready: BTreeSet::new(),
            flying: 0,
            even_at: Timestamp::MIN,
            held_until: Timestamp::MIN,
            breaker: Breaker::default(),
            backlog: None,
            done: Done::default(),
            last_seq: 0,
        }
    }

    pub(crate) fn set(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// An event as it comes out of the log.
    pub(crate) fn offer(&mut self, delivery: Delivery, call: &str, now: Timestamp) -> Offered {
        if self.knows(&delivery.id) {
            return Offered::Known;
        }
        match &mut self.backlog {
            Some(backlog) if delivery.seq >= backlog.from => {
                backlog.told = max(backlog.told, delivery.seq);
                return Offered::Behind;
            }
            // Older than what waits: few, and held up on their way here.
            Some(_) => {}
            None if self.open.len() >= OPEN_MAX => {
                let from = delivery.seq;
                self.backlog = Some(Backlog { from, told: from, noted_seq: 0, reading: false });
                return Offered::FellBehind { from };
            }
            None => {}
        }
        let place = self.line_up(delivery, call, State::Noting);
        if self.is_first(place) && self.may_start(now) {
            return Offered::Start(self.start(place, false, now));
        }
        Offered::Queue
    }

    /// What was read on from `CALLS`: those to be written down as waiting. `next` is where to read on, to be written down
    /// after them. Until then what comes is still left there: should this process end first, none of it must have been
    /// written down before what was read.
    pub(crate) fn read_on(&mut self, read: Vec<(Delivery, String)>, next: u64) -> Vec<(Delivery, String)> {
        if let Some(backlog) = &mut self.backlog {
            backlog.from = next;
        }
        let mut new = Vec::new();
        for (delivery, call) in read {
            if !self.knows(&delivery.id) {
                self.line_up(delivery.clone(), &call, State::Noting);
                new.push((delivery, call));
            }
        }
        new
    }

    /// Reading on failed; it is tried again.
    pub(crate) fn not_read(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            backlog.reading = false;
        }
    }

    /// An operator wants one again that was given up after so many attempts, or anew. Whoever asks may not have heard
    /// yet what became of it since, or that he was heard.
    pub(crate) fn retry(&mut self, delivery: Delivery, call: &str, attempts: u32) -> Wanted {
        let is_new = delivery.replay > 0 && attempts == 0;
        let done = self.done.attempts(&delivery.id);
        if self.places.contains_key(&delivery.id) || done.is_some_and(|done| is_new || done > attempts) {
            return Wanted::Known;
        }
        if self.open.len() >= OPEN_MAX {
            return Wanted::Full;
        }
        self.done.forget(&delivery.id);
        let place = self.line_up(delivery, call, State::Noting);
        if let Some(open) = self.open.get_mut(&place) {
            (open.attempts, open.wanted) = (attempts, true);
        }
        Wanted::Queue
    }

    /// It is written down that a delivery waits.
    pub(crate) fn noted(&mut self, id: &EventId, seq: u64, now: Timestamp) {
        self.saw(seq);
        let Some(place) = self.places.get(id).copied() else { return };
        if let Some(open) = self.open.get_mut(&place) {
            open.noted_seq = seq;
            open.state = State::Waiting { due: now };
        }
        self.make_ready(place);
    }

    /// It is written down where the backlog begins. `true` when there is none any more: all that was left there is read.
    pub(crate) fn backlog_noted(&mut self, seq: u64) -> bool {
        self.saw(seq);
        let Some(backlog) = &mut self.backlog else { return false };
        (backlog.noted_seq, backlog.reading) = (seq, false);
        let caught_up = backlog.from > backlog.told;
        if caught_up {
            self.backlog = None;
        }
        caught_up
    }

    /// Something else is written down.
    pub(crate) fn saw(&mut self, seq: u64) {
        self.last_seq = max(self.last_seq, seq);
    }

    /// What is to be done now.
    pub(crate) fn next(&mut self, now: Timestamp) -> Next {
        let mut next = Next::default();
        if let Some(backlog) = &mut self.backlog
            && !backlog.reading
            && self.open.len() <= OPEN_LOW
        {
            backlog.reading = true;
            next.read_from = Some(backlog.from);
        }
        if self.rules.paused {
            return next;
        }
        match self.breaker {
            Breaker::Gone { .. } => {}
            Breaker::Open { probe_at, probed, .. } => {
                // It may be one delivery that is never taken: the next probe is the next one.
                let places = || self.ready.iter().map(|(_, place)| *place);
                let turn = places().filter(|place| Some(*place) > probed).min().or_else(|| places().min());
                match turn {
                    Some(_) if probe_at > now => next.wake_at = Some(probe_at),
                    Some(place) if self.flying == 0 => next.starts.push(self.start(place, true, now)),
                    Some(_) | None => {}
                }
            }
            Breaker::Closed { .. } => {
                while let Some((due, place)) = self.ready.first().copied() {
                    let at = max(due, max(self.held_until, earlier(self.even_at, RATE_SLACK)));
                    if at > now {
                        next.wake_at = Some(at);
                        break;
                    }
                    if self.flying >= self.rules.concurrency_max {
                        break;
                    }
                    next.starts.push(self.start(place, false, now));
                }
            }
        }
        next
    }

    /// What follows from an answer; nothing changes yet. `lot` is 0 to 1000.
    pub(crate) fn judge(&self, id: &EventId, answer: &Answer, now: Timestamp, lot: u16) -> Judgement {
        let open = self.places.get(id).and_then(|place| self.open.get(place));
        let (used, probe) = open.map_or((0, false), |open| (open.used, open.state == State::Flying { probe: true }));
        match answer {
            Answer::Taken { .. } => Judgement::Delivered,
            Answer::Hopeless { .. } => Judgement::Dead,
            Answer::Refused { status: Some(GONE), .. } => Judgement::Failed { used, next_at: now },
            Answer::Refused { .. } if probe => Judgement::Failed { used, next_at: now },
            Answer::Limited { pause, .. } => Judgement::Failed { used, next_at: later(now, min(*pause, LIMITED_MAX)) },
            Answer::Refused { retry_after, .. } => {
                let live = open.is_some_and(|open| is_live(&open.delivery));
                let used = used.saturating_add(1);
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                match self.rules.plan(live).pause(used, lot) {
                    Some(pause) => Judgement::Failed { used, next_at: later(now, max(pause, asked)) },
                    None => Judgement::Dead,
                }
            }
        }
    }

    /// The judgement is written down, at this place in `DELIVERIES`.
    pub(crate) fn settle(
        &mut self,
        id: &EventId,
        answer: &Answer,
        judgement: Judgement,
        seq: u64,
        now: Timestamp,
    ) -> Option<Change> {
        self.saw(seq);
        let place = *self.places.get(id)?;
        let open = self.open.get_mut(&place)?;
        let probe = open.state == State::Flying { probe: true };
        self.flying = self.flying.saturating_sub(1);
        match judgement {
            Judgement::Delivered | Judgement::Dead => self.close(place),
            Judgement::Failed { used, next_at } => {
                open.used = used;
                open.state = State::Waiting { due: next_at };
                self.make_ready(place);
            }
        }
        match answer {
            Answer::Taken { .. } => self.succeeded(now),
            Answer::Refused { status, retry_after, .. } => {
                if let Some(asked) = retry_after {
                    self.held_until = max(self.held_until, later(now, min(*asked, RETRY_AFTER_MAX)));
                }
                self.breaker.failed(*status == Some(GONE), probe, self.held_until, now)
            }
            Answer::Limited { pause, .. } => {
                self.held_until = max(self.held_until, later(now, min(*pause, LIMITED_MAX)));
                // A probe that ran into a limit has found nothing out; the next one waits for its end.
                if probe { self.breaker.failed(false, probe, self.held_until, now) } else { None }
            }
            // Of a probe: somebody answers there.
            Answer::Hopeless { status: Some(_), .. } if probe => self.succeeded(now),
            Answer::Hopeless { .. } => None,
        }
    }

    /// It is written down that the lane broke.
    pub(crate) fn breaker_noted(&mut self, noted: u64) {
        self.saw(noted);
        self.breaker.noted(noted);
    }

    /// An operator wants the destination tried again, now; `true` when it had broken.
    pub(crate) fn mend(&mut self, now: Timestamp) -> bool {
        self.held_until = Timestamp::MIN;
        let was_broken = self.breaker.is_broken();
        self.breaker = Breaker::default();
        self.all_due(now);
        was_broken
    }

    /// Where a reading of `DELIVERIES` has to begin so that nothing of this lane is missing. `floor`: all events of the
    /// calls up to there are done. `None` while the state of the whole lane is being written down.
    pub(crate) fn oldest_needed(&self, floor: u64) -> Option<u64> {
        let open = self.open.values().map(|open| open.noted_seq);
        let backlog = self.backlog.map(|backlog| backlog.noted_seq);
        let needed = open.chain(self.breaker.noted_seq()).chain(backlog).chain(self.done.noted_above(floor));
        Some(needed.min().unwrap_or(self.last_seq.saturating_add(1))).filter(|oldest| *oldest > 0)
    }

    /// Events up to `floor` do not come again.
    pub(crate) fn forget(&mut self, floor: u64) {
        self.done.prune(floor);
    }

    /// Nothing is open or needed any more, if all events of the calls up to `floor` are done.
    pub(crate) fn is_idle(&self, floor: u64) -> bool {
        self.open.is_empty() && self.oldest_needed(floor).is_none_or(|oldest| oldest > self.last_seq)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.breaker.is_broken()
    }

    /// How it stands, as one group's.
    pub(crate) fn standing(&self, group: Share) -> LaneStanding {
        LaneStanding {
            group,
            open: self.open.len(),
            broken: self.breaker.is_broken(),
            gone: matches!(self.breaker, Breaker::Gone { .. }),
            waits: self.rules.paused,
            behind_from: self.backlog.map(|backlog| backlog.from),
        }
    }

    fn knows(&self, id: &EventId) -> bool {
        self.places.contains_key(id) || self.done.has(id)
    }

    fn line_up(&mut self, delivery: Delivery, call: &str, state: State) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(delivery.id.clone(), place);
        self.calls.entry(call.to_owned()).or_default().push_back(place);
        let call = call.to_owned();
        // What is written down from here on lies behind all that was seen.
        let noted_seq = self.last_seq.saturating_add(1);
        self.open.insert(place, Open { delivery, call, state, attempts: 0, used: 0, wanted: false, noted_seq });
        place
    }

    fn is_first(&self, place: u64) -> bool {
        let line = self.open.get(&place).and_then(|open| self.calls.get(&open.call));
        line.is_some_and(|line| line.front() == Some(&place))
    }

    /// Whether one that has just come may go at once: nothing is in its way, and nobody waits for the same.
    fn may_start(&self, now: Timestamp) -> bool {
        !self.rules.paused
            && !self.breaker.is_broken()
            && self.flying < self.rules.concurrency_max
            && max(self.held_until, earlier(self.even_at, RATE_SLACK)) <= now
            && self.ready.first().is_none_or(|(due, _)| *due > now)
    }

    fn make_ready(&mut self, place: u64) {
        if let Some(Open { state: State::Waiting { due }, .. }) = self.open.get(&place)
            && self.is_first(place)
        {
            self.ready.insert((*due, place));
        }
    }

    fn start(&mut self, place: u64, probe: bool, now: Timestamp) -> Start {
        if let Some(rate) = self.rules.rate_per_sec {
            let pause = Duration::from_secs(1) / rate.max(1);
            self.even_at = later(max(self.even_at, now), pause);
        }
        self.flying += 1;
        #[expect(clippy::expect_used, reason = "only what is open has a place")]
        let open = self.open.get_mut(&place).expect("a delivery in its place");
        if let State::Waiting { due } = open.state {
            self.ready.remove(&(due, place));
        }
        let too_old = self.rules.plan(is_live(&open.delivery)).useless_after;
        let useless = !open.wanted && too_old.is_some_and(|too_old| now.duration_since(open.delivery.at) > too_old);
        if !useless {
            open.attempts += 1;
        }
        open.state = State::Flying { probe };
        if probe {
            self.breaker.probes(place);
        }
        Start { delivery: open.delivery.clone(), call: open.call.clone(), attempt: open.attempts, probe, useless }
    }

    /// Delivered or dead: the next of its call may go.
    fn close(&mut self, place: u64) {
        let Some(Open { delivery, call, noted_seq, attempts, .. }) = self.open.remove(&place) else { return };
        self.places.remove(&delivery.id);
        self.done.add(delivery.id, Over { seq: delivery.seq, noted_seq, attempts });
        let mut next = None;
        if let Some(line) = self.calls.get_mut(&call) {
            line.retain(|other| *other != place);
            next = line.front().copied();
        }
        match next {
            Some(next) => self.make_ready(next),
            None => drop(self.calls.remove(&call)),
        }
    }

    fn succeeded(&mut self, now: Timestamp) -> Option<Change> {
        let was_broken = self.breaker.is_broken();
        self.breaker = Breaker::default();
        if was_broken {
            self.all_due(now);
        }
        was_broken.then_some(Change::Mended)
    }

    /// All that wait may go, in the order they came.
    fn all_due(&mut self, now: Timestamp) {
        let waiting = std::mem::take(&mut self.ready);
        for open in self.open.values_mut() {
            if let State::Waiting { due } = &mut open.state {
                *due = min(*due, now);
            }
        }
        self.ready = waiting.into_iter().map(|(due, place)| (min(due, now), place)).collect();
    }
}

/// What a listener is told while the call goes on.
fn is_live(delivery: &Delivery) -> bool {
    delivery.told.is_some_and(|told| told.moment != Moment::CallEnd)
}

/// `time` plus `by`, at most the end of time.
fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

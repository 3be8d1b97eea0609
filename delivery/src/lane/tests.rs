//! A lane, played against destinations that misbehave, for days on end in no time. What it writes down is folded again
//! and must come to the same.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proto::{
    AppName, Delivery, DeliveryNoted, DestinationName, EventId, Kind, Moment, Partition, RetryPlan, Share, Told,
};

use super::breaker::BREAK_ATTEMPTS;
use super::past::Past;
use super::{Answer, Change, Judgement, Lane, OPEN_MAX, Offered, Rules, Start, Wanted};
use crate::plan::Plan;

const GROUP: Share = Share::WHOLE;

fn start_of_time() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().expect("time")
}

fn rules(plan: &RetryPlan) -> Rules {
    Rules { plan: Plan::of(plan), concurrency_max: 4, rate_per_sec: None, paused: false }
}

/// A lane with its surroundings: the log of calls, the log of deliveries, and the destination, which says how each
/// attempt ends.
struct World<F> {
    lane: Lane,
    rules: Rules,
    now: Timestamp,
    calls: Vec<(Delivery, String)>,
    noted: Vec<(u64, String, DeliveryNoted)>,
    flying: Vec<Start>,
    /// Every attempt that was made: when, which event, by which number.
    attempts: Vec<(Timestamp, u64, u32)>,
    answers: F,
}

impl<F: FnMut(Timestamp, &Start) -> Answer> World<F> {
    fn new(plan: &RetryPlan, answers: F) -> Self {
        let rules = rules(plan);
        Self {
            lane: Lane::new(rules.clone()),
            rules,
            now: start_of_time(),
            calls: Vec::new(),
            noted: Vec::new(),
            flying: Vec::new(),
            attempts: Vec::new(),
            answers,
        }
    }

    fn note(&mut self, call: &str, noted: DeliveryNoted) -> u64 {
        let seq = self.noted.len() as u64 + 1;
        self.noted.push((seq, call.to_owned(), noted));
        seq
    }

    /// An event of a call comes.
    fn event(&mut self, call: &str) {
        self.happens(call, None);
    }

    /// A listener is to be told of a moment of a call.
    fn told(&mut self, call: &str, moment: Moment) {
        self.happens(call, Some(Told { moment, listener: 0 }));
    }

    fn happens(&mut self, call: &str, told: Option<Told>) {
        let seq = self.calls.len() as u64 + 1;
        let id = EventId::of(&[&seq.to_string()]);
        let destination = DestinationName::new("crm").expect("name");
        let app = AppName::new("acme").expect("app");
        let id = Delivery::id_of(&destination, &id, 0);
        let delivery = Delivery { id, seq, kind: Kind::Settled, app, at: self.now, replay: 0, told };
        self.calls.push((delivery, call.to_owned()));
        self.offer(seq);
    }

    fn offer(&mut self, seq: u64) {
        let (delivery, call) = self.calls[seq as usize - 1].clone();
        match self.lane.offer(delivery.clone(), &call, self.now) {
            Offered::Known | Offered::Behind => {}
            Offered::FellBehind { from } => {
                let seq = self.note("", DeliveryNoted::FellBehind { group: GROUP, from });
                self.lane.backlog_noted(seq);
            }
            Offered::Queue => {
                let seq = self.note(&call, DeliveryNoted::Queued { delivery: delivery.clone() });
                self.lane.noted(&delivery.id, seq, self.now);
            }
            Offered::Start(start) => self.take_off(start),
        }
    }

    fn take_off(&mut self, start: Start) {
        if !start.useless {
            let Start { delivery, attempt, probe, .. } = start.clone();
            let seq = self.note(&start.call, DeliveryNoted::Attempted { delivery, attempt, probe });
            self.lane.saw(seq);
            self.attempts.push((self.now, start.delivery.seq, attempt));
        }
        assert!(
            !self.flying.iter().any(|other| other.call == start.call),
            "two deliveries of {} are on their way",
            start.call
        );
        self.flying.push(start);
        assert!(self.flying.len() <= self.rules.concurrency_max);
    }

    fn land(&mut self, start: Start) {
        let answer = if start.useless {
            Answer::Hopeless { status: None, cause: "old".to_owned() }
        } else {
            (self.answers)(self.now, &start)
        };
        let judgement = self.lane.judge(&start.delivery.id, &answer, self.now, 500);
        let Start { delivery, attempt, call, .. } = start;
        let noted = match judgement {
            Judgement::Delivered => DeliveryNoted::Delivered {
                delivery: delivery.id.clone(),
                attempt,
                status: 200,
                took_millis: 1,
                wrote: None,
            },
            Judgement::Failed { used, next_at } => DeliveryNoted::Failed {
                delivery: delivery.id.clone(),
                attempt,
                status: None,
                cause: String::new(),
                used,
                next_at,
            },
            Judgement::Dead => {
                DeliveryNoted::Dead { delivery: delivery.id.clone(), attempt, status: None, cause: String::new() }
            }
        };
        let seq = self.note(&call, noted);
        let noted = match self.lane.settle(&delivery.id, &answer, judgement, seq, self.now) {
            Some(Change::Broke { gone }) => DeliveryNoted::Broke { group: GROUP, cause: String::new(), gone },
            Some(Change::Mended) => DeliveryNoted::Mended { group: GROUP },
            None => return,
        };
        let seq = self.note("", noted);
        self.lane.breaker_noted(seq);
    }

    /// Does what is to be done now; says when there is more.
    fn step(&mut self) -> Option<Timestamp> {
        loop {
            let next = self.lane.next(self.now);
            let idle = next.starts.is_empty() && next.read_from.is_none() && self.flying.is_empty();
            next.starts.into_iter().for_each(|start| self.take_off(start));
            if let Some(from) = next.read_from {
                let read: Vec<_> = self.calls.iter().skip(from as usize - 1).take(250).cloned().collect();
                let next = from + read.len() as u64;
                let new = self.lane.read_on(read, next);
                for (delivery, call) in new {
                    let id = delivery.id.clone();
                    let seq = self.note(&call, DeliveryNoted::Queued { delivery });
                    self.lane.noted(&id, seq, self.now);
                }
                let seq = self.note("", DeliveryNoted::FellBehind { group: GROUP, from: next });
                if self.lane.backlog_noted(seq) {
                    self.note("", DeliveryNoted::CaughtUp { group: GROUP });
                }
            }
            for start in std::mem::take(&mut self.flying) {
                self.land(start);
            }
            assert!(self.lane.standing(GROUP).open <= OPEN_MAX + 250);
            if idle {
                return next.wake_at;
            }
        }
    }

    /// Plays for so long.
    fn play(&mut self, for_secs: i64) {
        let until = self.now + SignedDuration::from_secs(for_secs);
        while let Some(at) = self.step().filter(|at| *at <= until) {
            assert!(at > self.now, "time goes on");
            self.now = at;
        }
        self.now = until;
        self.step();
    }

    /// The process ends where it is, and another takes over.
    fn take_over(&mut self) {
        self.flying.clear();
        let oldest = self.lane.oldest_needed(self.calls.len() as u64).unwrap_or(1);
        let mut past = Past::new(GROUP, self.rules.clone());
        for (seq, call, noted) in self.noted.iter().filter(|(seq, ..)| *seq >= oldest) {
            past.apply(*seq, Partition::of_text(call), call, noted.clone());
        }
        self.lane = past.into_lane(self.calls.len() as u64, None).0;
    }

    fn delivered(&self) -> Vec<u64> {
        let by_id: HashMap<_, _> = self.calls.iter().map(|(delivery, _)| (&delivery.id, delivery.seq)).collect();
        let delivered = |noted: &DeliveryNoted| {
            if let DeliveryNoted::Delivered { delivery, .. } = noted { Some(by_id[delivery]) } else { None }
        };
        self.noted.iter().filter_map(|(_, _, noted)| delivered(noted)).collect()
    }

    fn dead(&self) -> usize {
        self.noted.iter().filter(|(_, _, noted)| matches!(noted, DeliveryNoted::Dead { .. })).count()
    }
}

fn taken() -> Answer {
    Answer::Taken { status: 200, took: Duration::from_millis(1), wrote: None }
}

fn refused(status: u16) -> Answer {
    Answer::Refused { status: Some(status), cause: String::new(), retry_after: None }
}

#[test]
fn what_can_be_sent_is_sent_at_once_and_once() {
    let mut world = World::new(&RetryPlan::Lasting, |_, _| taken());
    for call in 0..100 {
        world.event(&format!("call-{}", call % 10));
        world.step();
    }
    (1..=100).for_each(|seq| world.offer(seq));
    world.play(1);
    assert_eq!(world.delivered(), (1..=100).collect::<Vec<_>>());
    assert_eq!(world.attempts.len(), 100);
}

#[test]
fn a_limit_holds_everything_and_uses_nothing_up() {
    let midnight = start_of_time() + SignedDuration::from_hours(14);
    let limited = |now: Timestamp| {
        let pause = Duration::try_from(midnight.duration_since(now)).expect("before midnight");
        Answer::Limited { status: 429, cause: String::new(), pause }
    };
    let minute = start_of_time() + SignedDuration::from_secs(200);
    for down_until in [start_of_time(), minute] {
        let mut world = World::new(&RetryPlan::Lasting, |now, _: &Start| match now {
            now if now < down_until => refused(500),
            now if now < midnight => limited(now),
            _ => taken(),
        });
        for call in 0..50 {
            world.event(&format!("call-{call}"));
        }
        world.play(3600 * 13);
        let at_limit = world.attempts.iter().filter(|(at, ..)| *at >= down_until).count();
        assert!((1..=4).contains(&at_limit), "only what was on its way runs into it: {at_limit}");
        assert_eq!((world.delivered().len(), world.dead()), (0, 0));
        world.play(3600 * 2);
        assert_eq!((world.delivered().len(), world.dead()), (50, 0));
    }
}

#[test]
fn within_a_call_nothing_overtakes_and_others_go_on() {
    let mut world = World::new(&RetryPlan::Lasting, |_, start: &Start| {
        if start.delivery.seq == 1 && start.attempt < 4 { refused(500) } else { taken() }
    });
    for call in ["a", "a", "b", "b", "a"] {
        world.event(call);
    }
    world.play(1);
    assert_eq!(world.delivered(), [3, 4]);
    world.play(3600);
    assert_eq!(world.delivered(), [3, 4, 1, 2, 5]);
    assert_eq!(world.attempts.iter().filter(|(_, seq, _)| *seq == 1).count(), 4);
}

#[test]
fn down_for_three_days_parks_everything_and_loses_nothing() {
    let up_at = start_of_time() + SignedDuration::from_hours(72);
    let mut world = World::new(&RetryPlan::Lasting, |now, _: &Start| if now < up_at { refused(503) } else { taken() });
    for hour in 0..72 {
        for call in 0..100 {
            world.event(&format!("call-{hour}-{}", call / 2));
            world.play(36);
        }
        if hour % 10 == 9 {
            world.take_over();
        }
    }
    let tried = world.attempts.len();
    assert!(tried < 1000, "while it is down it is hardly asked: {tried} attempts");
    assert_eq!((world.delivered().len(), world.dead()), (0, 0));
    world.play(600);
    assert_eq!(world.dead(), 0);
    let delivered = world.delivered();
    let mut sorted = delivered.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(1..=7200), "each once, {} in all", sorted.len());
    for call in delivered.iter().filter(|seq| *seq % 2 == 1) {
        let place = |seq: u64| delivered.iter().position(|other| *other == seq);
        assert!(place(*call) < place(call + 1), "within a call in order");
    }
    assert!(world.lane.standing(GROUP).behind_from.is_none() && world.lane.standing(GROUP).open == 0);
}

#[test]
fn one_that_is_never_taken_is_given_up_after_75_hours() {
    let mut world = World::new(
        &RetryPlan::Lasting,
        |_, start: &Start| if start.delivery.seq == 1 { refused(400) } else { taken() },
    );
    world.event("bad");
    world.event("bad");
    for hour in 0..76 {
        world.event(&format!("good-{hour}"));
        world.play(3600);
        let dead = world.dead() == 1;
        assert_eq!(dead, hour >= 74, "after {} hours", hour + 1);
    }
    assert_eq!(world.attempts.iter().filter(|(_, seq, _)| *seq == 1).count(), 16);
    assert!(world.delivered().contains(&2), "the next of its call goes after it");
    // An operator asks for it.
    let (delivery, call) = world.calls[0].clone();
    assert_eq!(world.lane.retry(delivery.clone(), &call, 16), Wanted::Queue);
    assert_eq!(world.lane.retry(delivery.clone(), &call, 16), Wanted::Known);
    let seq = world.note(&call, DeliveryNoted::Retried { delivery: delivery.clone(), attempts: 16 });
    world.lane.noted(&delivery.id, seq, world.now);
    world.step();
    assert_eq!(world.attempts.last().map(|(_, seq, attempt)| (*seq, *attempt)), Some((1, 17)));
}

#[test]
fn it_breaks_after_ten_failures_and_a_minute_and_probes() {
    let mut world = World::new(&RetryPlan::Table(vec![10; 32]), |_, _: &Start| refused(500));
    (0..4).for_each(|call| world.event(&call.to_string()));
    world.play(59);
    assert!(!world.lane.standing(GROUP).broken && world.attempts.len() as u32 > BREAK_ATTEMPTS);
    world.play(61);
    assert!(world.lane.standing(GROUP).broken);
    let before = world.attempts.len();
    world.play(3600);
    let probes = world.attempts.len() - before;
    assert!((10..=15).contains(&probes), "{probes} probes in an hour");
    let probed: Vec<u64> = world.attempts[before..].iter().map(|(_, seq, _)| *seq).collect();
    assert_eq!(probed[..6], [2, 3, 4, 1, 2, 3], "each in its turn");
    assert_eq!(world.dead(), 0, "probes use up nothing");
}

#[test]
fn one_that_is_never_taken_does_not_keep_the_others_back() {
    let down_until = start_of_time() + SignedDuration::from_mins(10);
    let mut world = World::new(&RetryPlan::Lasting, |now, start: &Start| {
        if now < down_until || start.delivery.seq == 1 { refused(400) } else { taken() }
    });
    (0..20).for_each(|call| world.event(&call.to_string()));
    world.play(1800);
    assert_eq!(world.delivered().len(), 19);
    assert!(!world.lane.standing(GROUP).broken);
}

#[test]
fn who_is_gone_is_left_alone_until_resumed() {
    let mut world =
        World::new(&RetryPlan::Lasting, |_, start: &Start| if start.attempt == 1 { refused(410) } else { taken() });
    world.event("a");
    world.event("b");
    world.play(1);
    world.play(86_400);
    world.take_over();
    world.play(86_400);
    assert_eq!(world.attempts.len(), 2, "both were on their way");
    assert!(world.lane.mend(world.now));
    world.play(1);
    assert_eq!(world.delivered().first(), Some(&1));
}

#[test]
fn who_asks_for_patience_gets_it() {
    let patience = |secs| Answer::Refused {
        status: Some(429),
        cause: String::new(),
        retry_after: Some(Duration::from_secs(secs)),
    };
    let mut world = World::new(&RetryPlan::Lasting, |now, _: &Start| {
        if now < start_of_time() + SignedDuration::from_secs(1) { patience(120) } else { taken() }
    });
    world.event("a");
    world.step();
    (0..10).for_each(|call| world.event(&call.to_string()));
    world.play(119);
    assert_eq!(world.attempts.len(), 1);
    world.play(2);
    assert_eq!(world.delivered().len(), 11);
}

#[test]
fn a_rate_is_kept() {
    let mut world = World::new(&RetryPlan::Lasting, |_, _: &Start| taken());
    world.rules.rate_per_sec = Some(10);
    world.lane.set(world.rules.clone());
    (0..100).for_each(|call| world.event(&call.to_string()));
    world.play(5);
    let sent = world.attempts.len();
    assert!((50..=53).contains(&sent), "{sent} in five seconds");
}

#[test]
fn what_is_live_is_not_sent_late() {
    let up_at = start_of_time() + SignedDuration::from_mins(30);
    let mut world = World::new(&RetryPlan::Live, |now, _: &Start| if now < up_at { refused(503) } else { taken() });
    for _ in 0..35 {
        let call = world.calls.len().to_string();
        world.event(&call);
        world.play(60);
    }
    world.play(600);
    assert_eq!(world.lane.standing(GROUP).open, 0);
    for (at, seq, _) in &world.attempts {
        let event = world.calls[*seq as usize - 1].0.at;
        assert!(at.duration_since(event) <= SignedDuration::from_mins(10), "{seq} is sent at {at}");
    }
    assert!(world.dead() > 10 && world.delivered().len() >= 5);
}

#[test]
fn what_is_told_while_a_call_goes_on_is_given_up_soon() {
    let mut world = World::new(
        &RetryPlan::Lasting,
        |_, start: &Start| {
            if start.delivery.seq == 2 { taken() } else { refused(500) }
        },
    );
    world.told("a", Moment::CallAnswer);
    world.told("a", Moment::CallEnd);
    world.play(240);
    assert_eq!((world.dead(), world.delivered()), (0, vec![]));
    world.play(120);
    assert_eq!((world.dead(), world.delivered()), (1, vec![2]), "its end waits for it, and is told");
    world.told("b", Moment::CallEnd);
    world.play(3600);
    assert_eq!(world.dead(), 1, "an end is worth trying");
    // However old it is, an operator may want it, also when another takes over.
    let (delivery, call) = world.calls[0].clone();
    assert_eq!(world.lane.retry(delivery.clone(), &call, 8), Wanted::Queue);
    let seq = world.note(&call, DeliveryNoted::Retried { delivery: delivery.clone(), attempts: 8 });
    world.lane.noted(&delivery.id, seq, world.now);
    world.take_over();
    world.play(1);
    assert_eq!(world.attempts.last().map(|(_, seq, attempt)| (*seq, *attempt)), Some((1, 9)));
}

#[test]
fn a_pause_parks_and_a_resume_drains_in_order() {
    let mut world = World::new(&RetryPlan::Lasting, |_, _: &Start| taken());
    world.rules.paused = true;
    world.lane.set(world.rules.clone());
    (0..3 * OPEN_MAX).for_each(|call| world.event(&(call % 7).to_string()));
    world.play(86_400 * 7);
    assert_eq!((world.attempts.len(), world.lane.standing(GROUP).open), (0, OPEN_MAX));
    world.take_over();
    assert_eq!(world.lane.standing(GROUP).open, OPEN_MAX);
    world.rules.paused = false;
    world.lane.set(world.rules.clone());
    world.play(1);
    let mut by_call: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    world.delivered().into_iter().for_each(|seq| by_call.entry(seq % 7).or_default().push(seq));
    assert!(by_call.values().all(|line| line.is_sorted()));
    assert_eq!(world.delivered().len(), 3 * OPEN_MAX);
}

#[test]
fn a_checkpoint_moves_while_attempts_are_being_written_down() {
    let mut world = World::new(&RetryPlan::Lasting, |_, _: &Start| taken());
    (0..100).for_each(|call| {
        world.event(&call.to_string());
        world.step();
    });
    assert_eq!(world.lane.oldest_needed(100), Some(201), "nothing is open");
    // Offered, and not written down yet: whatever others write meanwhile lies behind it.
    let (delivery, call) = world.calls[0].clone();
    let delivery = Delivery { id: EventId::of(&["new"]), seq: 101, ..delivery };
    assert!(matches!(world.lane.offer(delivery, &call, world.now), Offered::Start(_)));
    world.lane.saw(250);
    assert_eq!(world.lane.oldest_needed(100), Some(201));
}

#[derive(Debug, Clone)]
enum Happens {
    Event(u8),
    Again(usize),
    Pass(u16),
    Pause(bool),
    TakeOver,
}

fn any_happening() -> impl Strategy<Value = Happens> {
    prop_oneof![
        8 => (0u8..20).prop_map(Happens::Event),
        2 => any::<usize>().prop_map(Happens::Again),
        4 => (0u16..600).prop_map(Happens::Pass),
        1 => any::<bool>().prop_map(Happens::Pause),
        1 => Just(Happens::TakeOver),
    ]
}

proptest! {
    /// Whatever the destination says, whoever takes over: everything is delivered or dead in the end, each call in its
    /// order, and nothing twice but for what was on its way.
    #[test]
    fn nothing_is_lost(happenings in prop::collection::vec(any_happening(), 1..200), answers in prop::collection::vec(0u8..10, 1..50)) {
        let mut count = 0;
        let mut world = World::new(&RetryPlan::Table(vec![1, 5, 60]), move |now: Timestamp, _: &Start| {
            count += 1;
            let calm = now > start_of_time() + SignedDuration::from_hours(48);
            match answers[count % answers.len()] {
                _ if calm => taken(),
                0..=5 => taken(),
                6 => refused(410),
                7 => refused(429),
                _ => refused(500),
            }
        });
        let mut done = 0;
        for happens in happenings {
            match happens {
                Happens::Event(call) => world.event(&call.to_string()),
                // What was done when another took over does not come again.
                Happens::Again(which) if world.calls.len() > done => {
                    world.offer((done + which % (world.calls.len() - done)) as u64 + 1);
                }
                Happens::Again(_) => {}
                Happens::Pass(secs) => world.play(secs.into()),
                Happens::Pause(paused) => {
                    world.rules.paused = paused;
                    world.lane.set(world.rules.clone());
                }
                Happens::TakeOver => {
                    world.take_over();
                    done = world.calls.len();
                }
            }
        }
        world.now = start_of_time() + SignedDuration::from_hours(72);
        world.rules.paused = false;
        world.lane.set(world.rules.clone());
        world.lane.mend(world.now);
        world.play(3600);
        prop_assert_eq!(world.lane.standing(GROUP).open, 0);
        let delivered = world.delivered();
        prop_assert_eq!(delivered.len() + world.dead(), world.calls.len(), "each is delivered or dead, once");
        let mut last: HashMap<&str, u64> = HashMap::new();
        for seq in delivered {
            let call = world.calls[seq as usize - 1].1.as_str();
            let before = last.insert(call, seq);
            prop_assert!(before.is_none_or(|before| before < seq), "{call}: {seq} after {before:?}");
        }
    }
}

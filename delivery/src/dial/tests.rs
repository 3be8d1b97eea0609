//! A placed call, played with a platform that answers or not, whose callbacks come late, twice and in any order, and with
//! processes that die between any two steps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::{LegBill, Order, PhoneNumber, Placed, Redial, Target};

use super::*;

fn start() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().expect("time")
}

fn after(secs: i64) -> Timestamp {
    start() + SignedDuration::from_secs(secs)
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).expect("a number")
}

fn placed(order: Order, times: u8) -> Placed {
    Placed {
        call: CallId::new("placed-1").expect("an id"),
        app: "acme".parse().expect("a name"),
        wallet: "acme".parse().expect("a wallet"),
        order,
        cli: number("+46850000001"),
        ring_secs: 30,
        max_secs: 600,
        redial: Redial { times, pause_secs: 10 },
        at: None,
        custom: String::new(),
        tell: BTreeMap::new(),
        by: "test".to_owned(),
    }
}

fn outbound() -> Order {
    Order::Outbound { to: number("+46701234567"), target: Target::Say("Hello".to_owned()) }
}

fn click_to_call() -> Order {
    Order::ClickToCall { from: number("+46701234567"), to: number("+46702345678") }
}

fn dial(order: Order, times: u8) -> Dial {
    Dial::new(1, placed(order, times), start())
}

fn call(text: &str) -> CallId {
    CallId::new(text).expect("an id")
}

fn dialling(side: Side, attempt: u8) -> Step {
    let of = proto::LegOf { call: call("placed-1"), side, attempt };
    let leg = Leg::of_placed(&"acme".parse().expect("a name"), &of);
    Step::Dialling { side, attempt, begins: attempt == 1, placed_seq: 1, leg, hold: None }
}

fn dialled(side: Side, attempt: u8, platform: &str) -> Step {
    Step::Dialled { side, attempt, platform_call: call(platform) }
}

fn answered(side: Side, attempt: u8, platform: &str, secs: i64) -> Step {
    Step::Answered { side, attempt, platform_call: call(platform), at: after(secs) }
}

fn ended(side: Side, attempt: u8, platform: &str, secs: i64, answered: bool) -> Step {
    Step::Ended { side, attempt, platform_call: call(platform), at: after(secs), answered }
}

fn settled(side: Side, attempt: u8, platform: &str) -> Step {
    Step::Settled { side, attempt, platform_call: call(platform), bill: LegBill::default() }
}

/// What is due at that second.
fn due(dial: &Dial, secs: i64) -> Vec<Do> {
    dial.next(after(secs)).now
}

fn told(dial: &mut Dial, secs: i64, steps: impl IntoIterator<Item = Step>) {
    steps.into_iter().for_each(|step| dial.apply(after(secs), &step));
}

#[test]
fn an_outbound_call_is_dialled_once_and_over_when_it_is_settled() {
    let mut dial = dial(outbound(), 0);
    assert_eq!(due(&dial, 0), [Do::Dial(Side::To, 1)]);
    told(&mut dial, 0, [dialling(Side::To, 1)]);
    assert_eq!(due(&dial, 1), []);
    let start = dial.progressed(after(1), dialled(Side::To, 1, "p1"));
    assert_eq!((start.moment, start.facts.status.as_str()), (Some(Moment::CallStart), "ringing"));
    told(&mut dial, 1, [dialled(Side::To, 1, "p1"), answered(Side::To, 1, "p1", 3)]);
    told(&mut dial, 9, [ended(Side::To, 1, "p1", 9, true)]);
    assert_eq!(due(&dial, 9), [], "its CDR is waited for");
    told(&mut dial, 9, [settled(Side::To, 1, "p1")]);
    assert_eq!(due(&dial, 9), [Do::Finish]);
    assert_eq!(dial.progressed(after(9), Step::Over).moment, Some(Moment::CallEnd));
    told(&mut dial, 9, [Step::Over]);
    assert_eq!(dial.next(after(10)), Next::default());
}

#[test]
fn nobody_is_dialled_again_on_a_guess() {
    let mut dial = dial(outbound(), 1);
    told(&mut dial, 0, [dialling(Side::To, 1)]);
    assert_eq!(due(&dial, 89), []);
    assert_eq!(due(&dial, 90), [Do::GiveUp(Side::To, 1)], "it may ring for 30 s, and its callback be 60 s late");
    // A callback says that it was dialled after all.
    let mut lives = dial.clone();
    told(&mut lives, 60, [answered(Side::To, 1, "p1", 60)]);
    assert_eq!(due(&lives, 200), [Do::Adopt(Side::To, 1, call("p1"))]);
    let cause = NOT_KNOWN.to_owned();
    told(&mut dial, 90, [Step::NotDialled { side: Side::To, attempt: 1, cause, may_be_redialled: true }]);
    assert_eq!(due(&dial, 99), []);
    assert_eq!(due(&dial, 100), [Do::Dial(Side::To, 2)], "after the pause");
}

#[test]
fn a_call_nobody_answers_is_hung_up_and_dialled_again_as_often_as_was_ordered() {
    let mut dial = dial(outbound(), 1);
    told(&mut dial, 0, [dialling(Side::To, 1), dialled(Side::To, 1, "p1")]);
    assert_eq!(due(&dial, 30), [Do::HangUp(call("p1"))]);
    told(&mut dial, 31, [ended(Side::To, 1, "p1", 31, false)]);
    assert_eq!(due(&dial, 41), [Do::Dial(Side::To, 2)], "its CDR is not waited for");
    told(&mut dial, 41, [dialling(Side::To, 2)]);
    let again = dial.progressed(after(42), dialled(Side::To, 2, "p2"));
    assert_eq!(again.moment, None, "it began once");
    told(&mut dial, 42, [dialled(Side::To, 2, "p2"), ended(Side::To, 2, "p2", 50, false), settled(Side::To, 2, "p2")]);
    assert_eq!(due(&dial, 500), [], "the first is not settled");
    told(&mut dial, 500, [settled(Side::To, 1, "p1")]);
    assert_eq!(due(&dial, 500), [Do::Finish]);
}

#[test]
fn of_two_who_are_joined_either_ends_it_for_both() {
    let mut both = dial(click_to_call(), 0);
    told(&mut both, 0, [dialling(Side::From, 1), dialled(Side::From, 1, "p1")]);
    assert_eq!(due(&both, 5), [], "the second is not called before the first answers");
    told(&mut both, 5, [answered(Side::From, 1, "p1", 5)]);
    assert_eq!(due(&both, 5), [Do::Dial(Side::To, 1)]);
    told(&mut both, 5, [dialling(Side::To, 1), dialled(Side::To, 1, "p2")]);
    let mut first_leaves = both.clone();
    told(&mut first_leaves, 8, [ended(Side::From, 1, "p1", 8, true)]);
    assert_eq!(due(&first_leaves, 8), [Do::HangUp(call("p2"))], "while it rings");
    told(&mut both, 9, [answered(Side::To, 1, "p2", 9)]);
    assert_eq!(both.next(after(9)), Next::default());
    told(&mut both, 20, [ended(Side::To, 1, "p2", 20, true), settled(Side::To, 1, "p2")]);
    assert_eq!(due(&both, 20), [Do::HangUp(call("p1"))]);
    told(&mut both, 21, [ended(Side::From, 1, "p1", 21, true), settled(Side::From, 1, "p1")]);
    assert_eq!(due(&both, 21), [Do::Finish]);
}

#[test]
fn a_strangers_call_with_our_mark_is_none_of_it() {
    let mut dial = dial(outbound(), 0);
    told(&mut dial, 0, [dialling(Side::To, 1), dialled(Side::To, 1, "p1")]);
    told(&mut dial, 1, [answered(Side::To, 1, "other", 1), ended(Side::To, 1, "other", 2, true)]);
    assert_eq!(dial.find(Side::To, 1).map(DialLeg::state), Some(LegState::Ringing));
}

#[test]
fn what_is_hung_up_before_its_time_never_rings() {
    let mut order = placed(outbound(), 3);
    order.at = Some(after(100));
    let mut dial = Dial::new(1, order, start());
    assert_eq!(dial.next(start()), Next { now: Vec::new(), look_at: Some(after(100)) });
    told(&mut dial, 50, [Step::HangupAsked { by: "api".to_owned() }]);
    assert_eq!(due(&dial, 50), [Do::Finish]);
}

/// What becomes of a callout.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Taken,
    /// The platform has it and nobody here knows.
    TakenUnsaid,
    /// The process died before it was sent.
    NotSent,
    Refused,
}

#[derive(Debug, Clone)]
enum Chance {
    /// Does the nth of what is due.
    Act(usize, Fate),
    /// The nth callback or CDR on its way comes in; and once more, later.
    Hear(usize, bool),
    Wait(i64),
    HangUp,
}

fn chance() -> impl Strategy<Value = Chance> {
    let fate = prop_oneof![
        4 => Just(Fate::Taken),
        1 => Just(Fate::TakenUnsaid),
        1 => Just(Fate::NotSent),
        1 => Just(Fate::Refused),
    ];
    prop_oneof![
        6 => (any::<usize>(), fate).prop_map(|(nth, fate)| Chance::Act(nth, fate)),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(nth, again)| Chance::Hear(nth, again)),
        3 => (1..40_i64).prop_map(Chance::Wait),
        1 => Just(Chance::HangUp),
    ]
}

/// The call, the platform, and what is on its way between them.
struct World {
    dial: Dial,
    secs: i64,
    coming: Vec<Step>,
    callouts: BTreeMap<(Side, u8), u32>,
    ends: u32,
}

impl World {
    fn note(&mut self, step: Step) {
        let progressed = self.dial.progressed(after(self.secs), step);
        self.ends += u32::from(progressed.moment == Some(Moment::CallEnd));
        self.dial.apply(after(self.secs), &progressed.step);
    }

    fn act(&mut self, what: Do, fate: Fate) {
        match what {
            Do::Dial(side, attempt) => {
                let up =
                    |leg: &DialLeg| matches!(leg.state(), LegState::Dialling | LegState::Ringing | LegState::Answered);
                assert!(!self.dial.legs.iter().any(|leg| leg.side == side && up(leg)), "one at a time");
                assert!(attempt <= self.dial.placed.redial.times + 1);
                self.note(dialling(side, attempt));
                let platform = format!("p-{}-{attempt}", side.as_str());
                if matches!(fate, Fate::Taken | Fate::TakenUnsaid) {
                    *self.callouts.entry((side, attempt)).or_default() += 1;
                    let at = self.secs;
                    let picks_up = at % 3 != 0;
                    if picks_up {
                        self.coming.push(answered(side, attempt, &platform, at + 2));
                    }
                    self.coming.push(ended(side, attempt, &platform, at + 20, picks_up));
                    self.coming.push(settled(side, attempt, &platform));
                }
                match fate {
                    Fate::Taken => self.note(dialled(side, attempt, &platform)),
                    Fate::Refused => {
                        let cause = "refused".to_owned();
                        self.note(Step::NotDialled { side, attempt, cause, may_be_redialled: false });
                    }
                    Fate::TakenUnsaid | Fate::NotSent => {}
                }
            }
            Do::Adopt(side, attempt, platform_call) => self.note(Step::Dialled { side, attempt, platform_call }),
            // The end is on its way in any case.
            Do::HangUp(_) => {}
            Do::GiveUp(side, attempt) => {
                let cause = NOT_KNOWN.to_owned();
                self.note(Step::NotDialled { side, attempt, cause, may_be_redialled: true });
            }
            Do::Finish => self.note(Step::Over),
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_nobody_is_called_twice_at_once_and_it_ends_once(
        chances in prop::collection::vec(chance(), 0..60),
        both in any::<bool>(),
        times in 0..3_u8,
    ) {
        let order = if both { click_to_call() } else { outbound() };
        let mut world =
            World { dial: dial(order, times), secs: 0, coming: Vec::new(), callouts: BTreeMap::new(), ends: 0 };
        for chance in chances {
            match chance {
                Chance::Act(nth, fate) => {
                    let mut due = due(&world.dial, world.secs);
                    if !due.is_empty() {
                        world.act(due.remove(nth % due.len()), fate);
                    }
                }
                Chance::Hear(nth, again) => {
                    if !world.coming.is_empty() {
                        let nth = nth % world.coming.len();
                        let step = if again { world.coming[nth].clone() } else { world.coming.remove(nth) };
                        world.dial.apply(after(world.secs), &step);
                    }
                }
                Chance::Wait(secs) => world.secs += secs,
                Chance::HangUp => world.note(Step::HangupAsked { by: "test".to_owned() }),
            }
        }
        // Then all goes well.
        for _ in 0..200 {
            if world.dial.is_over() {
                break;
            }
            for step in std::mem::take(&mut world.coming) {
                world.dial.apply(after(world.secs), &step);
            }
            match due(&world.dial, world.secs).into_iter().next() {
                Some(what) => world.act(what, Fate::Taken),
                None => world.secs += 10,
            }
        }
        prop_assert!(world.dial.is_over(), "{:?}", world.dial);
        prop_assert_eq!(world.ends, 1);
        prop_assert!(world.callouts.values().all(|callouts| *callouts == 1));
        prop_assert_eq!(world.dial.next(after(world.secs + 10_000)), Next::default());
    }
}

//! Calls that we place: ordered over the API, held for, dialled, answered, settled, and told of once. Each story runs in
//! one process on embedded parts, and on NATS and Redis with each role a process.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use proto::{
    AppName, CallFacts, CallId, Dialled, Event, EventId, Filter, Kind, Leg, LegOf, Moment, Partition, Progressed,
    Settled, Side, Step, Subject,
};
use serde_json::{Map, Value, json};
use simulator::{Callee, CalleeScript, CalloutReply, Input, Platform};
use tests::crm::{Fake, Hubspot};
use tests::ear::Ear;
use tests::eventually;
use tests::tryton::Tryton;
use tests::world::{POLICY, WALLET, World, now};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls::script;
use crate::delivery::crm;

pub(crate) const TO: &str = "+46701234567";
pub(crate) const OTHER: &str = "+46702345678";
pub(crate) const CLI: &str = "+46850000001";
/// How long a second of the platform's calls takes.
const SECOND: Duration = Duration::from_millis(50);

/// Tells each story twice: embedded, and on servers.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() -> anyhow::Result<()> {
                super::$story(super::Office::embedded().await?).await
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() -> anyhow::Result<()> {
                super::$story(super::Office::nats().await?).await
            })*
        }
    };
}

pub(crate) use stories;

stories![
    words_are_said_to_whoever_answers,
    a_number_nobody_answers_is_dialled_again_and_costs_nothing,
    without_a_price_nobody_is_called,
    credit_caps_the_call,
    two_are_joined_and_either_ends_it,
    the_first_leaves_before_the_second_answers,
    whoever_answers_is_connected_to_another,
    who_answers_is_asked_about_at_the_policy,
    who_answers_is_led_into_a_menu,
    a_call_is_hung_up,
    the_same_key_is_the_same_call,
    a_callout_whose_answer_is_lost_is_not_sent_again,
    ten_that_a_call_names_are_told_in_order_while_who_tells_is_killed,
    whom_to_tell_is_checked_before_anybody_is_called,
];

/// An installation that calls, and the platform it calls by.
pub(crate) struct Office {
    pub(crate) world: World,
    platform: Platform,
    _serving: JoinSet<()>,
}

impl Office {
    pub(crate) async fn embedded() -> Result<Self> {
        let (listener, settings) = listen().await?;
        Self::open(World::embedded_with(&policy(), &settings).await?, listener).await
    }

    pub(crate) async fn nats() -> Result<Self> {
        let (listener, settings) = listen().await?;
        let mut world = World::nats_with(&policy(), &settings).await?;
        world.start("delivery-1")?;
        Self::open(world, listener).await
    }

    async fn open(world: World, listener: TcpListener) -> Result<Self> {
        let platform = world.platform(7)?;
        platform.pace(SECOND);
        let (serving, mut tasks) = (platform.clone(), JoinSet::new());
        tasks.spawn(async move { drop(serving.serve(listener).await) });
        world.top_up(WALLET, "100").await?;
        Ok(Self { world, platform, _serving: tasks })
    }

    pub(crate) fn callee(&self, number: &str, callee: Callee, talks_secs: u32) {
        self.platform.callee(number, CalleeScript { callee, talks_secs, ..CalleeScript::default() });
    }

    /// What a command prints.
    fn says(&self, arguments: &[&str]) -> Result<String> {
        let done = self.world.callbus(arguments)?;
        ensure!(done.status.success(), "callbus {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Orders a call, which is taken.
    async fn order(&self, path: &str, body: Value) -> Result<CallId> {
        let (status, reply) = self.world.order(path, None, &body).await?;
        ensure!(status == 202, "{status} {reply}");
        Ok(CallId::new(reply["call"].as_str().context("an id")?)?)
    }

    pub(crate) async fn say(&self, more: Value) -> Result<CallId> {
        let mut body = json!({ "to": TO, "from": CLI, "target": { "say": "Your parcel has arrived." } });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.order("/v1/calls/outbound", body).await
    }

    async fn join(&self) -> Result<CallId> {
        self.order("/v1/calls/click-to-call", json!({ "from": TO, "to": OTHER, "bridge": CLI })).await
    }

    async fn steps(&self, call: &CallId) -> Result<Vec<Progressed>> {
        let events = self.world.events(call).await?;
        let progressed = events.iter().filter(|event| event.subject.kind() == Some(Kind::Progressed));
        progressed.map(|event: &Event| Ok(serde_json::from_slice(&event.data)?)).collect()
    }

    /// All that happened, once it is over.
    pub(crate) async fn over(&self, call: &CallId) -> Result<Vec<Progressed>> {
        eventually("the call is over", async || {
            let steps = self.steps(call).await?;
            Ok(steps.iter().any(|step| matches!(step.step, Step::Over)).then_some(steps))
        })
        .await
    }

    /// How it stands, for who asks.
    async fn standing(&self, call: &CallId) -> Result<Value> {
        Ok(self.world.get(&format!("/v1/calls/{call}?reveal=1")).await?["placed"].clone())
    }

    async fn until(&self, call: &CallId, state: &str) -> Result<()> {
        eventually(state, async || Ok((self.standing(call).await?["state"] == state).then_some(()))).await
    }

    /// What is left, and what is held.
    async fn money(&self) -> Result<(String, String)> {
        self.world.billing_caught_up().await?;
        let facts = self.world.wallet(WALLET).await?.facts();
        Ok((facts.posted.to_string(), facts.held.to_string()))
    }
}

/// What the stories' policy is, and whoever answers a call that asks it hears what was ordered.
fn policy() -> String {
    POLICY.replace(
        "  - { name: default, reply: { continue: true } }",
        "  - { name: parcel, when: \"has(call.custom) && call.custom == 'parcel'\", reply: { say: \"A parcel.\", hangup: true } }\n  \
         - { name: default, reply: { continue: true } }",
    ) + r#"
menus:
  main: { prompt: "Press 1 to confirm.", keys: { "1": confirmed } }
pie:
  - { name: confirmed, when: menu.value == 'confirmed', reply: { say: "Thank you.", hangup: true } }
  - { name: default, reply: { hangup: true } }
"#
}

async fn listen() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, format!("[platform]\nurl = \"{url}\"\n[outbound]\nallow = [\"127.0.0.0/8\"]\n")))
}

fn moments(steps: &[Progressed]) -> Vec<Moment> {
    steps.iter().filter_map(|step| step.moment).collect()
}

/// Those of the platform's calls that are legs of it, with their CDRs.
async fn bills(office: &Office, steps: &[Progressed]) -> Result<Vec<(Side, Settled)>> {
    let mut bills = Vec::new();
    for step in steps {
        if let Step::Dialled { side, platform_call, .. } = &step.step {
            bills.push((*side, office.world.cdr(platform_call).await?));
        }
    }
    Ok(bills)
}

async fn words_are_said_to_whoever_answers(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 10 }, 60);
    let call = office.say(json!({ "custom": "order 17" })).await?;
    let steps = office.over(&call).await?;
    assert_eq!(moments(&steps), [Moment::CallStart, Moment::CallAnswer, Moment::CallEnd]);
    let [(side, cdr)] = &bills(&office, &steps).await?[..] else { anyhow::bail!("one leg: {steps:?}") };
    assert_eq!((*side, cdr.unmatched, cdr.placed.as_ref().map(|of| &of.call)), (Side::To, false, Some(&call)));
    // 24 characters at 60 ms, and a second begun is a second: 2 s at 0.02.
    assert_eq!((cdr.duration_secs, cdr.legs[0].cost.to_string()), (2, "0.04".to_owned()));
    let end = &steps.last().context("an end")?.facts;
    assert_eq!((end.caller.as_str(), end.callee.as_str(), end.custom.as_str()), (CLI, TO, "order 17"));
    assert_eq!((end.cost.map(|cost| cost.to_string()), end.currency.as_deref()), (Some("0.04".into()), Some("EUR")));
    assert_eq!((end.duration_secs, end.reason.as_deref()), (Some(2), Some("MANAGERHANGUP")));
    assert!(end.started_at < end.answered_at && end.answered_at < end.ended_at, "{end:?}");
    let standing = office.standing(&call).await?;
    assert_eq!((&standing["state"], &standing["cost"]), (&json!("ended"), &json!("0.04")), "{standing}");
    let shown = office.says(&["call", "show", call.as_str()])?;
    assert!(
        shown.contains("order 17")
            && shown.contains("ended")
            && shown.contains("0.04 EUR")
            && shown.contains("MANAGERHANGUP"),
        "{shown}"
    );
    assert_eq!(office.money().await?, ("99.96".into(), "0".into()));
    // What was held stood in the log before the platform was asked, and was handed to billing.
    let platform_call = office.platform.placed()[0].call.clone();
    let events = office.world.events(&platform_call).await?;
    let dialled = events.iter().find(|event| matches!(event.subject, Subject::Call { kind: Kind::Dialled, .. }));
    let dialled: Dialled = serde_json::from_slice(&dialled.context("dialled")?.data)?;
    let hold: money::Hold = serde_json::from_str(dialled.hold.context("a hold")?.get())?;
    assert_eq!((hold.call, hold.amount.to_string().as_str()), (platform_call.clone(), "72"));
    // Its leg is found among those that came in.
    office.world.platform(8)?.call(script(OTHER)).await;
    let listed = async |placed| office.world.get(&format!("/v1/calls?placed={placed}")).await;
    let others = eventually("both are in the tables", async || {
        let others = listed(false).await?["calls"].clone();
        Ok((others.as_array().map(Vec::len) == Some(1)).then_some(others))
    })
    .await?;
    assert_eq!(others[0].get("placed"), None, "{others}");
    let legs = listed(true).await?["calls"].clone();
    let [leg] = legs.as_array().map(Vec::as_slice).context("legs")? else { anyhow::bail!("one leg: {legs}") };
    assert_eq!((&leg["call"], &leg["placed"], &leg["wallet"]), (&json!(platform_call), &json!(call), &json!(WALLET)));
    let said = office.world.callbus(&["call", "ls", "--placed"])?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains(platform_call.as_str()) && said.lines().count() == 2, "{said}");
    Ok(())
}

async fn a_number_nobody_answers_is_dialled_again_and_costs_nothing(office: Office) -> Result<()> {
    office.callee(TO, Callee::Busy, 60);
    let call = office.say(json!({ "retry": { "times": 1, "interval": 5 } })).await?;
    let steps = office.over(&call).await?;
    assert_eq!(moments(&steps), [Moment::CallStart, Moment::CallEnd], "once each, whatever the tries");
    let bills = bills(&office, &steps).await?;
    assert!(bills.len() == 2 && bills.iter().all(|(_, cdr)| cdr.legs[0].cost.is_zero()), "{bills:?}");
    let end = &steps.last().context("an end")?.facts;
    assert_eq!((end.result.as_deref(), end.duration_secs, end.answered_at), (Some("BUSY"), None, None));
    assert_eq!(office.platform.placed().len(), 2);
    assert_eq!(office.money().await?, ("100".into(), "0".into()));
    Ok(())
}

async fn without_a_price_nobody_is_called(office: Office) -> Result<()> {
    // No price for it.
    let call = office.say(json!({ "to": "+9990001234" })).await?;
    let steps = office.over(&call).await?;
    assert_eq!(moments(&steps), [Moment::CallEnd], "never begun, and still one end");
    assert_eq!(steps.last().and_then(|step| step.facts.reason.as_deref()), Some("NO_RATE"));
    assert!(office.platform.placed().is_empty());
    assert_eq!(office.standing(&call).await?["legs"][0]["why"], "NO_RATE");
    let shown = office.says(&["call", "show", call.as_str(), "--reveal"])?;
    for expected in ["nobody was called: NO_RATE", "+9990001234 is called from", CLI, "“Your parcel has arrived.”"]
    {
        assert!(shown.contains(expected), "{expected} in:\n{shown}");
    }
    let why = office.says(&["call", "why", call.as_str()])?;
    assert!(why.contains("placed by api") && why.contains("is not called: NO_RATE; no price fits"), "{why}");
    assert!(!why.contains("+9990001234"), "numbers are masked:\n{why}");
    assert_eq!(office.money().await?, ("100".into(), "0".into()));
    Ok(())
}

async fn credit_caps_the_call(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 1 }, 14_000);
    office.callee(OTHER, Callee::Answers { after_secs: 1 }, 14_000);
    let body = json!({ "from": TO, "to": OTHER, "bridge": CLI, "max_duration": 4_000 });
    let call = office.order("/v1/calls/click-to-call", body).await?;
    eventually("both are called", async || Ok((office.platform.placed().len() == 2).then_some(()))).await?;
    // 100 EUR: 4,000 s for the first, 1,000 s for the second.
    let asked = |nth: usize| office.platform.placed()[nth].asked["conferenceCallout"]["maxDuration"].clone();
    assert_eq!((asked(0), asked(1)), (json!(4_000), json!(1_000)));
    office.until(&call, "answered").await?;
    // And nothing is left for a third.
    let broke = office.say(json!({})).await?;
    let steps = office.over(&broke).await?;
    assert_eq!(steps.last().and_then(|step| step.facts.reason.as_deref()), Some("NO_CREDIT"));
    assert_eq!(office.world.delete(&format!("/v1/calls/{call}")).await?.0, 202);
    office.over(&call).await?;
    assert_eq!(office.money().await?.1, "0");
    Ok(())
}

async fn two_are_joined_and_either_ends_it(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 10 }, 14_000);
    office.callee(OTHER, Callee::Answers { after_secs: 10 }, 30);
    let call = office.join().await?;
    let steps = office.over(&call).await?;
    assert_eq!(
        moments(&steps),
        [Moment::FromCallStart, Moment::FromCallAnswer, Moment::ToCallStart, Moment::ToCallAnswer, Moment::CallEnd]
    );
    let asked: Vec<_> = office.platform.placed().into_iter().map(|placed| (placed.to, placed.asked)).collect();
    let conference = |nth: usize| asked[nth].1["conferenceCallout"]["conferenceId"].clone();
    assert_eq!((asked[0].0.as_str(), asked[1].0.as_str(), asked.len()), (TO, OTHER, 2));
    assert_eq!((conference(0), conference(1)), (json!(call), json!(call)));
    let bills = bills(&office, &steps).await?;
    let to = bills.iter().find(|(side, _)| *side == Side::To).context("the second")?;
    assert_eq!((to.1.duration_secs, to.1.reason.as_deref()), (30, Some("CALLEEHANGUP")));
    let from = bills.iter().find(|(side, _)| *side == Side::From).context("the first")?;
    assert!(from.1.duration_secs >= 30 && from.1.reason.as_deref() == Some("MANAGERHANGUP"), "{from:?}");
    let end = &steps.last().context("an end")?.facts;
    let cost = from.1.legs[0].cost + to.1.legs[0].cost;
    assert_eq!((end.cost, end.duration_secs, end.reason.as_deref()), (Some(cost), Some(30), Some("CALLEEHANGUP")));
    assert_eq!((end.caller.as_str(), end.callee.as_str(), end.direction.as_str()), (TO, OTHER, "click_to_call"));
    assert_eq!(office.money().await?.1, "0");
    Ok(())
}

async fn the_first_leaves_before_the_second_answers(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 1 }, 40);
    office.callee(OTHER, Callee::NoAnswer, 30);
    let call = office.join().await?;
    let steps = office.over(&call).await?;
    let told = moments(&steps);
    assert_eq!(told.iter().filter(|moment| **moment == Moment::CallEnd).count(), 1);
    assert!(!told.contains(&Moment::ToCallAnswer), "{told:?}");
    let bills = bills(&office, &steps).await?;
    let to = bills.iter().find(|(side, _)| *side == Side::To).context("the second")?;
    assert_eq!((to.1.reason.as_deref(), to.1.legs[0].cost.is_zero()), (Some("MANAGERHANGUP"), true), "{to:?}");
    assert_eq!(office.money().await?, ("99.2".into(), "0".into()));
    Ok(())
}

async fn whoever_answers_is_connected_to_another(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 10 }, 14_000);
    office.callee(OTHER, Callee::Answers { after_secs: 10 }, 10);
    let call = office.say(json!({ "target": { "connect": OTHER } })).await?;
    let steps = office.over(&call).await?;
    assert_eq!(moments(&steps), [Moment::CallStart, Moment::CallAnswer, Moment::CallEnd]);
    assert_eq!(bills(&office, &steps).await?.len(), 2);
    assert_eq!(office.money().await?.1, "0");
    Ok(())
}

async fn who_answers_is_asked_about_at_the_policy(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 1 }, 600);
    let call = office.say(json!({ "target": "policy", "custom": "parcel" })).await?;
    let steps = office.over(&call).await?;
    let leg = office.platform.placed()[0].call.clone();
    let decided = office.world.decisions(&leg).await?;
    assert_eq!(decided[0].rule.as_deref(), Some("parcel"), "{decided:?}");
    assert_eq!(steps.last().and_then(|step| step.facts.duration_secs), Some(1));
    Ok(())
}

async fn who_answers_is_led_into_a_menu(office: Office) -> Result<()> {
    let inputs = vec![Input::Digits("1".to_owned())];
    let callee = Callee::Answers { after_secs: 1 };
    office.platform.callee(TO, CalleeScript { callee, talks_secs: 600, inputs, ..CalleeScript::default() });
    let call = office.say(json!({ "target": { "menu": "main" } })).await?;
    office.over(&call).await?;
    let leg = office.platform.placed()[0].call.clone();
    let rules: Vec<_> = office.world.decisions(&leg).await?.into_iter().filter_map(|decided| decided.rule).collect();
    assert_eq!(rules, ["ace", "confirmed"], "what is pressed is told, and the policy answers it");
    let wrong = json!({ "to": TO, "from": CLI, "target": { "menu": "mian" } });
    let (status, problem) = office.world.order("/v1/calls/outbound", None, &wrong).await?;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("main")), "{problem}");
    Ok(())
}

async fn a_call_is_hung_up(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 1 }, 14_000);
    office.callee(OTHER, Callee::Answers { after_secs: 1 }, 14_000);
    let call = office.join().await?;
    office.until(&call, "answered").await?;
    let path = format!("/v1/calls/{call}");
    assert_eq!(office.world.delete(&path).await?.0, 202);
    let steps = office.over(&call).await?;
    assert_eq!(steps.last().and_then(|step| step.facts.reason.as_deref()), Some("MANAGERHANGUP"));
    assert_eq!(office.world.delete(&path).await?.0, 409);
    assert_eq!(office.world.delete("/v1/calls/nobody").await?.0, 404);
    // One that is to begin tomorrow never does.
    let tomorrow = tests::world::now() + jiff::SignedDuration::from_hours(24);
    let later = office.say(json!({ "at": tomorrow })).await?;
    office.until(&later, "placed").await?;
    let hung_up = async || Ok((office.world.delete(&format!("/v1/calls/{later}")).await?.0 == 202).then_some(()));
    eventually("it is taken", hung_up).await?;
    let steps = office.over(&later).await?;
    assert_eq!(moments(&steps), [Moment::CallEnd]);
    assert_eq!(office.money().await?.1, "0");
    Ok(())
}

async fn the_same_key_is_the_same_call(office: Office) -> Result<()> {
    office.callee(TO, Callee::Answers { after_secs: 1 }, 60);
    let path = "/v1/calls/outbound";
    let body = json!({ "to": TO, "from": CLI, "target": { "say": "Hello." }, "timeout": 30 });
    let (status, first) = office.world.order(path, Some("key 1"), &body).await?;
    assert_eq!(status, 202, "{first}");
    // The same, as a form.
    let form = format!("to={TO}&from=%2B46850000001&timeout=30&target=%7B%22say%22%3A%22Hello.%22%7D");
    assert_eq!(office.world.order(path, Some("key 1"), &json!(form)).await?, (202, first.clone()));
    let other = json!({ "to": OTHER, "from": CLI, "target": { "say": "Hello." }, "timeout": 30 });
    let (status, problem) = office.world.order(path, Some("key 1"), &other).await?;
    assert!(status == 409 && problem["detail"].as_str().is_some_and(|detail| detail.contains("Idempotency-Key")));
    office.over(&CallId::new(first["call"].as_str().context("an id")?)?).await?;
    assert_eq!(office.world.order(path, Some("key 1"), &body).await?.1, first, "also when it is over");
    assert_eq!(office.platform.placed().len(), 1);
    for twice in ["&timeout=31", "&retry=%7B%22times%22%3A1%2C%22times%22%3A2%2C%22interval%22%3A5%7D"] {
        assert_eq!(office.world.order(path, None, &json!(format!("{form}{twice}"))).await?.0, 422, "{twice}");
    }
    for wrong in [
        json!({ "to": "0701234567", "from": CLI, "target": { "say": "Hello." } }),
        json!({ "to": TO, "from": CLI, "target": { "say": "" } }),
        json!({ "to": TO, "from": CLI, "target": { "say": "Hello." }, "timeout": 3 }),
        json!({ "to": TO, "from": CLI, "target": { "sing": "Hello." } }),
        json!({ "to": TO, "from": CLI, "target": { "say": "Hello." }, "tmeout": 30 }),
    ] {
        assert_eq!(office.world.order(path, None, &wrong).await?.0, 422, "{wrong}");
    }
    Ok(())
}

/// Whoever placed it died after it had written down that it dials, and the broker has forgotten the id of that event: only
/// the log tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_be_dialled_already_is_not_dialled() -> Result<()> {
    let mut office = Office::nats().await?;
    office.callee(TO, Callee::Answers { after_secs: 1 }, 5);
    let at = now().checked_add(SignedDuration::from_secs(3))?;
    let call = office.say(json!({ "at": at.to_string() })).await?;
    office.world.kill("delivery-1")?;
    let bus = office.world.log_as("delivery").await?;
    let app = AppName::new("acme")?;
    let placed = Filter::Kind(Kind::Placed);
    let leg = Leg::of_placed(&app, &LegOf { call: call.clone(), side: Side::To, attempt: 1 });
    let placed_seq = bus.last_seq(&placed).await?;
    let step = Step::Dialling { side: Side::To, attempt: 1, begins: true, placed_seq, leg, hold: None };
    let dialling = Progressed { step, moment: None, tell: Vec::new(), facts: CallFacts::default() };
    let event = Event {
        id: EventId::of(&["forgotten"]),
        subject: Subject::Call { kind: Kind::Progressed, app, partition: Partition::of(&call) },
        about: call.to_string(),
        source: "delivery".to_owned(),
        time: now(),
        extra: Vec::new(),
        data: serde_json::to_vec(&dialling)?.into(),
    };
    bus.append(&event, None).await?;
    drop(bus);
    office.world.start("delivery-1")?;
    // Whoever is ordered later is dialled later.
    let next = eventually("another is ordered", async || {
        let body = json!({ "to": OTHER, "from": CLI, "target": { "say": "Hello." }, "at": at.to_string() });
        let (status, reply) = office.world.order("/v1/calls/outbound", Some("next"), &body).await?;
        Ok((status == 202).then_some(reply))
    })
    .await?;
    office.over(&CallId::new(next["call"].as_str().context("an id")?)?).await?;
    let dialled: Vec<String> = office.platform.placed().into_iter().map(|callout| callout.to).collect();
    assert_eq!(dialled, [OTHER], "the first may have been dialled: its callbacks say");
    Ok(())
}

async fn a_callout_whose_answer_is_lost_is_not_sent_again(office: Office) -> Result<()> {
    let callee = Callee::Answers { after_secs: 2 };
    let script = CalleeScript { callee, reply: CalloutReply::TakenUnsaid, ..CalleeScript::default() };
    office.platform.callee(TO, script);
    let call = office.say(json!({ "retry": { "times": 3, "interval": 5 } })).await?;
    let steps = office.over(&call).await?;
    assert_eq!(office.platform.placed().len(), 1);
    assert_eq!(moments(&steps), [Moment::CallStart, Moment::CallAnswer, Moment::CallEnd], "its callbacks told of it");
    assert_eq!(steps.last().and_then(|step| step.facts.duration_secs), Some(2));
    assert_eq!(office.money().await?, ("99.96".into(), "0".into()));
    Ok(())
}

/// Killed while the platform has the callout and has not said so yet, and again while it is up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_places_calls_is_killed_and_nobody_is_called_twice() -> Result<()> {
    let mut office = Office::nats().await?;
    let reply = CalloutReply::TakenSlowly(Duration::from_secs(3));
    let callee = Callee::Answers { after_secs: 20 };
    office.platform.callee(TO, CalleeScript { callee, talks_secs: 14_000, reply, ..CalleeScript::default() });
    office.callee(OTHER, Callee::Answers { after_secs: 1 }, 60);
    let call = office.join().await?;
    eventually("the first is called", async || Ok((office.platform.placed().len() == 1).then_some(()))).await?;
    office.world.kill("delivery-1")?;
    office.world.start("delivery-2")?;
    eventually("the second is called", async || Ok((office.platform.placed().len() == 2).then_some(()))).await?;
    office.world.kill("delivery-2")?;
    office.world.start("delivery-3")?;
    let steps = office.over(&call).await?;
    assert_eq!(office.platform.placed().len(), 2, "each once");
    let ends = moments(&steps).into_iter().filter(|moment| *moment == Moment::CallEnd).count();
    assert_eq!(ends, 1);
    let bills = bills(&office, &steps).await?;
    assert_eq!(bills.iter().map(|(_, cdr)| cdr.legs.len()).sum::<usize>(), 2, "each is charged once: {bills:?}");
    let cost = bills.iter().map(|(_, cdr)| cdr.legs[0].cost).sum::<rust_decimal::Decimal>();
    let left = rust_decimal::Decimal::from(100) - cost;
    assert_eq!(office.money().await?, (left.normalize().to_string(), "0".into()));
    Ok(())
}

const SIDES: [&str; 5] = ["from_call_start", "from_call_answer", "to_call_start", "to_call_answer", "call_end"];

/// Five profiles, GET and POST, and five plain addresses.
async fn ten_that_a_call_names_are_told_in_order_while_who_tells_is_killed(mut office: Office) -> Result<()> {
    let ear = Ear::start().await?;
    let mut profiles = Vec::new();
    for nth in 0..5 {
        let url = format!("{}/profile-{nth}/{{{{event}}}}?from={{{{caller}}}}", ear.url());
        let spec = match nth % 2 {
            0 => json!({ "title": format!("Told {nth}"), "http_method": "GET", "url": url }),
            _ => json!({ "title": format!("Told {nth}"), "http_method": "POST", "url": url,
                "body": "{\"id\": \"{{call_id}}\", \"said\": \"{{custom}}\", \"cost\": \"{{cost}}\"}" }),
        };
        let (status, made) = office.world.post("/v1/profiles", &spec).await?;
        ensure!(status == 201, "{status} {made}");
        profiles.push(made["id"].clone());
    }
    let urls: Vec<_> =
        (0..5).map(|nth| format!("{}/url-{nth}/{{{{event}}}}?call={{{{call_id}}}}", ear.url())).collect();
    let told = json!({ "callback_profile": profiles, "url": urls });
    let callback: Map<String, Value> = SIDES.iter().map(|side| ((*side).to_owned(), told.clone())).collect();

    office.callee(TO, Callee::Answers { after_secs: 10 }, 60);
    office.callee(OTHER, Callee::Answers { after_secs: 20 }, 30);
    let (hubspot, salesforce) = (Fake::start(Hubspot::new(crm::TOKEN)).await?, crm::salesforce().await?);
    let tryton = Tryton::start().await?;
    for (name, spec) in [
        ("hubspot", crm::hubspot_at(&hubspot, json!({}))),
        ("salesforce", crm::salesforce_at(&salesforce)),
        ("tryton", crm::recipe_at(&tryton)),
    ] {
        let (status, reply) = office.world.put(&format!("/v1/destinations/{name}"), &spec).await?;
        ensure!((200..300).contains(&status), "{status} {reply}");
    }
    let body = json!({ "from": TO, "to": OTHER, "bridge": CLI, "custom": "a \"quoted\" word", "callback": callback });
    let call = office.order("/v1/calls/click-to-call", body).await?;
    if let Some(role) = office.world.running().into_iter().find(|role| role.starts_with("delivery")) {
        // Not between the order to dial and the answer: then it would wait for as long as it may ring.
        eventually("both are dialled", async || {
            let dialled = |step: &Progressed| matches!(step.step, Step::Dialled { side: Side::To, .. });
            Ok(office.steps(&call).await?.iter().any(dialled).then_some(()))
        })
        .await?;
        office.world.kill(&role)?;
        office.world.start(&role)?;
    }
    let steps = office.over(&call).await?;
    let cost = steps.last().and_then(|over| over.facts.cost).context("a cost")?.to_string();
    let lanes = (0..5).flat_map(|nth| [format!("/profile-{nth}/"), format!("/url-{nth}/")]);
    let lanes: Vec<String> = lanes.collect();
    let heard = eventually("all ten are told of all five", async || {
        let mut seen = BTreeSet::new();
        // What a killed process had on its way may come twice, with its id.
        let heard: Vec<_> =
            ear.heard().into_iter().filter(|heard| seen.insert(heard.headers["webhook-id"].clone())).collect();
        Ok((heard.len() >= lanes.len() * SIDES.len()).then_some(heard))
    })
    .await?;
    for lane in &lanes {
        let of_lane: Vec<_> = heard.iter().filter(|heard| heard.target.starts_with(lane)).collect();
        let order: Vec<_> = of_lane.iter().map(|heard| heard.target[lane.len()..].split('?').next()).collect();
        assert_eq!(order, SIDES.map(Some), "{lane}");
        for heard in of_lane {
            match heard.method.as_str() {
                "POST" => {
                    let body: Value = serde_json::from_str(&heard.body)?;
                    assert_eq!((&body["id"], &body["said"]), (&json!(call.as_str()), &json!("a \"quoted\" word")));
                    let costs = if heard.target.contains("call_end") { cost.as_str() } else { "" };
                    assert_eq!(body["cost"], costs, "{}", heard.target);
                }
                _ if lane.starts_with("/url") => assert!(heard.target.ends_with(&format!("?call={call}"))),
                _ => assert!(heard.target.ends_with("?from=%2B46701234567"), "{}", heard.target),
            }
        }
    }
    assert_eq!(heard.len(), 50);
    // The call is one in each CRM, and its legs are none.
    let attached = eventually("all three CRMs have it", async || {
        let attached = crm::attached(&tryton, call.as_str()).await?;
        let there = (hubspot.open().calls.len(), salesforce.open().tasks.len(), attached.len());
        Ok((there.0 > 0 && there.1 > 0 && there.2 > 0).then_some(attached))
    })
    .await?;
    office.money().await?;
    let tasks = salesforce.open().called(call.as_str());
    let named = hubspot.open().called(call.as_str());
    assert_eq!((hubspot.open().calls.len(), named.len()), (1, 1));
    // What a preview shows is that one, and no leg, though the CDRs of the legs are as new.
    let shown = office.world.get("/v1/destinations/hubspot/preview").await?.to_string();
    assert!(shown.contains(call.as_str()), "{shown}");
    assert_eq!((salesforce.open().tasks.len(), tasks.len(), attached.len()), (1, 1, 1));
    assert_eq!((&tasks[0]["CallType"], &tasks[0]["CallDurationInSeconds"]), (&json!("Outbound"), &json!(30)));
    Ok(())
}

async fn whom_to_tell_is_checked_before_anybody_is_called(office: Office) -> Result<()> {
    let order = async |callback: Value| {
        let body = json!({ "to": TO, "from": CLI, "target": { "say": "Hello." }, "callback": callback });
        office.world.order("/v1/calls/outbound", Some("told"), &body).await
    };
    for (callback, word) in [
        (json!({ "call_ended": { "url": ["https://example.com"] } }), "call_end"),
        (json!({ "to_call_start": { "url": ["https://example.com"] } }), "click to call"),
        (json!({ "call_end": { "callback_profile": ["EU_0f8b6a5e-2f0f-4f0e-9d63-0b9b8a1f6a11"] } }), "EU_0f8b"),
        (json!({ "call_end": { "url": ["http://10.0.0.1/"] } }), "10.0.0.1"),
        (json!("{\"call_end\": "), "line 1 column"),
    ] {
        let (status, reply) = order(callback).await?;
        assert!(status == 422 || status == 400, "{status} {reply}");
        assert!(reply.to_string().contains(word), "{reply}");
    }
    // A document in a string, as forms have it; the same order again is the same call.
    let callback = "{\"CALL_END\": {\"URL\": [\"http://127.0.0.1:9/over\"]}, \"call_start\": {}}";
    let (status, first) = order(json!(callback)).await?;
    let (_, again) = order(json!({ "call_end": { "url": ["http://127.0.0.1:9/over"] } })).await?;
    assert_eq!((status, &first), (202, &again));
    let (status, _) = order(json!({})).await?;
    assert_eq!(status, 409, "it tells somebody else");
    Ok(())
}

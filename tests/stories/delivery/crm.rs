//! A call appears once in each CRM, whatever happens on the way there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use delivery::{BadDestination, DestinationSpec, RegisterError};
use proto::{AppName, CallId, DeliveryNoted, DestinationName, Event, EventId, Kind, Partition, Subject};
use serde_json::{Value, json};
use simulator::{Hangup, Party};
use tests::crm::{Crm, Fake, Hubspot, Salesforce};
use tests::eventually;
use tests::receiver::Receiver;
use tests::tryton::{self, Tryton};
use tests::world::{ALLOWED, POLICY, WALLET, World};

use super::{Post, hears, noted};
use crate::bus::{Place, contract};
use crate::calls::script;

pub(crate) const TOKEN: &str = "pat-eu1-0000";
const CALLER: &str = "+14155550123";

contract!(a_call_is_once_in_each_crm, a_correction_changes_the_one_activity, a_recipe_writes_to_a_real_tryton,);

impl Post {
    async fn put_crm(&self, name: &str, spec: Value) -> Result<()> {
        let spec: DestinationSpec = serde_json::from_value(spec)?;
        self.register.put(&self.outbound, &DestinationName::new(name)?, spec, "story").await?;
        Ok(())
    }

    /// The call has ended, or more is known of its end.
    async fn settle(&mut self, call: &str, other: Value) -> Result<()> {
        self.events += 1;
        let event = cdr(call, self.events, &other)?;
        Ok(self.bus.record(vec![event]).await?)
    }
}

/// A CDR of a call from [`CALLER`], with these members in the place of its own.
fn cdr(call: &str, number: u64, other: &Value) -> Result<Event> {
    let call = CallId::new(call)?;
    let mut body = json!({
        "call": call, "app": "acme", "from": CALLER, "to": ALLOWED, "started_at": "2026-11-21T20:00:00Z",
        "answered_at": "2026-11-21T20:00:05Z", "ended_at": "2026-11-21T20:01:07Z", "result": "ANSWERED",
        "reason": "CALLERHANGUP", "duration_secs": 62,
    });
    for (name, value) in other.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Ok(Event {
        id: EventId::of(&["story", &number.to_string()]),
        subject: Subject::Call { kind: Kind::Settled, app: AppName::new("acme")?, partition: Partition::of(&call) },
        about: call.to_string(),
        source: "acme".to_owned(),
        time: "2026-11-21T20:01:09Z".parse()?,
        extra: Vec::new(),
        data: body.to_string().into(),
    })
}

pub(crate) fn hubspot_at<C: Crm>(fake: &Fake<C>, settings: Value) -> Value {
    json!({ "to": { "hubspot": settings }, "url": fake.url(), "credentials": { "token": TOKEN } })
}

pub(crate) fn salesforce_at<C: Crm>(fake: &Fake<C>) -> Value {
    let credentials = json!({ "client_id": "me", "client_secret": "s3cret & more" });
    json!({ "to": { "salesforce": {} }, "url": fake.url(), "credentials": credentials })
}

pub(crate) async fn salesforce() -> Result<Fake<Salesforce>> {
    Fake::start(Salesforce::new("me", "s3cret & more")).await
}

async fn a_call_is_once_in_each_crm(place: Place) -> Result<()> {
    const CALLS: u64 = 16;
    let mut post = Post::open(&place).await?;
    let (hubspot, salesforce) = (Fake::start(Hubspot::new(TOKEN)).await?, salesforce().await?);
    hubspot.open().contact("mobilephone", "+49 30 123456");
    let jane = hubspot.open().contact("phone", "(415) 555-0123");
    let who = salesforce.open().contact("+1 415-555-0123");
    // A token is good for a while only, and several calls find out at once.
    salesforce.open().token_uses_max = 10;
    post.put_crm("hubspot", hubspot_at(&hubspot, json!({}))).await?;
    post.put_crm("salesforce", salesforce_at(&salesforce)).await?;
    post.begin();
    for number in 0..CALLS {
        let from = if number % 2 == 0 { CALLER } else { "+14155559999" };
        post.settle(&format!("call/{number} ä"), json!({ "from": from })).await?;
    }
    let there = async || {
        let count = usize::try_from(CALLS)?;
        Ok((hubspot.open().calls.len() >= count && salesforce.open().tasks.len() >= count).then_some(()))
    };
    eventually("all calls are there", there).await?;
    post.end().await?;
    for number in 0..CALLS {
        let call = format!("call/{number} ä");
        let ids = hubspot.open().called(&call);
        ensure!(ids.len() == 1, "{call} is there {} times", ids.len());
        let known = hubspot.open().associations.contains(&(ids[0], jane));
        assert_eq!(known, number % 2 == 0, "only who is known is named");
        let tasks = salesforce.open().called(&call);
        ensure!(tasks.len() == 1, "{call} is there {} times", tasks.len());
        let named = if number % 2 == 0 { json!(who) } else { Value::Null };
        assert_eq!(tasks[0].get("WhoId").cloned().unwrap_or_default(), named);
        assert_eq!((&tasks[0]["CallDurationInSeconds"], &tasks[0]["CallType"]), (&json!(62), &json!("Inbound")));
    }
    let calls = hubspot.open().calls.clone();
    let call = calls.values().next().context("a call")?;
    assert_eq!((call["hs_call_duration"].as_str(), call["hs_call_status"].as_str()), ("62000", "COMPLETED"));
    hubspot.judge(&[])?;
    salesforce.judge(&[401])?;
    let logins = salesforce.open().logins;
    assert!((2..=8).contains(&logins), "{logins} logins for some 32 questions of 10 to a token");
    // The register names no credential, and what it says may be read by all.
    let shown = serde_json::to_string(&post.register.find(&DestinationName::new("salesforce")?).await?.put)?;
    assert!(!shown.contains("s3cret"), "{shown}");
    Ok(())
}

async fn a_correction_changes_the_one_activity(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let (hubspot, salesforce) = (Fake::start(Hubspot::new(TOKEN)).await?, salesforce().await?);
    post.put_crm("hubspot", hubspot_at(&hubspot, json!({}))).await?;
    post.put_crm("salesforce", salesforce_at(&salesforce)).await?;
    let stands = |call: &'static str| {
        let (hubspot, salesforce) = (&hubspot, &salesforce);
        move || -> Result<(String, Value)> {
            let (hubspot, tasks) = (hubspot.open(), salesforce.open().called(call));
            ensure!(hubspot.called(call).len() <= 1 && tasks.len() <= 1, "{call} is there twice");
            let id = hubspot.called(call).first().copied();
            let duration = id.map(|id| hubspot.calls[&id]["hs_call_duration"].clone()).unwrap_or_default();
            Ok((duration, tasks.first().map(|task| task["CallDurationInSeconds"].clone()).unwrap_or_default()))
        }
    };
    let first = stands("first");
    let is = async |secs: u32| {
        let there = async || Ok((first()? == ((secs * 1000).to_string(), json!(secs))).then_some(()));
        eventually(&format!("the first lasted {secs} s"), there).await
    };
    post.begin();
    post.settle("first", json!({ "duration_secs": 0, "unmatched": true })).await?;
    is(0).await?;
    post.settle("first", json!({})).await?;
    is(62).await?;
    // Who takes over knows what was written.
    post.end().await?;
    post.begin();
    post.settle("first", json!({ "duration_secs": 70 })).await?;
    is(70).await?;
    // One that nothing is known of does not stand in the place of one that is.
    post.settle("first", json!({ "duration_secs": 1, "unmatched": true })).await?;
    post.settle("last", json!({})).await?;
    let last = stands("last");
    eventually("the last is there", async || Ok((last()?.1 == json!(62)).then_some(()))).await?;
    let delivered = async |name: &str| -> Result<usize> {
        let noted = post.noted(name).await?;
        Ok(noted.iter().filter(|noted| matches!(noted, DeliveryNoted::Delivered { .. })).count())
    };
    for name in ["hubspot", "salesforce"] {
        eventually("all is delivered", async || Ok((delivered(name).await? == 5).then_some(()))).await?;
    }
    assert_eq!(first()?, ("70000".to_owned(), json!(70)));
    // And an old CDR, sent anew, does not stand in the place of a new one.
    let all = post.noted("hubspot").await?;
    let attempted = |noted: &DeliveryNoted| {
        if let DeliveryNoted::Attempted { delivery, .. } = noted { Some(delivery.clone()) } else { None }
    };
    // The second, of 62 seconds; the first is an unmatched one.
    let old = all.iter().filter_map(attempted).nth(1);
    let old = proto::Delivery { id: EventId::of(&["replayed"]), replay: 1, ..old.context("a delivery")? };
    let again = delivery::Again { delivery: old, call: "first".to_owned(), attempts: 0 };
    let taken = delivery::again(&post.bus, &DestinationName::new("hubspot")?, vec![again]).await?;
    assert_eq!(taken.len(), 1);
    eventually("it is delivered", async || Ok((delivered("hubspot").await? == 6).then_some(()))).await?;
    assert_eq!(first()?, ("70000".to_owned(), json!(70)));
    post.end().await?;
    hubspot.judge(&[])?;
    // Of a task that is there its kind is not set again.
    salesforce.judge(&[400])
}

pub(crate) fn recipe_at(tryton: &Tryton) -> Value {
    let text = include_str!("../../../examples/recipes/tryton.yaml");
    let credentials = json!({ "user": tryton::USER, "password": tryton::PASSWORD });
    json!({ "to": { "recipe": { "text": text } }, "url": tryton.url(), "credentials": credentials })
}

/// The attachments of a call in Tryton.
pub(crate) async fn attached(tryton: &Tryton, call: &str) -> Result<Vec<Value>> {
    let fields = ["name", "resource", "description", "link"];
    let params = json!([[["name", "=", format!("Call {call}")]], 0, 10, null, fields, {}]);
    let found = tryton.call("model.ir.attachment.search_read", params).await?;
    Ok(found.as_array().cloned().unwrap_or_default())
}

async fn a_recipe_writes_to_a_real_tryton(place: Place) -> Result<()> {
    let tryton = Tryton::start().await?;
    let phone = json!([["create", [{ "type": "phone", "value": "+1 415-555-0123" }]]]);
    let created =
        tryton.call("model.party.party.create", json!([[{ "name": "Jane", "contact_mechanisms": phone }], {}]));
    let party = created.await?[0].clone();
    let mut post = Post::open(&place).await?;
    post.put_crm("tryton", recipe_at(&tryton)).await?;
    post.begin();
    post.settle("known", json!({})).await?;
    post.settle("unknown", json!({ "from": "+14155559999" })).await?;
    let says = async |call: &str, word: &str| {
        eventually(&format!("{call} says {word}"), async || {
            let found = attached(&tryton, call).await?;
            ensure!(found.len() <= 1, "{call} is there twice: {found:?}");
            Ok(found.into_iter().find(|one| one["description"].as_str().is_some_and(|text| text.contains(word))))
        })
        .await
    };
    let known = says("known", "62 s").await?;
    assert_eq!(
        (&known["resource"], &known["link"]),
        (&json!(format!("party.party,{party}")), &json!("tel:+14155550123"))
    );
    assert_eq!(says("unknown", "62 s").await?["resource"], "res.user,1");
    // Who takes over knows what Tryton calls it.
    post.end().await?;
    post.begin();
    post.settle("known", json!({ "duration_secs": 75 })).await?;
    says("known", "75 s").await?;
    // The session ends, as it does after some time; a new one is made.
    let params = json!([[1], { "password": tryton::PASSWORD }, {}]);
    tryton.call("model.res.user.write", params).await?;
    post.settle("known", json!({ "duration_secs": 80 })).await?;
    says("known", "80 s").await?;
    // Another destination knows nothing of it, as after a crash before it was written down: it searches first.
    post.put_crm("again", recipe_at(&tryton)).await?;
    post.settle("known", json!({ "duration_secs": 85 })).await?;
    eventually("both have written it", async || {
        let mut both = Vec::new();
        for name in ["tryton", "again"] {
            let noted = post.noted(name).await?;
            let wrote = |noted| if let DeliveryNoted::Delivered { wrote, .. } = noted { wrote } else { None };
            let last = noted.into_iter().rev().find_map(wrote);
            both.extend(last.map(|wrote| (wrote.seq, wrote.remote)));
        }
        Ok((both.len() == 2 && both[0] == both[1]).then_some(()))
    })
    .await?;
    assert_eq!(attached(&tryton, "known").await?.len(), 1);
    post.end().await
}

#[tokio::test]
async fn a_limit_pauses_one_crm_and_goes_on() -> Result<()> {
    let (place, receiver) = (Place::embedded()?, Receiver::start().await?);
    let mut post = Post::open(&place).await?;
    let (hubspot, salesforce) = (Fake::start(Hubspot::new(TOKEN)).await?, salesforce().await?);
    post.put("webhook", &receiver, json!({})).await?;
    post.put_crm("hubspot", hubspot_at(&hubspot, json!({}))).await?;
    post.put_crm("salesforce", salesforce_at(&salesforce)).await?;
    hubspot.open().limited.push_back(("TEN_SECONDLY_ROLLING", Some(3)));
    salesforce.open().limited.push_back(Some(2));
    post.begin();
    let began = Instant::now();
    post.settle("first", json!({})).await?;
    let limited = async || {
        let asked = hubspot.asked().iter().any(|asked| asked.status == 429);
        Ok((asked && salesforce.asked().iter().any(|asked| asked.status == 403)).then_some(()))
    };
    eventually("both are at their limits", limited).await?;
    for number in 0..5 {
        post.settle(&format!("later-{number}"), json!({})).await?;
    }
    hears(&receiver, 6).await?;
    assert!(began.elapsed() < Duration::from_secs(3), "others do not wait");
    let there = async || Ok((hubspot.open().calls.len() == 6 && salesforce.open().tasks.len() == 6).then_some(()));
    eventually("all calls are there", there).await?;
    post.end().await?;
    for (name, asked, secs) in [("hubspot", hubspot.asked(), 3), ("salesforce", salesforce.asked(), 2)] {
        let refused = asked.iter().position(|asked| matches!(asked.status, 429 | 403)).context("a refusal")?;
        let [limited, next, ..] = &asked[refused..] else { anyhow::bail!("{name} was not asked again") };
        assert!(next.at - limited.at >= Duration::from_secs(secs), "{name} was left alone");
        let noted = post.noted(name).await?;
        let used: Vec<u32> = noted
            .iter()
            .filter_map(|noted| if let DeliveryNoted::Failed { used, .. } = noted { Some(*used) } else { None })
            .collect();
        assert_eq!(used, [0], "{name}: it uses nothing of the plan up");
    }
    hubspot.judge(&[429])?;
    salesforce.judge(&[403])
}

#[tokio::test]
async fn what_a_crm_refuses_is_told_apart() -> Result<()> {
    let place = Place::embedded()?;
    let mut post = Post::open(&place).await?;
    let fake = Fake::start(Hubspot::new(TOKEN)).await?;
    // A property nobody has made: it would be refused every time.
    let unknown = json!({ "fields": { "hs_call_summary": "{{title}}" } });
    post.put_crm("unknown", hubspot_at(&fake, unknown)).await?;
    // A token that is no longer good: the call is kept until there is a better one.
    let stale = |token: &str| {
        json!({ "to": { "hubspot": {} }, "url": fake.url(), "credentials": { "token": token },
                "retry": { "table": [1, 1, 1, 1, 600] } })
    };
    post.put_crm("stale", stale("pat-old")).await?;
    post.begin();
    post.settle("first", json!({})).await?;
    let dead = eventually("one is given up", async || {
        let noted = post.noted("unknown").await?;
        Ok(noted.into_iter().find(|noted| matches!(noted, DeliveryNoted::Dead { .. })))
    })
    .await?;
    let DeliveryNoted::Dead { attempt, status, cause, .. } = dead else { anyhow::bail!("it is given up") };
    assert_eq!((attempt, status), (1, Some(400)), "at once");
    assert_eq!(cause, "it answers 400: Property \"hs_call_summary\" does not exist");
    eventually("the other is tried again", async || {
        let attempts = post.noted("stale").await?;
        let failed = attempts.iter().filter(|noted| matches!(noted, DeliveryNoted::Failed { status: Some(401), .. }));
        Ok((failed.count() >= 2).then_some(()))
    })
    .await?;
    post.put_crm("stale", stale(TOKEN)).await?;
    eventually("it is there", async || Ok((fake.open().called("first").len() == 1).then_some(()))).await?;
    post.end().await?;
    // Put again without them, credentials stay; but not for another address.
    let without = |url: &str| json!({ "to": { "hubspot": { "association": 194 } }, "url": url });
    post.put_crm("stale", without(&fake.url())).await?;
    let spec: DestinationSpec = serde_json::from_value(without("https://thief.example.com"))?;
    let refused = post.register.put(&post.outbound, &DestinationName::new("stale")?, spec, "story").await;
    let Err(RegisterError::Bad(refused)) = refused else { anyhow::bail!("a token goes nowhere else") };
    assert_eq!(refused.to_string(), "credentials: hubspot wants token");
    // Nor is an example in force as it stands on the page.
    let spec: DestinationSpec = serde_json::from_value(stale("pat-eu1-…"))?;
    let refused = post.register.put(&post.outbound, &DestinationName::new("stale")?, spec, "story").await;
    assert!(matches!(refused, Err(RegisterError::Bad(BadDestination::Elided(_)))), "{refused:?}");
    Ok(())
}

/// Killed between what it says to a CRM and what it hears of it.
async fn killed_before_it_hears(mut world: World, role: &str) -> Result<()> {
    let (hubspot, salesforce) = (Fake::start(Hubspot::new(TOKEN)).await?, salesforce().await?);
    for (name, spec) in [("hubspot", hubspot_at(&hubspot, json!({}))), ("salesforce", salesforce_at(&salesforce))] {
        let (status, said) = world.put(&format!("/v1/destinations/{name}"), &spec).await?;
        ensure!(status == 200, "{said}");
        ensure!(said["is"]["keys"] == json!([]) && said.get("secret").is_none(), "nothing is signed: {said}");
    }
    if world.running().iter().all(|name| name != role) {
        world.start(role)?;
    }
    hubspot.hold(true);
    salesforce.hold(true);
    world.top_up(WALLET, "10").await?;
    let mut call = script(ALLOWED);
    call.hangup = Hangup { after_secs: 5, by: Party::Caller };
    let call = world.platform(1)?.call(call).await.call;
    let written = async || Ok((hubspot.open().calls.len() == 1 && salesforce.open().tasks.len() == 1).then_some(()));
    eventually("both have the call, and have not said so", written).await?;
    world.kill(role)?;
    hubspot.hold(false);
    salesforce.hold(false);
    world.start(role)?;
    let log = world.log().await?;
    for name in ["hubspot", "salesforce"] {
        let done = eventually("it is delivered", async || {
            let noted = noted(&log, name).await?;
            Ok(noted.into_iter().find(|noted| matches!(noted, DeliveryNoted::Delivered { .. })))
        });
        let DeliveryNoted::Delivered { attempt, wrote, .. } = done.await? else { anyhow::bail!("it is delivered") };
        assert!(attempt >= 2, "{name} was written to twice");
        assert!(wrote.is_some_and(|wrote| !wrote.remote.is_empty()));
    }
    assert_eq!(hubspot.open().called(call.as_str()).len(), 1);
    assert_eq!(salesforce.open().called(call.as_str()).len(), 1);
    // A preview shows all that would be asked, and asks nothing.
    let before = hubspot.asked().len();
    let shown = world.get("/v1/destinations/hubspot/preview").await?;
    let upsert = shown["then"].as_array().into_iter().flatten().find(|ask| ask["url"].to_string().contains("upsert"));
    let body: Value = serde_json::from_str(upsert.context("an upsert")?["body"].as_str().unwrap_or_default())?;
    assert_eq!(body["inputs"][0]["id"], call.as_str());
    let asked = hubspot.asked();
    let sent = asked.iter().rfind(|asked| asked.target.ends_with("upsert")).context("it was sent")?;
    assert_eq!(body, serde_json::from_str::<Value>(&sent.body)?, "to the byte");
    assert!(!shown.to_string().contains(TOKEN), "{shown}");
    assert_eq!(hubspot.asked().len(), before);
    hubspot.judge(&[])?;
    salesforce.judge(&[400])
}

const SETTINGS: &str = "[outbound]\nallow = [\"127.0.0.0/8\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_once_in_each_crm_after_kill_9_embedded() -> Result<()> {
    killed_before_it_hears(World::embedded_with(POLICY, SETTINGS).await?, "all").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_once_in_each_crm_after_kill_9_on_servers() -> Result<()> {
    killed_before_it_hears(World::nats_with(POLICY, SETTINGS).await?, "delivery-1").await
}

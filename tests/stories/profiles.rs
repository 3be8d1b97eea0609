//! Calls that were placed name whom to tell of what: profiles and plain addresses, told in order by what the call pinned.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::{Bus, Clock};
use delivery::callback::{self, BadCallback, Family};
use delivery::{Dispatch, DispatchError, Profile, ProfileSpec, Profiles, Saved, Status};
use hmac::{Hmac, KeyInit, Mac};
use outbound::{Outbound, OutboundSettings};
use proto::{
    AppName, CallFacts, CallId, DeliveryNoted, Event, EventId, Filter, Kind, Listener, Moment, Partition,
    ProfileChanged, ProfileId, Progressed, Share, Side, Step, Stream, Subject,
};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::ear::{Ear, Heard};
use tests::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bus::{Place, contract};

mod processes;

contract!(
    listeners_are_told_in_order_by_what_the_call_pinned,
    a_dead_host_delays_only_itself,
    who_takes_over_tells_on,
    an_address_that_is_gone_speaks_for_itself_alone,
    a_call_that_does_not_fit_is_given_up_alone,
    what_is_disabled_waits_and_is_told_when_enabled,
    who_does_not_answer_is_seen_until_he_does,
);

const MOMENTS: [Moment; 3] = [Moment::CallStart, Moment::CallAnswer, Moment::CallEnd];

/// Delivery in this process, on a log of its own.
struct Stage {
    bus: Bus,
    clock: Clock,
    profiles: Profiles,
    outbound: Outbound,
    running: JoinSet<Result<(), DispatchError>>,
    stop: CancellationToken,
}

impl Stage {
    async fn open(place: &Place) -> Result<Self> {
        Self::open_with(place, Clock::System).await
    }

    async fn open_with(place: &Place, clock: Clock) -> Result<Self> {
        let bus = place.open().await?;
        let settings = OutboundSettings {
            allow: vec!["127.0.0.0/8".parse()?],
            plain_http: false,
            user_agent: "callbus/test".to_owned(),
        };
        Ok(Self {
            profiles: Profiles::new(bus.clone(), clock.clone()),
            bus,
            clock,
            outbound: Outbound::new(settings)?,
            running: JoinSet::new(),
            stop: CancellationToken::new(),
        })
    }

    fn begin(&mut self) {
        self.stop = CancellationToken::new();
        let dispatch = Dispatch::new(self.bus.clone(), self.outbound.clone(), self.clock.clone());
        self.running.spawn(dispatch.run(self.stop.clone()));
    }

    async fn end(&mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn create(&self, spec: Value) -> Result<Saved> {
        Ok(self.profiles.create(&self.outbound, "SG", &read(spec)?, "story").await?)
    }

    async fn change(&self, id: &ProfileId, spec: Value) -> Result<Saved> {
        Ok(self.profiles.change(&self.outbound, id, &read(spec)?, "story").await?)
    }

    async fn tell(&self, id: &ProfileId, changed: ProfileChanged) -> Result<Profile> {
        Ok(self.profiles.tell(id, changed).await?)
    }

    /// Whom a call tells of all its moments, as its parameter names them.
    async fn named(&self, profiles: &[&ProfileId], urls: &[String]) -> Result<Vec<Listener>> {
        let parameter = json!({ "Call_End": { "callback_profile": profiles, "URL": urls } });
        let named = callback::parse(&parameter.to_string(), Family::Outbound)?;
        let mut told = callback::resolve(named, &self.profiles.all().await?, &self.outbound)?;
        told.remove(&Moment::CallEnd).context("the moment")
    }

    /// A moment of a call happens.
    async fn happen(&self, call: &str, moment: Moment, tell: &[Listener]) -> Result<()> {
        self.bus.append(&progressed(call, moment, tell)?, None).await?;
        Ok(())
    }
}

fn read(spec: Value) -> Result<ProfileSpec> {
    Ok(serde_json::from_value(spec)?)
}

fn progressed(call: &str, moment: Moment, tell: &[Listener]) -> Result<Event> {
    let facts = CallFacts {
        caller: "+46850000001".to_owned(),
        callee: "+46701234567".to_owned(),
        status: "ended".to_owned(),
        direction: "outbound".to_owned(),
        duration_secs: Some(60),
        custom: "order \"17\" & {{caller}}".to_owned(),
        leg: Some(Side::To),
        ..CallFacts::default()
    };
    let body = Progressed { step: Step::Over, moment: Some(moment), tell: tell.to_vec(), facts };
    let call = CallId::new(call)?;
    Ok(Event {
        id: EventId::of(&["story", call.as_str(), moment.as_str()]),
        subject: Subject::Call { kind: Kind::Progressed, app: AppName::new("acme")?, partition: Partition::of(&call) },
        about: call.to_string(),
        source: "delivery".to_owned(),
        time: Clock::System.now(),
        extra: Vec::new(),
        data: serde_json::to_vec(&body)?.into(),
    })
}

/// Waits for as long as it goes on.
async fn hears(ear: &Ear, count: usize) -> Result<()> {
    loop {
        let before = ear.taken().len();
        if before >= count {
            return Ok(());
        }
        let more = async || Ok((ear.taken().len() > before).then_some(()));
        eventually(&format!("the ear takes {count}, beyond {before}"), more).await?;
    }
}

/// That each call's moments came in order, and none twice.
fn in_order(heard: &[Heard]) -> Result<()> {
    let mut sequences: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for heard in heard {
        let call = heard.target.split(['/', '?']).nth(2).unwrap_or_default();
        sequences.entry(call).or_default().push(heard.headers["webhook-sequence"].parse()?);
    }
    for (call, sequence) in sequences {
        assert!(sequence.is_sorted_by(|one, next| one < next), "{call}: {sequence:?}");
    }
    Ok(())
}

async fn listeners_are_told_in_order_by_what_the_call_pinned(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let (crm, plain) = (Ear::start().await?, Ear::start().await?);
    let posted = stage
        .create(json!({
            "title": "CRM of Singapore",
            "http_method": "POST",
            "url": format!("{}/old/{{{{call_id}}}}?what={{{{event}}}}", crm.url()),
            "headers": { "x-leg": "leg {{leg}}" },
            "body": "{\"n\": \"{{custom}}\", \"s\": \"{{duration}}\"}",
            "secret": "new",
        }))
        .await?;
    let secret = posted.made.context("a secret is made")?.reveal();
    let id = posted.profile.id;
    let url = format!("{}/plain/{{{{call_id}}}}?n={{{{custom}}}}&e={{{{event}}}}", plain.url());
    let first = stage.named(&[&id, &id], &[url.clone(), url]).await?;
    assert_eq!(first.len(), 2, "duplicates collapse");
    stage.begin();
    for number in 0..20 {
        stage.happen(&format!("call-{number}"), Moment::CallStart, &first).await?;
    }
    let url = format!("{}/new/{{{{call_id}}}}?what={{{{event}}}}", crm.url());
    stage.change(&id, json!({ "url": url })).await?;
    let second = stage.named(&[&id], &[]).await?;
    for number in 0..20 {
        for moment in [Moment::CallAnswer, Moment::CallEnd] {
            stage.happen(&format!("call-{number}"), moment, &first).await?;
        }
        for moment in MOMENTS {
            stage.happen(&format!("later-{number}"), moment, &second).await?;
        }
    }
    stage.tell(&id, ProfileChanged::Removed { by: "story".to_owned() }).await?;
    let unknown = stage.named(&[&id], &[]).await.err().context("it is removed")?;
    assert!(unknown.to_string().contains("there is no profile"), "{unknown}");
    hears(&crm, 120).await?;
    hears(&plain, 60).await?;
    // A call that had named it is told of it still.
    stage.happen("call-late", Moment::CallEnd, &first).await?;
    hears(&crm, 121).await?;
    hears(&plain, 61).await?;
    stage.end().await?;
    let (crm, plain) = (crm.heard(), plain.heard());
    in_order(&crm)?;
    in_order(&plain)?;
    assert_eq!((crm.len(), plain.len()), (121, 61));
    assert_eq!(crm.iter().filter(|heard| heard.target.starts_with("/old/call-")).count(), 61);
    assert_eq!(crm.iter().filter(|heard| heard.target.starts_with("/new/later-")).count(), 60);
    let one = &crm[0];
    assert_eq!((&*one.method, &*one.headers["content-type"]), ("POST", "application/json"));
    assert_eq!(one.headers["x-leg"], "leg to");
    assert_eq!(one.body, "{\"n\": \"order \\\"17\\\" & {{caller}}\", \"s\": \"60\"}");
    let signed = format!("{}.{}.{}", one.headers["webhook-id"], one.headers["webhook-timestamp"], one.body);
    let key = STANDARD.decode(secret.trim_start_matches("whsec_"))?;
    let mac = Hmac::<Sha256>::new_from_slice(&key)?.chain_update(signed);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(one.headers["webhook-signature"], signature);
    let one = &plain[0];
    let target = one.target.split_once('?').context("a query")?.1;
    assert_eq!(target, "n=order%20%2217%22%20%26%20%7B%7Bcaller%7D%7D&e=call_start");
    assert!(one.method == "GET" && !one.headers.contains_key("webhook-signature"));
    Ok(())
}

async fn a_dead_host_delays_only_itself(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let (good, dead) = (Ear::start().await?, Ear::start().await?);
    dead.behave(|_| 500);
    let urls = [&dead, &good].map(|ear| format!("{}/x/{{{{call_id}}}}", ear.url()));
    let tell = stage.named(&[], &urls).await?;
    stage.begin();
    for number in 0..30 {
        for moment in MOMENTS {
            stage.happen(&format!("call-{number}"), moment, &tell).await?;
        }
    }
    hears(&good, 90).await?;
    assert_eq!(dead.taken().len(), 0);
    in_order(&good.heard())?;
    dead.behave(|_| 200);
    hears(&dead, 90).await?;
    stage.end().await?;
    in_order(&dead.taken())?;
    Ok(())
}

/// All addresses of a host are one lane.
async fn an_address_that_is_gone_speaks_for_itself_alone(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    ear.behave(|heard| if heard.target.starts_with("/gone") { 410 } else { 200 });
    let urls = ["gone", "x"].map(|path| format!("{}/{path}/{{{{call_id}}}}", ear.url()));
    let tell = stage.named(&[], &urls).await?;
    stage.begin();
    for number in 0..5 {
        stage.happen(&format!("call-{number}"), Moment::CallEnd, &tell).await?;
    }
    hears(&ear, 5).await?;
    eventually("the others are given up", async || Ok((dead(&stage.bus).await?.len() == 5).then_some(()))).await?;
    stage.end().await?;
    assert_eq!(ear.heard().len(), 10, "and asked once");
    Ok(())
}

/// What a caller may write must not keep others from being told.
async fn a_call_that_does_not_fit_is_given_up_alone(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    let headers = json!({ "x-call": "{{call_id}}".repeat(300) });
    let spec = json!({ "title": "Long", "http_method": "GET", "url": format!("{}/x", ear.url()), "headers": headers });
    let id = stage.create(spec).await?.profile.id;
    let tell = stage.named(&[&id], &[]).await?;
    stage.begin();
    for number in 0..20 {
        stage.happen(&format!("{}-{number}", "long".repeat(15)), Moment::CallEnd, &tell).await?;
    }
    stage.happen("short", Moment::CallEnd, &tell).await?;
    hears(&ear, 1).await?;
    let causes = eventually("the others are given up", async || {
        let causes = dead(&stage.bus).await?;
        Ok((causes.len() == 20).then_some(causes))
    })
    .await?;
    assert!(causes.iter().all(|cause| cause.contains("16 KiB")), "{causes:?}");
    assert_eq!(stage.profiles.find(&id).await?.status, Status::Active);
    stage.end().await
}

/// Why what was given up was given up.
async fn dead(bus: &Bus) -> Result<Vec<String>> {
    let mut causes = Vec::new();
    let mut events = bus.events(&Filter::All(Stream::Deliveries), 0);
    while let Some(next) = events.next().await? {
        if let Ok(DeliveryNoted::Dead { cause, .. }) = serde_json::from_slice(&next.event.data) {
            causes.push(cause);
        }
    }
    Ok(causes)
}

async fn who_takes_over_tells_on(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    ear.behave(|_| 500);
    let tell = stage.named(&[], &[format!("{}/x/{{{{call_id}}}}", ear.url())]).await?;
    stage.begin();
    for number in 0..10 {
        for moment in MOMENTS {
            stage.happen(&format!("call-{number}"), moment, &tell).await?;
        }
    }
    eventually("all calls are tried", async || Ok((ear.heard().len() >= 10).then_some(()))).await?;
    eventually("no event comes again", async || {
        let end = stage.bus.last_seq(&Filter::All(Stream::Calls)).await?;
        Ok((delivery::floor(&stage.bus).await? >= end).then_some(()))
    })
    .await?;
    stage.end().await?;
    let before = ear.heard().len();
    ear.behave(|_| 200);
    // Nothing new happens: what is open is enough to go on.
    stage.begin();
    hears(&ear, 30).await?;
    stage.end().await?;
    in_order(&ear.taken())?;
    assert!(
        ear.heard()[before..].iter().any(|heard| heard.headers["webhook-attempt"] == "2"),
        "attempts are counted on"
    );
    Ok(())
}

async fn what_is_disabled_waits_and_is_told_when_enabled(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    let spec = json!({ "title": "Plain", "http_method": "GET", "url": format!("{}/x/{{{{call_id}}}}", ear.url()) });
    let id = stage.create(spec).await?.profile.id;
    let tell = stage.named(&[&id], &[]).await?;
    stage.tell(&id, ProfileChanged::Disabled { by: "story".to_owned() }).await?;
    let refused = stage.named(&[&id], &[]).await.err().context("it is disabled")?;
    assert!(matches!(refused.downcast_ref(), Some(BadCallback::Disabled { .. })), "{refused}");
    stage.begin();
    for number in 0..10 {
        stage.happen(&format!("call-{number}"), Moment::CallEnd, &tell).await?;
    }
    let lane = delivery::lane_of_profile(&id);
    eventually("they wait", async || Ok((noted(&stage.bus, &id).await?.len() >= 10).then_some(()))).await?;
    assert_eq!(ear.heard().len(), 0, "nothing is sent to {lane}");
    stage.tell(&id, ProfileChanged::Enabled { by: "story".to_owned() }).await?;
    hears(&ear, 10).await?;
    // It says that it is gone: it is disabled by itself, and what comes waits until it is enabled.
    ear.behave(|_| 410);
    stage.happen("call-gone", Moment::CallEnd, &tell).await?;
    let disabled = async || {
        let profile = stage.profiles.find(&id).await?;
        Ok((profile.status == Status::AutoDisabled).then_some(profile))
    };
    let profile = eventually("it is disabled by itself", disabled).await?;
    assert_eq!(profile.cause.as_deref(), Some("it answers 410"));
    stage.named(&[&id], &[]).await.context("calls may name it: they are told when it answers")?;
    stage.happen("call-later", Moment::CallEnd, &tell).await?;
    ear.behave(|_| 200);
    stage.tell(&id, ProfileChanged::Enabled { by: "story".to_owned() }).await?;
    hears(&ear, 12).await?;
    assert_eq!(stage.profiles.find(&id).await?.status, Status::Active);
    stage.end().await
}

async fn who_does_not_answer_is_seen_until_he_does(place: Place) -> Result<()> {
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    let spec = json!({ "title": "Plain", "http_method": "GET", "url": format!("{}/x/{{{{call_id}}}}", ear.url()) });
    let id = stage.create(spec).await?.profile.id;
    let tell = stage.named(&[&id], &[]).await?;
    // As a process leaves it that was killed when it had just written this down.
    let broke = DeliveryNoted::Broke { group: Share::WHOLE, cause: "it answers 500".to_owned(), gone: false };
    let (destination, partition) = (delivery::lane_of_profile(&id), Share::WHOLE.first());
    let event = Event {
        id: EventId::of(&["story", "broke"]),
        subject: Subject::Delivery { destination, partition },
        about: String::new(),
        source: "delivery".to_owned(),
        time: Clock::System.now(),
        extra: Vec::new(),
        data: serde_json::to_vec(&broke)?.into(),
    };
    stage.bus.append(&event, None).await?;
    // A broker gives the work to nobody while there is none.
    stage.happen("call-0", Moment::CallStart, &[]).await?;
    stage.begin();
    let is = async |status: Status| Ok((stage.profiles.find(&id).await?.status == status).then_some(()));
    eventually("it is said that it does not answer", async || is(Status::AutoDisabled).await).await?;
    stage.happen("call-1", Moment::CallEnd, &tell).await?;
    hears(&ear, 1).await?;
    eventually("it answers again", async || is(Status::Active).await).await?;
    stage.end().await
}

async fn noted(bus: &Bus, id: &ProfileId) -> Result<Vec<DeliveryNoted>> {
    let mut events = bus.events(&Filter::Deliveries(delivery::lane_of_profile(id)), 0);
    let mut noted = Vec::new();
    while let Some(next) = events.next().await? {
        let one: DeliveryNoted = serde_json::from_slice(&next.event.data)?;
        if matches!(one, DeliveryNoted::Queued { .. }) {
            noted.push(one);
        }
    }
    Ok(noted)
}

fn with_a_token(ear: &Ear) -> Value {
    let auth = json!({
        "type": "bearer",
        "token_url": format!("{}/token", ear.url()),
        "client_id": "callbus",
        "client_secret": "s3cret&",
        "scope": "calls read",
    });
    let url = format!("{}/x/{{{{call_id}}}}", ear.url());
    json!({ "title": "With a token", "http_method": "GET", "url": url, "auth": auth })
}

/// It is good for an hour, and fetched anew a minute before: nobody refuses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_fetched_again_before_it_runs_out() -> Result<()> {
    let place = Place::embedded()?;
    let clock = Clock::fixed(Clock::System.now());
    let mut stage = Stage::open_with(&place, clock.clone()).await?;
    let ear = Ear::start().await?;
    let saved = stage.create(with_a_token(&ear)).await?;
    let tell = stage.named(&[&saved.profile.id], &[]).await?;
    stage.begin();
    for (number, (passed_secs, tokens)) in [(0, 1), (3_539, 1), (1, 2), (3_539, 2), (1, 3)].into_iter().enumerate() {
        clock.advance(Duration::from_secs(passed_secs));
        stage.happen(&format!("call-{number}"), Moment::CallEnd, &tell).await?;
        hears(&ear, number + 1).await?;
        assert_eq!(ear.tokens(), tokens, "at call {number}");
        assert_eq!(ear.taken()[number].headers["authorization"], format!("Bearer token-{tokens}"));
    }
    stage.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_fetched_once_for_all_and_again_when_it_is_refused() -> Result<()> {
    let place = Place::embedded()?;
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    let saved = stage.create(with_a_token(&ear)).await?;
    assert!(!serde_json::to_string(&saved.profile.put)?.contains("s3cret"), "{:?}", saved.profile.put);
    let tell = stage.named(&[&saved.profile.id], &[]).await?;
    let admits =
        |token: &'static str| move |heard: &Heard| if heard.headers["authorization"] == token { 200 } else { 401 };
    ear.behave(admits("Bearer token-1"));
    stage.begin();
    for number in 0..20 {
        stage.happen(&format!("call-{number}"), Moment::CallEnd, &tell).await?;
    }
    hears(&ear, 20).await?;
    assert_eq!(ear.tokens(), 1);
    ear.behave(admits("Bearer token-2"));
    for number in 20..40 {
        stage.happen(&format!("call-{number}"), Moment::CallEnd, &tell).await?;
    }
    hears(&ear, 40).await?;
    assert_eq!(ear.tokens(), 2);
    let attempts: Vec<_> = ear.taken().iter().map(|heard| heard.headers["webhook-attempt"].clone()).collect();
    assert!(attempts.iter().all(|attempt| attempt == "1"), "a token that ran out costs no attempt: {attempts:?}");
    stage.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_private_is_refused_when_saved_shown_and_told() -> Result<()> {
    let place = Place::embedded()?;
    let mut stage = Stage::open(&place).await?;
    let ear = Ear::start().await?;
    let spec = |url: String| read(json!({ "title": "Private", "http_method": "GET", "url": url }));
    let settings = OutboundSettings { allow: Vec::new(), plain_http: true, user_agent: "callbus/test".to_owned() };
    let public = Outbound::new(settings)?;
    let refused =
        stage.profiles.create(&public, "SG", &spec(ear.url())?, "story").await.err().context("it is private")?;
    assert!(refused.to_string().contains("loopback") && refused.to_string().contains("[outbound] allow"), "{refused}");
    let saved = stage.profiles.create(&stage.outbound, "SG", &spec(ear.url())?, "story").await?;
    let facts = CallFacts::default();
    let shown = delivery::preview_profile(&public, &saved.profile.put, "call", Moment::CallEnd, &facts).await;
    assert!(shown.err().context("it is private")?.to_string().contains("loopback"));
    let parameter = json!({ "call_end": { "url": [ear.url()] } });
    let named = callback::parse(&parameter.to_string(), Family::Outbound)?;
    let refused = callback::resolve(named.clone(), &BTreeMap::new(), &public).err().context("it is private")?;
    assert!(refused.to_string().contains("loopback"), "{refused}");
    // Named while it was allowed: what counts is what is allowed when it is told.
    let tell = callback::resolve(named, &BTreeMap::new(), &stage.outbound)?;
    stage.outbound = public;
    stage.begin();
    stage.happen("call-1", Moment::CallStart, &tell[&Moment::CallEnd]).await?;
    let lane = async || {
        let mut events = stage.bus.events(&Filter::All(Stream::Deliveries), 0);
        while let Some(next) = events.next().await? {
            if let Ok(DeliveryNoted::Failed { cause, .. }) = serde_json::from_slice(&next.event.data) {
                return Ok(Some(cause));
            }
        }
        Ok(None)
    };
    let cause = eventually("it failed", lane).await?;
    assert!(cause.contains("loopback"), "{cause}");
    stage.end().await?;
    assert_eq!(ear.heard().len(), 0);
    Ok(())
}

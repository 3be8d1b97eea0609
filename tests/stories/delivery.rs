//! Events of calls reach those who are to hear of them: signed, in order, at least once, whatever happens.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use bus::{Bus, Clock};
use delivery::{DestinationSpec, Dispatch, DispatchError, Register, RegisterError};
use outbound::{Outbound, OutboundSettings};
use proto::{
    AppName, CallId, DeliveryNoted, DestinationChanged, DestinationName, Event, EventId, Filter, Kind, Partition,
    Stream, Subject,
};
use serde_json::{Value, json};
use tests::eventually;
use tests::receiver::{Receiver, Reply};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bus::{Place, contract};

pub(crate) mod crm;
mod faults;
mod processes;
mod verifies;

contract!(
    what_is_settled_is_heard_of_signed_and_once,
    nothing_is_lost_on_a_receiver_that_comes_and_goes,
    who_takes_over_goes_on_where_it_was_left,
    a_backlog_waits_in_the_log,
    what_comes_while_a_secret_is_missing_waits,
    one_put_again_under_its_name_hears_of_what_comes_after,
    one_put_again_while_its_deliveries_wait_gets_none_of_them,
    the_secrets_of_what_is_removed_are_forgotten,
);

/// Delivery in this process, on a log of its own.
struct Post {
    bus: Bus,
    clock: Clock,
    register: Register,
    outbound: Outbound,
    running: JoinSet<Result<(), DispatchError>>,
    stop: CancellationToken,
    events: u64,
}

fn outbound(allow: &[&str]) -> Result<Outbound> {
    let allow = allow.iter().map(|network| network.parse()).collect::<Result<_, _>>()?;
    Ok(Outbound::new(OutboundSettings { allow, plain_http: true, user_agent: "callbus/test".to_owned() })?)
}

impl Post {
    async fn open(place: &Place) -> Result<Self> {
        Self::open_with(place, outbound(&["127.0.0.0/8"])?, Clock::System).await
    }

    async fn open_with(place: &Place, outbound: Outbound, clock: Clock) -> Result<Self> {
        let bus = place.open().await?;
        let (stop, running) = (CancellationToken::new(), JoinSet::new());
        let register = Register::new(bus.clone(), clock.clone());
        Ok(Self { bus, clock, register, outbound, running, stop, events: 0 })
    }

    fn begin(&mut self) {
        self.begin_with(self.outbound.clone());
    }

    fn begin_with(&mut self, outbound: Outbound) {
        self.stop = CancellationToken::new();
        let dispatch = Dispatch::new(self.bus.clone(), outbound, self.clock.clone());
        self.running.spawn(dispatch.run(self.stop.clone()));
    }

    async fn end(&mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// A destination where the receiver is, with more in its specification.
    async fn put(&self, name: &str, receiver: &Receiver, more: Value) -> Result<()> {
        self.put_at(name, receiver, &receiver.url(), more).await
    }

    /// The same by another way to it.
    async fn put_at(&self, name: &str, receiver: &Receiver, url: &str, more: Value) -> Result<()> {
        let spec = spec(url, more)?;
        let put = self.register.put(&self.outbound, &DestinationName::new(name)?, spec, "story").await?;
        receiver.trust(&put.made.context("a secret is made")?.reveal())
    }

    async fn tell(&self, name: &str, changed: DestinationChanged) -> Result<()> {
        Ok(self.register.tell(&DestinationName::new(name)?, changed).await?)
    }

    /// So many events, of as many calls.
    async fn happen(&mut self, count: u64, calls: u64) -> Result<()> {
        let mut events = Vec::new();
        for _ in 0..count {
            self.events += 1;
            events.push(settled(&format!("call-{}", self.events % calls), self.events)?);
        }
        Ok(self.bus.record(events).await?)
    }

    async fn noted(&self, name: &str) -> Result<Vec<DeliveryNoted>> {
        noted(&self.bus, name).await
    }
}

fn spec(url: &str, more: Value) -> Result<DestinationSpec> {
    let mut spec = json!({ "url": url, "kinds": ["settled"], "retry": { "table": [1, 1, 1, 1, 1, 1, 1, 1] } });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    Ok(serde_json::from_value(spec)?)
}

fn settled(call: &str, number: u64) -> Result<Event> {
    let call = CallId::new(call)?;
    Ok(Event {
        id: EventId::of(&["story", &number.to_string()]),
        subject: Subject::Call { kind: Kind::Settled, app: AppName::new("acme")?, partition: Partition::of(&call) },
        about: call.to_string(),
        source: "acme".to_owned(),
        time: Clock::System.now(),
        extra: Vec::new(),
        data: json!({ "number": number, "result": "ANSWERED" }).to_string().into(),
    })
}

async fn noted(bus: &Bus, name: &str) -> Result<Vec<DeliveryNoted>> {
    let mut events = bus.events(&Filter::Deliveries(DestinationName::new(name)?), 0);
    let mut noted = Vec::new();
    while let Some(next) = events.next().await? {
        noted.push(serde_json::from_slice(&next.event.data)?);
    }
    Ok(noted)
}

/// The causes of what failed or was given up.
fn causes(noted: &[DeliveryNoted]) -> BTreeSet<&str> {
    let cause = |noted| {
        if let &DeliveryNoted::Failed { ref cause, .. } | &DeliveryNoted::Dead { ref cause, .. } = noted {
            Some(cause.as_str())
        } else {
            None
        }
    };
    noted.iter().filter_map(cause).collect()
}

/// Waits for as long as it goes on: a busy machine is slow.
async fn hears(receiver: &Receiver, count: usize) -> Result<()> {
    loop {
        let before = receiver.taken().len();
        if before >= count {
            return Ok(());
        }
        let more = async || Ok((receiver.taken().len() > before).then_some(()));
        eventually(&format!("the receiver takes {count} events, beyond {before}"), more).await?;
    }
}

async fn what_is_settled_is_heard_of_signed_and_once(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let (posted, got, picky) = (Receiver::start().await?, Receiver::start().await?, Receiver::start().await?);
    post.put("posted", &posted, json!({ "headers": { "x-api-key": "s3cret" } })).await?;
    post.put("got", &got, json!({ "method": "GET" })).await?;
    post.put("picky", &picky, json!({ "when": "data.number == 7", "apps": ["acme"] })).await?;
    post.begin();
    post.happen(50, 5).await?;
    for receiver in [&posted, &got] {
        hears(receiver, 50).await?;
    }
    hears(&picky, 1).await?;
    post.end().await?;
    for receiver in [&posted, &got, &picky] {
        assert_eq!(receiver.judge(&[])?, 0, "nothing comes twice");
    }
    let one = posted.heard().remove(0);
    let event = one.event();
    assert_eq!(event["type"], "callbus.call.settled.v1");
    assert_eq!((&event["specversion"], &event["data"]["result"]), (&json!("1.0"), &json!("ANSWERED")));
    assert_eq!(event["sequence"], one.sequence.to_string());
    assert_eq!(one.headers["content-type"], "application/cloudevents+json");
    assert_eq!((&one.headers["x-api-key"], one.attempt), (&"s3cret".parse()?, 1));
    let one = got.heard().remove(0);
    assert!(one.method == "GET" && one.body.is_empty() && one.headers["ce-type"] == "callbus.call.settled.v1");
    assert_eq!(picky.heard()[0].event()["data"]["number"], 7);
    // The register names no secret, and what it says may be read by all.
    let shown = serde_json::to_string(&post.register.find(&DestinationName::new("posted")?).await?.put)?;
    assert!(!shown.contains("s3cret") && !shown.contains("whsec_"), "{shown}");
    Ok(())
}

async fn nothing_is_lost_on_a_receiver_that_comes_and_goes(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let mut count = 0;
    let receiver = Receiver::start_with(move |_| {
        count += 1;
        match count % 3 {
            0 => Reply::Status(503),
            1 => Reply::After(Duration::from_millis(5), 200),
            _ => Reply::Status(200),
        }
    })
    .await?;
    post.put("crm", &receiver, json!({})).await?;
    post.begin();
    post.happen(300, 20).await?;
    hears(&receiver, 300).await?;
    post.end().await?;
    assert_eq!(receiver.judge(&[])?, 0);
    let noted = post.noted("crm").await?;
    assert_eq!(noted.iter().filter(|noted| matches!(noted, DeliveryNoted::Delivered { .. })).count(), 300);
    Ok(())
}

async fn who_takes_over_goes_on_where_it_was_left(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let receiver = Receiver::start_with(|_| Reply::Status(500)).await?;
    post.put("crm", &receiver, json!({ "retry": { "table": [3, 3, 3, 3, 3, 3] } })).await?;
    post.begin();
    post.happen(20, 10).await?;
    eventually("all calls are tried", async || Ok((receiver.heard().len() >= 10).then_some(()))).await?;
    post.end().await?;
    let before = receiver.heard().len();
    receiver.behave(|_| Reply::Status(200));
    // Nothing new happens: what is open is enough to go on.
    post.begin();
    hears(&receiver, 20).await?;
    post.end().await?;
    assert_eq!(receiver.judge(&[])?, 0);
    assert!(receiver.heard()[before..].iter().any(|heard| heard.attempt == 2), "attempts are counted on");
    // And nothing is left to do.
    let heard = receiver.heard().len();
    post.begin();
    post.happen(1, 1).await?;
    hears(&receiver, 21).await?;
    post.end().await?;
    assert_eq!(receiver.heard().len(), heard + 1);
    Ok(())
}

async fn a_backlog_waits_in_the_log(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let (receiver, other) = (Receiver::start().await?, Receiver::start().await?);
    post.put("crm", &receiver, json!({ "concurrency_max": 64 })).await?;
    post.put("other", &other, json!({ "concurrency_max": 64 })).await?;
    post.tell("crm", DestinationChanged::Paused { by: "story".to_owned() }).await?;
    post.begin();
    post.happen(2_500, 100).await?;
    hears(&other, 2_500).await?;
    eventually("everything is done", async || {
        let end = post.bus.last_seq(&Filter::All(Stream::Calls)).await?;
        Ok((delivery::floor(&post.bus).await? >= end).then_some(()))
    })
    .await?;
    assert_eq!(receiver.heard().len(), 0);
    let waiting = post.noted("crm").await?.len();
    assert!(waiting < 2_000, "{waiting} events for what waits");
    post.end().await?;
    post.begin();
    post.tell("crm", DestinationChanged::Resumed { by: "story".to_owned() }).await?;
    hears(&receiver, 2_500).await?;
    post.happen(10, 100).await?;
    hears(&receiver, 2_510).await?;
    post.end().await?;
    assert_eq!((receiver.judge(&[])?, other.judge(&[])?), (0, 0));
    Ok(())
}

/// A receiver that behaves so, and what is noted of a delivery to it until it is given up.
async fn given_up(behave: impl FnMut(&tests::receiver::Heard) -> Reply + Send + 'static) -> Result<Vec<DeliveryNoted>> {
    let receiver = Receiver::start_with(behave).await?;
    let place = Place::embedded()?;
    let mut post = Post::open(&place).await?;
    post.put("crm", &receiver, json!({ "retry": { "table": [1] }, "timeout_secs": 1 })).await?;
    post.begin();
    post.happen(1, 1).await?;
    let noted = eventually("it is given up", async || {
        let noted = post.noted("crm").await?;
        Ok(noted.iter().any(|noted| matches!(noted, DeliveryNoted::Dead { .. })).then_some(noted))
    })
    .await?;
    post.end().await?;
    Ok(noted)
}

#[tokio::test]
async fn whatever_a_receiver_does_its_cause_is_noted() -> Result<()> {
    let elsewhere = Receiver::start().await?;
    let url = elsewhere.url();
    let redirected = given_up(move |_| Reply::With(302, "location", url.clone())).await?;
    assert_eq!(causes(&redirected), BTreeSet::from(["it answers 302"]));
    assert!(elsewhere.heard().is_empty(), "redirects are not followed");
    let slow = given_up(|_| Reply::After(Duration::from_secs(5), 200)).await?;
    assert!(causes(&slow).iter().all(|cause| cause.contains("no answer within 1s")), "{slow:?}");
    let wrong = given_up(|_| Reply::Status(400)).await?;
    assert_eq!(wrong.iter().filter(|noted| matches!(noted, DeliveryNoted::Attempted { .. })).count(), 2);
    Ok(())
}

#[tokio::test]
async fn what_is_private_is_refused_when_saved_and_when_sent() -> Result<()> {
    let receiver = Receiver::start().await?;
    let place = Place::embedded()?;
    let mut post = Post::open(&place).await?;
    let name = DestinationName::new("crm")?;
    let public = outbound(&[])?;
    for url in [receiver.url(), receiver.url().replace("127.0.0.1", "localhost")] {
        let refused = post.register.put(&public, &name, spec(&url, json!({}))?, "story").await;
        let Err(RegisterError::Bad(refused)) = refused else { anyhow::bail!("{url} was saved") };
        let said = refused.to_string();
        assert!(said.contains("loopback") && said.contains("[outbound] allow"), "{said}");
    }
    // Saved while its name led elsewhere: what counts is where it leads when it is sent.
    let url = receiver.url().replace("127.0.0.1", "localhost");
    let spec = spec(&url, json!({ "retry": { "table": [1] } }))?;
    post.register.put(&outbound(&["127.0.0.0/8", "::1/128"])?, &name, spec, "story").await?;
    post.begin_with(public);
    post.happen(1, 1).await?;
    let noted = eventually("it is given up", async || {
        let noted = post.noted("crm").await?;
        Ok(noted.iter().any(|noted| matches!(noted, DeliveryNoted::Dead { .. })).then_some(noted))
    })
    .await?;
    post.end().await?;
    assert!(causes(&noted).iter().all(|cause| cause.contains("loopback")), "{noted:?}");
    assert!(receiver.heard().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_secret_is_rotated_without_a_gap() -> Result<()> {
    let receiver = Receiver::start().await?;
    let place = Place::embedded()?;
    let mut post = Post::open(&place).await?;
    post.put("crm", &receiver, json!({})).await?;
    post.begin();
    post.happen(1, 1).await?;
    hears(&receiver, 1).await?;
    // The receiver still knows the old one only; then it knows both.
    let (_, secret) = post.register.rotate(&DestinationName::new("crm")?, None, "story").await?;
    let two = |heard: &tests::receiver::Heard| heard.headers["webhook-signature"].as_bytes().contains(&b' ');
    while !receiver.heard().iter().any(two) {
        post.happen(1, 1).await?;
        hears(&receiver, usize::try_from(post.events)?).await?;
    }
    receiver.trust(&secret.reveal())?;
    post.happen(1, 1).await?;
    hears(&receiver, usize::try_from(post.events)?).await?;
    // However often: what signs fits into a header.
    for _ in 0..10 {
        let (destination, secret) = post.register.rotate(&DestinationName::new("crm")?, None, "story").await?;
        receiver.trust(&secret.reveal())?;
        assert!(destination.put.keys.len() <= 5, "{:?}", destination.put.keys);
    }
    post.happen(1, 1).await?;
    hears(&receiver, usize::try_from(post.events)?).await?;
    post.end().await?;
    receiver.judge(&[]).map(drop)
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_not_saved() -> Result<()> {
    let place = Place::embedded()?;
    let post = Post::open(&place).await?;
    for headers in [
        json!({ "transfer-encoding": "chunked" }),
        json!({ "Connection": "close" }),
        json!({ "te": "trailers" }),
        json!({ "host": "example.com" }),
        json!({ "webhook-id": "1" }),
        json!({ "x key": "1" }),
        json!({ "X-Key": "1", "x-key": "2" }),
    ] {
        let spec = spec("http://127.0.0.1:9/", json!({ "headers": headers }))?;
        let put = post.register.put(&post.outbound, &DestinationName::new("crm")?, spec, "story").await;
        assert!(matches!(put, Err(RegisterError::Bad(_))), "{headers}");
    }
    Ok(())
}

/// The role sees both changes at once.
async fn one_put_again_while_its_deliveries_wait_gets_none_of_them(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let (old, new) = (Receiver::start_with(|_| Reply::Status(500)).await?, Receiver::start().await?);
    post.put("crm", &old, json!({})).await?;
    post.begin();
    post.happen(3, 3).await?;
    eventually("all three were tried", async || Ok((old.heard().len() >= 3).then_some(()))).await?;
    post.tell("crm", DestinationChanged::Removed { by: "story".to_owned() }).await?;
    post.put("crm", &new, json!({})).await?;
    post.happen(5, 5).await?;
    hears(&new, 5).await?;
    post.end().await?;
    // Nor after a takeover, which reads what was noted of them.
    post.begin();
    post.happen(1, 1).await?;
    hears(&new, 6).await?;
    post.end().await?;
    assert_eq!(new.judge(&[])?, 0);
    assert_eq!(new.taken(), (4..=9).collect());
    Ok(())
}

/// Nothing of the one before is left: neither what waited for it, nor how far it was.
async fn one_put_again_under_its_name_hears_of_what_comes_after(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let (old, new) = (Receiver::start_with(|_| Reply::Status(500)).await?, Receiver::start().await?);
    post.put("crm", &old, json!({})).await?;
    post.begin();
    post.happen(3, 3).await?;
    eventually("all three were tried", async || Ok((old.heard().len() >= 3).then_some(()))).await?;
    post.end().await?;
    let noted = post.noted("crm").await?.len();
    post.bus.set_checkpoint("delivery.crm", u64::try_from(noted)?).await?;
    post.tell("crm", DestinationChanged::Removed { by: "story".to_owned() }).await?;
    post.put("crm", &new, json!({})).await?;
    // Before anybody knows of it.
    post.happen(2, 2).await?;
    post.begin();
    hears(&new, 2).await?;
    post.happen(2, 2).await?;
    hears(&new, 4).await?;
    post.end().await?;
    assert_eq!(new.judge(&[])?, 0);
    assert_eq!(new.taken(), BTreeSet::from([4, 5, 6, 7]));
    Ok(())
}

/// As after a restore: secrets are in no backup.
async fn what_comes_while_a_secret_is_missing_waits(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let receiver = Receiver::start().await?;
    post.put("crm", &receiver, json!({})).await?;
    let name = DestinationName::new("crm")?;
    let key = post.register.find(&name).await?.put.keys.into_iter().next().context("a key")?.name;
    post.bus.put_secret(&key, "none".into()).await?;
    post.begin();
    post.happen(3, 2).await?;
    let waits = async || {
        let noted = post.noted("crm").await?;
        Ok((noted.iter().filter(|noted| matches!(noted, DeliveryNoted::Queued { .. })).count() == 3).then_some(()))
    };
    eventually("all three wait", waits).await?;
    assert!(receiver.heard().is_empty());
    let (_, secret) = post.register.rotate(&name, None, "story").await?;
    receiver.trust(&secret.reveal())?;
    eventually("all three are taken", async || Ok((receiver.taken().len() == 3).then_some(()))).await?;
    receiver.judge(&[])?;
    post.end().await
}

/// Whoever still sends has them at hand: what is on its way ends as it began.
async fn the_secrets_of_what_is_removed_are_forgotten(place: Place) -> Result<()> {
    let mut post = Post::open(&place).await?;
    let receiver = Receiver::start_with(|_| Reply::After(Duration::from_millis(500), 200)).await?;
    post.put("crm", &receiver, json!({ "headers": { "x-api-key": "s3cret" } })).await?;
    let name = DestinationName::new("crm")?;
    post.register.rotate(&name, None, "story").await?;
    let put = post.register.find(&name).await?.put;
    let names: Vec<String> = put.keys.into_iter().map(|key| key.name).chain(put.header_values).collect();
    assert_eq!(names.len(), 3, "two keys, and the values of the headers");
    let bus = post.bus.clone();
    let kept = async || {
        let mut kept = 0;
        for name in &names {
            kept += usize::from(bus.secret(name).await?.is_some());
        }
        anyhow::Ok(kept)
    };
    assert_eq!(kept().await?, 3);
    post.begin();
    post.happen(1, 1).await?;
    eventually("it is on its way", async || Ok((receiver.heard().len() == 1).then_some(()))).await?;
    post.tell("crm", DestinationChanged::Removed { by: "story".to_owned() }).await?;
    assert_eq!(kept().await?, 0);
    bus.forget_secret(&names[0]).await?;
    post.end().await?;
    receiver.judge(&[]).map(drop)
}

//! The broker knows who comes: each role may do its part and nothing else, and others subscribe under names of their
//! own.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt;
use futures::future::join_all;
use proto::Kind;
use serde_json::Value;
use tempfile::TempDir;
use tests::program::Subscriber;
use tests::world::{POLICY, WALLET};
use tests::{World, eventually};

use crate::calls::script;

/// A denied request is never answered.
const DENIED_AFTER: Duration = Duration::from_secs(1);

/// The key in a folder, and where the broker is.
fn key(world: &mut World, folder: &str) -> Result<(String, String)> {
    let (nats, _) = world.servers()?;
    Ok((fs::read_to_string(nats.key_of(folder).context("a broker with keys")?)?, nats.url()))
}

async fn come(seed: &str, url: &str, name: &str) -> Result<Client> {
    let options = ConnectOptions::with_nkey(seed.to_owned()).custom_inbox_prefix(format!("_INBOX_{name}"));
    Ok(options.request_timeout(Some(DENIED_AFTER)).connect(url).await?)
}

/// Whether the broker answers a request on this subject at all.
async fn is_answered(client: &Client, subject: &str, body: &str) -> bool {
    client.request(subject.to_owned(), body.to_owned().into()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_does_its_part_and_no_more() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    let stream_info = "$JS.API.STREAM.INFO.CALLS";
    let last_call = r#"{"last_by_subj":"calls.v1.>"}"#;
    for (user, may, may_not) in [
        (
            "ingress",
            vec![(stream_info, ""), ("calls.v1.unknown.acme.p00", "{}")],
            vec![
                ("wallets.v1.acme", "{}"),
                ("calls.v1.settled.acme.p00", "{}"),
                ("$JS.API.STREAM.MSG.GET.CALLS", last_call),
                ("$JS.API.STREAM.MSG.GET.WALLETS", r#"{"last_by_subj":"wallets.v1.>"}"#),
                ("$JS.API.STREAM.DELETE.CALLS", ""),
                ("$JS.API.STREAM.INFO.WALLETS", ""),
            ],
        ),
        (
            "worker",
            vec![("$JS.API.STREAM.INFO.WALLETS", ""), ("$JS.API.CONSUMER.INFO.CALLS.billing", "")],
            vec![
                ("wallets.v1.acme", "{}"),
                ("calls.v1.decided.acme.p00", "{}"),
                ("config.v1.list.allowed", "{}"),
                ("$JS.API.CONSUMER.MSG.NEXT.CALLS.billing", "1"),
                ("$JS.API.CONSUMER.DELETE.CALLS.billing", ""),
                ("$JS.API.STREAM.PURGE.WALLETS", ""),
            ],
        ),
        (
            "backup",
            vec![(stream_info, ""), ("$JS.API.STREAM.INFO.CONFIG", ""), ("$JS.API.CONSUMER.LIST.CALLS", "")],
            vec![
                ("wallets.v1.acme", "{}"),
                ("calls.v1.ice.acme.p00", "{}"),
                ("config.v1.list.allowed", "{}"),
                ("$JS.API.CONSUMER.MSG.NEXT.CALLS.billing", "1"),
                ("$JS.API.CONSUMER.DELETE.CALLS.billing", ""),
                ("$JS.API.STREAM.MSG.DELETE.CALLS", r#"{"seq":1}"#),
                ("$JS.API.STREAM.PURGE.WALLETS", ""),
            ],
        ),
        (
            "billing",
            vec![(stream_info, ""), ("$JS.API.STREAM.INFO.WALLETS", "")],
            vec![
                ("calls.v1.decided.acme.p00", "{}"),
                ("calls.v1.ice.acme.p00", "{}"),
                ("config.v1.policy.acme", "{}"),
                ("$JS.API.STREAM.MSG.GET.CONFIG", r#"{"last_by_subj":"config.v1.>"}"#),
                ("$JS.API.CONSUMER.DELETE.CALLS.emit-dice", ""),
            ],
        ),
        (
            "api",
            vec![(stream_info, "")],
            vec![("wallets.v1.acme", "{}"), ("calls.v1.decided.acme.p00", "{}"), ("$JS.API.STREAM.DELETE.WALLETS", "")],
        ),
    ] {
        let (seed, url) = key(&mut world, user)?;
        let client = come(&seed, &url, user).await?;
        for (subject, body) in may {
            ensure!(is_answered(&client, subject, body).await, "{user} must be answered on {subject}");
        }
        let asks = may_not.iter().map(|(subject, body)| is_answered(&client, subject, body));
        for (answered, (subject, _)) in join_all(asks).await.into_iter().zip(&may_not) {
            ensure!(!answered, "{user} must not be answered on {subject}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provisioning_again_changes_nothing() -> Result<()> {
    let world = World::nats(POLICY).await?;
    let planned = world.provision(&["--dry-run", "--json"])?;
    let planned: Vec<Value> = serde_json::from_str(&planned)?;
    ensure!(planned.len() >= 9, "{planned:?}");
    ensure!(planned.iter().all(|piece| piece["state"] == "there"), "{planned:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_subscribe_with_a_key_of_their_own() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(31)?;
    let first = platform.call(script(tests::world::ALLOWED)).await;
    world.cdr(&first.call).await?;

    let keys = world.servers()?.0.keys().display().to_string();
    world.consumer(&["add", "crm2", "--kinds", "dice,decided", "--from", "beginning", "--keys", &keys])?;
    world.servers()?.0.reload()?;
    let (seed, url) = key(&mut world, "consumers/crm2")?;
    let client = eventually("the broker knows crm2", async || Ok(come(&seed, &url, "crm2").await.ok())).await?;
    let consumer = pull_consumer(&client, "crm2").await?;
    let mut events = consumer.messages().await?;
    let mut next = async || -> Result<Message> {
        let message = tokio::time::timeout(Duration::from_secs(10), events.next()).await?.context("an event")?;
        Ok(message?)
    };

    // From the beginning, these kinds only, with what an event is in its headers.
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let event = next().await?;
        let header = |name| event.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.to_string());
        ensure!(header("ce-subject").as_deref() == Some(first.call.as_str()), "{event:?}");
        kinds.push(header("ce-type").context("its type")?);
        event.ack().await.map_err(|error| anyhow::anyhow!(error))?;
    }
    kinds.sort();
    assert_eq!(kinds, ["callbus.call.decided.v1", "callbus.call.decided.v1", "callbus.call.dice.v1"]);

    // And no more than that.
    let other = is_answered(&client, "$JS.API.CONSUMER.MSG.NEXT.CALLS.billing", "1");
    let all = is_answered(&client, "$JS.API.CONSUMER.CREATE.CALLS", r#"{"stream_name":"CALLS","config":{}}"#);
    ensure!((other.await, all.await) == (false, false), "a subscriber pulls from its own consumer only");

    // What it refuses for good is a dead letter, and comes again once it is set back.
    let second = platform.call(script("+15550000000")).await;
    assert_eq!(second.callbacks(), [Kind::Ice, Kind::Dice]);
    let refused = next().await?;
    let seq = refused.info().map_err(|error| anyhow::anyhow!(error))?.stream_sequence;
    refused.ack_with(AckKind::Term).await.map_err(|error| anyhow::anyhow!(error))?;
    eventually("the dead letter is listed", async || {
        let letters: Vec<Value> = serde_json::from_str(&world.consumer(&["dead", "crm2", "--json"])?)?;
        let there = |letter: &Value| letter["seq"] == seq && letter["id"].is_string() && letter["reason"] == "refused";
        Ok(letters.iter().any(there).then_some(()))
    })
    .await?;
    let listed: Vec<Value> = serde_json::from_str(&world.consumer(&["ls", "--json"])?)?;
    ensure!(listed.iter().any(|consumer| consumer["name"] == "crm2"), "{listed:?}");
    world.consumer(&["rewind", "crm2", "--to", &seq.to_string()])?;
    let left: Vec<Value> = serde_json::from_str(&world.consumer(&["dead", "crm2", "--json"])?)?;
    ensure!(left.is_empty(), "what comes again is no dead letter: {left:?}");
    loop {
        let again = next().await?;
        let came = again.info().map_err(|error| anyhow::anyhow!(error))?.stream_sequence;
        again.ack().await.map_err(|error| anyhow::anyhow!(error))?;
        if came == seq {
            break;
        }
    }

    world.consumer(&["add", "crm2", "--kinds", "decided,dice"])?;
    ensure!(world.consumer(&["add", "crm2", "--kinds", "dice"]).is_err(), "it reads something else");
    ensure!(world.consumer(&["add", "crm3", "--from", "0"]).is_err(), "the log begins with 1");
    ensure!(world.consumer(&["add", "crm3", "--from", "999999"]).is_err(), "the log does not go that far");
    world.consumer(&["rm", "crm2", "--keys", &keys])?;
    ensure!(world.consumer(&["dead", "crm2"]).is_err(), "it is gone");
    ensure!(world.consumer(&["add", "billing"]).is_err(), "callbus's own names are taken");
    Ok(())
}

/// One of two programs dies with what it was handed, and comes again. Between them they hear of every event, and each
/// of the whole of a call, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_share_the_calls_hear_of_each_in_order() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "100000").await?;
    let keys = world.servers()?.0.keys().display().to_string();
    let names = ["crm-1", "crm-2"];
    for (name, share) in names.iter().zip(["1/2", "2/2"]) {
        world.consumer(&[
            "add",
            name,
            "--kinds",
            "ice,dice,settled",
            "--share",
            share,
            "--from",
            "beginning",
            "--keys",
            &keys,
        ])?;
    }
    world.servers()?.0.reload()?;
    let mut listeners = Vec::new();
    for name in names {
        let (seed, url) = key(&mut world, &format!("consumers/{name}"))?;
        let client = eventually("the broker knows it", async || Ok(come(&seed, &url, name).await.ok())).await?;
        listeners.push(pull_consumer(&client, name).await?);
    }

    let platform = world.platform(33)?;
    let calls = join_all((0..40).map(|_| platform.call(script(tests::world::ALLOWED)))).await;
    let unheard = listeners[0].fetch().max_messages(20).messages().await?;
    ensure!(unheard.count().await > 0, "it was handed something, and dies");
    world.consumer(&["rewind", "crm-1", "--to", "1"])?;

    let (mut heard, mut of) = (HashMap::<String, Vec<u64>>::new(), HashMap::new());
    while heard.values().map(Vec::len).sum::<usize>() < calls.len() * 3 {
        for (nth, listener) in listeners.iter().enumerate() {
            let mut handed = listener.fetch().max_messages(50).messages().await?;
            while let Some(event) = handed.next().await {
                let event = event.map_err(|error| anyhow::anyhow!(error))?;
                let call = event.headers.as_ref().and_then(|headers| headers.get("ce-subject")).context("a call")?;
                let seq = event.info().map_err(|error| anyhow::anyhow!(error))?.stream_sequence;
                ensure!(*of.entry(call.to_string()).or_insert(nth) == nth, "{call} came to both");
                heard.entry(call.to_string()).or_default().push(seq);
                event.ack().await.map_err(|error| anyhow::anyhow!(error))?;
            }
        }
    }
    ensure!(heard.values().all(|seqs| seqs.len() == 3 && seqs.is_sorted()), "{heard:?}");
    ensure!((0..2).all(|nth| of.values().any(|other| *other == nth)), "one has them all");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_in_three_languages_hear_of_every_call() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "100").await?;
    let (url, keys) = (world.servers()?.0.url(), world.servers()?.0.keys());
    for subscriber in Subscriber::ALL {
        let folder = keys.display().to_string();
        world.consumer(&["add", subscriber.name(), "--kinds", "settled", "--from", "beginning", "--keys", &folder])?;
    }
    world.servers()?.0.reload()?;
    let key = |subscriber: Subscriber| keys.join("consumers").join(subscriber.name()).join("nkey");
    let (seed, known) = (fs::read_to_string(key(Subscriber::JavaScript))?, Subscriber::JavaScript.name());
    eventually("the broker knows them", async || Ok(come(&seed, &url, known).await.ok())).await?;

    let platform = world.platform(32)?;
    let told = |call: &str| format!("callbus.call.settled.v1 of {call}: \"ANSWERED\"");
    let (logs, mut calls) = (TempDir::new()?, Vec::new());
    for nth in 0..2 {
        // The second time they go on where the first were killed.
        let call = platform.call(script(tests::world::ALLOWED)).await.call;
        world.cdr(&call).await?;
        calls.push(call);
        for subscriber in Subscriber::ALL {
            let running = subscriber.start(&url, &key(subscriber), logs.path(), nth)?;
            let expected = told(calls[nth].as_str());
            eventually("it has heard of the call", async || Ok(running.said()?.contains(&expected).then_some(())))
                .await?;
            let earlier = calls[..nth].iter().any(|call| running.said().is_ok_and(|said| said.contains(call.as_str())));
            ensure!(!earlier, "{subscriber:?} hears again of what it has acknowledged");
            eventually("it has acknowledged", async || {
                let listed: Vec<Value> = serde_json::from_str(&world.consumer(&["ls", "--json"])?)?;
                let consumer = listed.into_iter().find(|consumer| consumer["name"] == subscriber.name());
                let is_level = |consumer: &Value| consumer["pending"] == 0 && consumer["unacknowledged"] == 0;
                Ok(consumer.is_some_and(|consumer| is_level(&consumer)).then_some(()))
            })
            .await?;
            running.kill();
        }
    }
    Ok(())
}

/// As a subscriber finds it: it may not list or look at anything else.
async fn pull_consumer(client: &Client, name: &str) -> Result<PullConsumer> {
    let jetstream = jetstream::new(client.clone());
    Ok(jetstream.get_consumer_from_stream(name, "CALLS").await?)
}

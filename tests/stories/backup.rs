//! A copy of the log is taken while calls go on, everything is lost, and the calls go on.

use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use bus::{Backup, BackupError, Bus, Clock, ConsumerSpec, Manifest, Recorded, Subscription};
use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use proto::{CallId, Event, EventId, Filter, Kind, Partition, Stream, Subject, WalletId};
use serde_json::{Value, json};
use simulator::{CallResult, Ending, Reason, SignWith};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tests::nats::Nats;
use tests::world::{ALLOWED, POLICY, WALLET, now};
use tests::{World, eventually};
use tokio::task::JoinSet;

use crate::calls::{script, stories};

stories! {
    super::POLICY => everything_is_lost_and_the_calls_go_on,
}

const ANSWERED: Ending = Ending { result: CallResult::Answered, reason: Reason::CallerHangup };
const ROLES_ON_SERVERS: [&str; 5] = ["billing", "worker-1", "worker-2", "ingress-1", "api"];

#[track_caller]
fn done(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

async fn everything_is_lost_and_the_calls_go_on(mut world: World) -> Result<()> {
    world.top_up(WALLET, "1000").await?;
    let platform = Arc::new(world.platform(51)?);
    for _ in 0..3 {
        world.cdr(&platform.call(script(ALLOWED)).await.call).await?;
    }
    let open = platform.facts(&script(ALLOWED));
    let answered = platform.send(open.ice(now()), SignWith::default()).await?;
    assert!(String::from_utf8_lossy(&answered.body).contains("connectPstn"));

    // Copies while calls go on; each run goes on from the one before.
    let (stop, mut copies) = (Arc::new(AtomicBool::new(false)), Vec::new());
    let (calling, until) = (Arc::clone(&platform), Arc::clone(&stop));
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        let mut calls = 0;
        while !until.load(Ordering::Relaxed) {
            calling.call(script(ALLOWED)).await;
            calls += 1;
        }
        calls
    });
    for _ in 0..3 {
        let copy = world.callbus_as("backup", &["backup", "copy", "--json"])?;
        done(&copy);
        let manifest: Value = serde_json::from_slice(&copy.stdout)?;
        copies.push(manifest["streams"]["CALLS"]["events"].as_u64().context("a count")?);
    }
    assert!(copies.is_sorted() && copies[0] > 0, "{copies:?}");
    done(&world.callbus_as("backup", &["restore", "copy", "--drill"])?);
    stop.store(true, Ordering::Relaxed);
    assert!(calls.join_next().await.context("the calls")?? > 0);
    world.billing_caught_up().await?;
    let before = eventually("only the open call is held", async || {
        let facts = world.wallet(WALLET).await?.facts();
        Ok((facts.held.to_string() == "12").then_some(facts))
    })
    .await?;
    let said = done(&world.callbus_as("backup", &["backup", "copy"])?)
        + &done(&world.callbus_as("backup", &["restore", "copy", "--drill"])?);
    assert!(!said.contains("DIFFERS") && said.contains("0 failed"), "{said}");

    if !world.is_embedded() {
        let refused = world.callbus_as("restore", &["restore", "copy"])?;
        assert!(String::from_utf8_lossy(&refused.stderr).contains("Redis knows wallets"), "{refused:?}");
    }
    world.lose_everything()?;
    done(&world.callbus_as("restore", &["restore", "copy"])?);
    let again = world.callbus_as("restore", &["restore", "copy"])?;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("restore into an empty log"), "{again:?}");
    if world.is_embedded() {
        world.start("all")?;
    } else {
        world.provision(&[])?;
        for role in ROLES_ON_SERVERS {
            world.start(role)?;
        }
    }
    assert_eq!(world.wallet(WALLET).await?.facts(), before);

    let platform = world.platform(52)?;
    let report = eventually("calls are answered", async || {
        let report = platform.call(script(ALLOWED)).await;
        Ok((report.answers()[0].action.name() == "connectPstn").then_some(report))
    })
    .await?;
    assert!(!world.cdr(&report.call).await?.legs.is_empty());
    platform.send(open.dice(now(), ANSWERED, Some(10)), SignWith::default()).await?;
    platform.send(open.dice(now(), ANSWERED, Some(10)), SignWith::default()).await?;
    let cdr = world.cdr(&open.call).await?;
    assert_eq!((cdr.legs.len(), cdr.legs[0].cost.to_string().as_str(), cdr.unmatched), (1, "0.2", false));
    world.billing_caught_up().await?;
    let wallet = eventually("nothing is held any more", async || {
        let wallet = world.wallet(WALLET).await?;
        Ok((wallet.facts().held.to_string() == "0").then_some(wallet))
    })
    .await?;
    let charged: rust_decimal::Decimal = cdr.legs[0].cost + world.cdr(&report.call).await?.legs[0].cost;
    let posted = |facts: &money::WalletFacts| facts.posted.to_string().parse::<rust_decimal::Decimal>();
    assert_eq!(posted(&wallet.facts())?, posted(&before)? - charged);
    done(&world.callbus(&["wallet", "verify", "--all"])?);
    done(&world.callbus(&["log", "verify"])?);

    // The copy still goes on: what was restored is the same log.
    done(&world.callbus_as("backup", &["backup", "copy"])?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_after_the_backup_comes_from_the_spools() -> Result<()> {
    let mut world = World::nats(POLICY).await?;
    world.top_up(WALLET, "1000").await?;
    let platform = world.platform(53)?;
    world.cdr(&platform.call(script(ALLOWED)).await.call).await?;
    world.billing_caught_up().await?;
    done(&world.callbus_as("backup", &["backup", "copy"])?);
    let mut after = Vec::new();
    for _ in 0..5 {
        let call = platform.call(script(ALLOWED)).await.call;
        after.push(world.cdr(&call).await?);
    }
    world.billing_caught_up().await?;
    let before = world.wallet(WALLET).await?.facts();
    world.stop()?;

    let (nats, redis) = world.servers()?;
    nats.lose_everything()?;
    nats.restart()?;
    redis.restart()?;
    done(&world.callbus_as("restore", &["restore", "copy"])?);
    world.provision(&[])?;
    assert_ne!(world.wallet(WALLET).await?.facts(), before, "the backup is older");
    for role in ROLES_ON_SERVERS {
        world.start(role)?;
    }
    for cdr in &after {
        assert_eq!(world.cdr(&cdr.call).await?.legs, cdr.legs);
    }
    eventually("the wallet is what it was", async || Ok((world.wallet(WALLET).await?.facts() == before).then_some(())))
        .await?;
    done(&world.callbus(&["wallet", "verify", "--all"])?);
    Ok(())
}

fn call(text: &str) -> Result<Event> {
    let call = CallId::new(text)?;
    Ok(Event {
        id: EventId::of(&[text]),
        subject: Subject::Call { kind: Kind::Ice, app: "acme".parse()?, partition: Partition::of(&call) },
        about: text.to_owned(),
        source: "acme".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        extra: vec![("sinchpath".to_owned(), "/a path".to_owned()), ("sinchmethod".to_owned(), "POST".to_owned())],
        data: Bytes::from(format!("{{ \"event\" : \"ice\", \"callid\" : \"{text}\"}}")),
    })
}

async fn whole(bus: &Bus, stream: Stream) -> Result<Vec<Recorded>> {
    let mut all: Vec<Recorded> = bus.read(&Filter::All(stream), 0).try_collect().await?;
    all.iter_mut().for_each(|recorded| recorded.event.extra.sort_unstable());
    Ok(all)
}

async fn take(bus: &Bus, directory: &TempDir) -> Result<Manifest, BackupError> {
    Backup::take(bus, directory.path(), Clock::System.now(), billing::made_from_log, |_| {}).await
}

fn consumer(name: &str) -> ConsumerSpec {
    ConsumerSpec { always_worked: false, name: name.to_owned(), filter: Filter::All(Stream::Calls), max_in_flight: 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_moves_between_a_broker_and_a_file() -> Result<()> {
    let (nats, other) = (Nats::start()?, Nats::start()?);
    let (from, to) = (Bus::nats(nats.config("from")?).await?, Bus::nats(other.config("to")?).await?);
    // As it is after a broker's restart: an event twice; and something that is none.
    from.append(&call("a")?, None).await?;
    let client = async_nats::connect(nats.url()).await?;
    let mut headers = HeaderMap::new();
    call("a")?.headers().iter().for_each(|(name, value)| headers.insert(name.as_str(), value.as_str()));
    let jetstream = async_nats::jetstream::new(client);
    let subject = call("a")?.subject.to_string();
    jetstream.publish_with_headers(subject.clone(), headers, call("a")?.data).await?.await?;
    jetstream.publish(subject, "not an event".into()).await?.await?;
    for text in ["b", "c", "d"] {
        from.append(&call(text)?, None).await?;
    }
    let wallet = WalletId::new("w.1")?;
    from.append(&Event { subject: Subject::Wallet(wallet), ..call("posting")? }, Some(0)).await?;
    from.put_document("deck/eu@1", Bytes::from_static(b"prefix")).await?;
    from.put_document("wallet-snapshot.w%2E1", Bytes::from_static(b"made from the log")).await?;
    from.set_checkpoint("billing", 4).await?;
    from.restart_consumer(&consumer("billing"), 4).await?;
    let crm = Subscription {
        name: "crm".to_owned(),
        kinds: vec![Kind::Ice],
        share: proto::Share::WHOLE,
        begin: bus::Begin::At(5),
    };
    from.subscribe(&crm).await?;
    // A stranger's, of another stream: it is not ours to bring back, and not of the calls.
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    let audit = pull::Config { durable_name: Some("audit".to_owned()), ..pull::Config::default() };
    jetstream.create_consumer_on_stream(audit, "WALLETS").await?;

    let copy = tempfile::tempdir()?;
    let manifest = take(&from, &copy).await?;
    assert_eq!((manifest.extent(Stream::Calls).events, manifest.extent(Stream::Calls).last_seq), (4, 6));
    let file = tempfile::tempdir()?;
    let embedded = Bus::embedded(file.path())?;
    Backup::open(copy.path())?.restore(&embedded, &[consumer("billing")], workers::document_of, |_| {}).await?;
    let calls = whole(&embedded, Stream::Calls).await?;
    assert_eq!(calls.iter().map(|it| it.seq).collect::<Vec<_>>(), [1, 4, 5, 6]);
    assert_eq!(embedded.consumer_floor(&Filter::All(Stream::Calls), "billing").await?, 4);
    assert!(embedded.append(&call("c")?, None).await?.duplicate);

    // And back into another broker, from the file.
    let second = tempfile::tempdir()?;
    take(&embedded, &second).await?;
    Backup::open(second.path())?.restore(&to, &[consumer("billing")], workers::document_of, |_| {}).await?;
    for stream in Stream::ALL {
        assert_eq!(whole(&to, stream).await?, whole(&embedded, stream).await?);
    }
    let document = to.document("deck/eu@1").await?.context("the document")?;
    assert_eq!(&document.bytes[..], b"prefix");
    assert_eq!(to.document("wallet-snapshot.w%2E1").await?, None);
    assert_eq!(to.checkpoint("billing").await?, Some(4));
    assert_eq!(to.append(&call("e")?, None).await?.seq, 7);
    assert!(Backup::open(copy.path())?.compare(&to).await?.iter().all(|stream| stream.difference.is_none()));
    assert!(Backup::open(copy.path())?.compare(&from).await?.iter().all(|stream| stream.difference.is_none()));

    // From broker to broker also the consumers of others go on.
    let third = Nats::start()?;
    let third = Bus::nats(third.config("third")?).await?;
    Backup::open(copy.path())?.restore(&third, &[consumer("billing")], workers::document_of, |_| {}).await?;
    let lags = third.lags().await?;
    let left = |name: &str| lags.iter().find(|lag| lag.name == name).map(|lag| lag.pending);
    assert_eq!((left("billing"), left("crm"), left("audit")), (Some(2), Some(2), None));

    // Of two at once one is told why it cannot go on, and the log is whole or said not to be.
    let last = Nats::start()?;
    let (one, two) = (Bus::nats(last.config("one")?).await?, Bus::nats(last.config("two")?).await?);
    let (ours, theirs) = (Backup::open(copy.path())?, Backup::open(copy.path())?);
    let (first, second) = tokio::join!(
        ours.restore(&one, &[], workers::document_of, |_| {}),
        theirs.restore(&two, &[], workers::document_of, |_| {}),
    );
    let loser = first.err().or(second.err()).context("one must lose")?;
    assert!(matches!(loser, BackupError::NotAlone(_) | BackupError::NotEmpty(_)), "{loser}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_is_refused() -> Result<()> {
    let (file, copy) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let log = Bus::embedded(file.path())?;
    for text in ["a", "b", "c"] {
        log.append(&call(text)?, None).await?;
    }
    assert!(matches!(Backup::open(copy.path()), Err(BackupError::None(_))));
    take(&log, &copy).await?;
    let of_three = fs::read(copy.path().join("backup.json"))?;
    log.append(&call("d")?, None).await?;
    take(&log, &copy).await?;

    // A run that did not end: the backup is what it was, and the next run goes on.
    fs::write(copy.path().join("backup.json"), &of_three)?;
    let backup = Backup::open(copy.path())?;
    backup.check(workers::document_of, |_| {}).await?;
    let scratch = tempfile::tempdir()?;
    let restored = Bus::embedded(scratch.path())?;
    backup.restore(&restored, &[], workers::document_of, |_| {}).await?;
    assert_eq!(whole(&restored, Stream::Calls).await?.len(), 3);
    assert_eq!(take(&log, &copy).await?.extent(Stream::Calls).events, 4);

    // Another log than the one that was copied.
    restored.append(&call("x")?, None).await?;
    let other = take(&restored, &copy).await.expect_err("another log");
    assert!(other.to_string().contains("CALLS has another event at sequence 4"), "{other}");
    let compared = Backup::open(copy.path())?.compare(&restored).await?;
    let calls = compared.iter().find(|compared| compared.stream == "CALLS").context("the calls")?;
    assert_eq!((calls.same, calls.difference.as_deref()), (3, Some("sequence 4 is another event, or none")));

    // One byte, one event less, half a file.
    for change in ["update calls set data = x'7b7d' where seq = 2", "delete from calls where seq = 3"] {
        let changed = copy_of(&copy)?;
        let url = format!("sqlite://{}", changed.path().join("log.db").display());
        let mut database = SqliteConnection::connect(&url).await?;
        sqlx::query(change).execute(&mut database).await?;
        database.close().await?;
        let scratch = tempfile::tempdir()?;
        let empty = Bus::embedded(scratch.path())?;
        let restored = Backup::open(changed.path())?.restore(&empty, &[], workers::document_of, |_| {}).await;
        let refused = restored.expect_err(change);
        assert!(matches!(&refused, BackupError::Damaged(why) if why.starts_with("CALLS")), "{refused}");
        assert_eq!(empty.last_seq(&Filter::All(Stream::Calls)).await?, 0);
    }
    let torn = copy_of(&copy)?;
    let path = torn.path().join("log.db");
    let half = fs::read(&path)?;
    fs::write(&path, &half[..half.len() / 2])?;
    let refused = match Backup::open(torn.path()) {
        Ok(backup) => backup.check(workers::document_of, |_| {}).await.expect_err("half a file"),
        Err(refused) => refused,
    };
    assert!(refused.to_string().contains("damaged"), "{refused}");
    let whole = copy_of(&copy)?;
    Backup::open(whole.path())?.check(workers::document_of, |_| {}).await?;
    Ok(())
}

/// Whatever lies in a directory that is no backup of this log may be the only one, and stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_no_backup_of_this_one_is_left_alone() -> Result<()> {
    let (ours, other, copy) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let log = Bus::embedded(ours.path())?;
    for text in ["a", "b", "c"] {
        log.append(&call(text)?, None).await?;
    }
    let refused = async |from: &Bus, directory: &TempDir, why: &str| -> Result<()> {
        let before = events_in(directory).await?;
        let refused = take(from, directory).await.expect_err(why).to_string();
        assert!(refused.contains(why) && refused.contains("name a directory that is empty"), "{refused}");
        assert_eq!(events_in(directory).await?, before);
        Ok(())
    };

    // The log itself, stopped, also by another name.
    drop(log);
    let source = Bus::embedded_read_only(ours.path())?;
    refused(&source, &ours, "it is the log itself").await?;
    let names = tempfile::tempdir()?;
    let link = names.path().join("link");
    std::os::unix::fs::symlink(ours.path(), &link)?;
    let again = Backup::take(&source, &link, Clock::System.now(), billing::made_from_log, |_| {}).await;
    assert!(again.is_err_and(|error| error.to_string().contains("it is the log itself")));
    // Another installation's.
    let bus = Bus::embedded(other.path())?;
    bus.append(&call("theirs")?, None).await?;
    drop(bus);
    refused(&source, &other, "a log.db and no backup.json").await?;
    // A backup that lost its manifest.
    take(&source, &copy).await?;
    let manifest = fs::read(copy.path().join("backup.json"))?;
    fs::remove_file(copy.path().join("backup.json"))?;
    refused(&source, &copy, "a log.db and no backup.json").await?;
    fs::write(copy.path().join("backup.json"), manifest)?;
    // A backup somebody served from.
    let served = Bus::embedded(copy.path())?;
    served.append(&call("served")?, None).await?;
    drop(served);
    refused(&source, &copy, "an event of CALLS at sequence 4 that the log has not").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_run_that_broke_off_goes_on() -> Result<()> {
    let (file, copy) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let log = Bus::embedded(file.path())?;
    for nth in 0..700 {
        log.append(&call(&nth.to_string())?, None).await?;
    }
    log.put_document("deck/eu@1", Bytes::from_static(b"prefix")).await?;
    {
        let run = Backup::take(&log, copy.path(), Clock::System.now(), billing::made_from_log, |_| {});
        let mut run = std::pin::pin!(run);
        let begun = async {
            eventually("the first events are copied", async || {
                Ok((copy.path().join("log.db").exists() && !events_in(&copy).await?.is_empty()).then_some(()))
            })
            .await
        };
        tokio::select! {
            biased;
            begun = begun => begun?,
            ended = &mut run => drop(ended?),
        }
    }
    fs::write(copy.path().join("backup.json"), unfinished(&log).await?)?;
    assert!(matches!(Backup::open(copy.path()), Err(BackupError::None(_))));
    assert_eq!(take(&log, &copy).await?.extent(Stream::Calls).events, 700);
    Backup::open(copy.path())?.check(workers::document_of, |_| {}).await?;

    // A second run meanwhile hears what to do.
    let held = Bus::embedded(copy.path())?;
    let busy = take(&log, &copy).await.expect_err("busy");
    assert!(matches!(busy, BackupError::Busy(_)), "{busy}");
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_lacks_something_is_refused() -> Result<()> {
    let (file, copy) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let log = Bus::embedded(file.path())?;
    log.append(&call("a")?, None).await?;
    log.restart_consumer(&consumer("billing"), 1).await?;
    log.set_checkpoint("billing", 2).await?;
    let put = proto::PolicyPutInForce {
        revision: "r1".to_owned(),
        file: "policy.yaml".to_owned(),
        shadow: false,
        origin: proto::PolicyOrigin::Push,
        note: String::new(),
    };
    let data = Bytes::from(serde_json::to_vec(&put)?);
    log.append(&Event { subject: Subject::Policy("acme".parse()?), data, ..call("policy")? }, None).await?;
    take(&log, &copy).await?;
    let lacks = Backup::open(copy.path())?.check(workers::document_of, |_| {}).await.expect_err("no document");
    assert!(lacks.to_string().contains("names the document policy/r1"), "{lacks}");
    log.put_document("policy/r1", Bytes::from_static(b"{}")).await?;
    take(&log, &copy).await?;
    Backup::open(copy.path())?.check(workers::document_of, |_| {}).await?;

    let path = copy.path().join("backup.json");
    let manifest: Value = serde_json::from_slice(&fs::read(&path)?)?;
    for (part, another) in [
        ("/streams", json!({})),
        ("/consumers/0/floor", json!(9)),
        ("/checkpoints/billing", json!(9)),
        ("/documents", json!({})),
    ] {
        let mut changed = manifest.clone();
        *changed.pointer_mut(part).with_context(|| format!("{part} in {manifest}"))? = another;
        fs::write(&path, changed.to_string())?;
        assert!(matches!(Backup::open(copy.path()), Err(BackupError::Damaged(_))), "{part}");
    }
    fs::write(&path, manifest.to_string())?;
    for name in ["log.db", "log.db-shm", "log.db-wal"] {
        // The last two are there when somebody has read the backup.
        drop(fs::remove_file(copy.path().join(name)));
    }
    assert!(matches!(Backup::open(copy.path()), Err(BackupError::Damaged(_))), "no log");
    assert!(matches!(take(&log, &copy).await, Err(BackupError::Damaged(_))), "no log");
    let left: Vec<_> = fs::read_dir(copy.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert!(left.iter().all(|name| name == "backup.json" || name == "lock"), "{left:?}");
    Ok(())
}

/// What a directory says before its first run has ended.
async fn unfinished(log: &Bus) -> Result<Vec<u8>> {
    let broken = tempfile::tempdir()?;
    // Where the log's file is to come lies something else: the run ends behind its first step.
    fs::create_dir(broken.path().join("lock"))?;
    assert!(take(log, &broken).await.is_err(), "no file can be made there");
    Ok(fs::read(broken.path().join("backup.json"))?)
}

async fn events_in(directory: &TempDir) -> Result<Vec<Recorded>> {
    whole(&Bus::embedded_read_only(directory.path())?, Stream::Calls).await
}

/// The two files that are a backup.
fn copy_of(backup: &TempDir) -> Result<TempDir> {
    let copy = tempfile::tempdir()?;
    for name in ["log.db", "backup.json"] {
        fs::copy(backup.path().join(name), copy.path().join(name))?;
    }
    Ok(copy)
}

/// Secrets are in no backup: who has to enter which again is said, and seen as long as it was not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_a_restore_does_not_bring_are_named() -> Result<()> {
    let mut world = World::embedded_with(POLICY, "[outbound]\nallow = [\"127.0.0.0/8\"]\n").await?;
    let url = "http://127.0.0.1:9/";
    for (name, spec) in [
        ("shop", json!({ "url": url, "kinds": ["settled"], "headers": { "authorization": "Bearer s3cret" } })),
        ("crm", json!({ "url": url, "to": { "hubspot": {} }, "credentials": { "token": "s3cret" } })),
    ] {
        let (status, said) = world.put(&format!("/v1/destinations/{name}"), &spec).await?;
        anyhow::ensure!(status == 200, "{said}");
    }
    let spec = json!({ "title": "Parcels", "http_method": "GET", "url": url, "secret": "new",
        "auth": { "type": "basic", "user": "callbus", "password": "s3cret" } });
    let (status, profile) = world.post("/v1/profiles", &spec).await?;
    anyhow::ensure!(status == 201, "{profile}");
    let id = profile["id"].as_str().context("an id")?;
    done(&world.callbus_as("backup", &["backup", "copy"])?);
    world.lose_everything()?;
    let said = done(&world.callbus_as("restore", &["restore", "copy"])?);
    for expected in [
        "callbus destination put shop --file FILE, as before, with \"headers\"",
        "callbus destination rotate shop",
        "callbus destination put crm --file FILE, as before, with \"credentials\"",
        &format!("callbus profile set {id} --file FILE, with \"auth\""),
        &format!("callbus profile set {id} --file FILE, with \"secret\": \"new\""),
    ] {
        assert!(said.contains(expected), "{expected} in:\n{said}");
    }
    assert!(!said.contains("rotate crm"), "nothing is signed for a CRM:\n{said}");
    world.start("all")?;
    let lacks = async |count: usize| {
        eventually(&format!("{count} lack a secret"), async || {
            let listed = done(&world.callbus(&["destination", "ls"])?);
            Ok((listed.matches("no secret").count() == count).then_some(()))
        })
        .await
    };
    lacks(2).await?;
    let again = world.write(
        "crm.json",
        &json!({ "url": url, "to": { "hubspot": {} }, "credentials": { "token": "s3cret" } }).to_string(),
    )?;
    done(&world.callbus(&["destination", "put", "crm", "--file", &again])?);
    lacks(1).await?;
    Ok(())
}

//! The tables: the log folded into SQL. Whatever happens on the way, they come out the same.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bus::Bus;
use futures::TryStreamExt;
use proto::{Event, Filter, Kind, Stream};
use serde_json::{Value, json};
use simulator::{Hangup, Party};
use sqlx::AssertSqlSafe;
use tests::nats::Nats;
use tests::postgres::Postgres;
use tests::tables::{self, Rows};
use tests::world::{ALLOWED, POLICY, WALLET};
use tests::{World, eventually, history};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use views::{Store, Views};

use crate::calls::script;

/// Made-up calls of one round.
const CALLS: usize = 100;

/// Follows a log until the tables have all of it, and tells every row.
async fn followed(bus: &Bus, store: &Store) -> Result<Rows> {
    let (stop, mut following) = (CancellationToken::new(), JoinSet::new());
    following.spawn(Views::new(store.clone(), bus.clone()).run(stop.clone()));
    level(bus, store).await?;
    stop.cancel();
    following.join_all().await;
    tables::all(store).await
}

async fn level(bus: &Bus, store: &Store) -> Result<()> {
    eventually("the tables have all that is in the log", async || {
        for stream in [Stream::Calls, Stream::Wallets] {
            if store.behind(bus, stream, Duration::ZERO).await.unwrap_or(1) > 0 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

fn same(one: &Rows, other: &Rows) {
    for (table, rows) in one {
        assert_eq!(rows.len(), other[table].len(), "rows of {table}");
        for (row, twin) in rows.iter().zip(&other[table]) {
            assert_eq!(row, twin, "in {table}");
        }
    }
}

/// Calls of several kinds: charged, refused, not answered, given back.
async fn some_calls(world: &World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let grant = world.callbus(&["wallet", "grant", WALLET, "0.5", "EUR", "--id", "gift", "--priority", "10"])?;
    anyhow::ensure!(grant.status.success(), "{}", String::from_utf8_lossy(&grant.stderr));
    let platform = world.platform(7)?;
    for secs in [0, 1, 63] {
        let mut call = script(ALLOWED);
        call.hangup = Hangup { after_secs: secs, by: Party::Caller };
        let report = platform.call(call).await;
        world.cdr(&report.call).await?;
        if secs == 63 {
            let refund = world.callbus(&["wallet", "refund", WALLET, report.call.as_str(), "0.2"])?;
            anyhow::ensure!(refund.status.success(), "{}", String::from_utf8_lossy(&refund.stderr));
        }
    }
    let refused = platform.call(script("+15551234567")).await;
    world.cdr(&refused.call).await?;
    world.billing_caught_up().await
}

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_engines_and_a_rebuild_have_the_same_rows() -> Result<()> {
    let world = World::embedded(POLICY).await?;
    some_calls(&world).await?;
    let log = world.log().await?;
    // Written by the running process, call by call.
    let kept = Store::sqlite(&world.data("all"));
    level(&log, &kept).await?;
    let incremental = tables::all(&kept).await?;
    assert_eq!(incremental["calls"].len(), 4);
    assert_eq!(incremental["cdrs"].iter().filter(|cdr| cdr["rule"] == "only").count(), 3, "{incremental:?}");

    let postgres = Postgres::start()?;
    same(&incremental, &followed(&log, &Store::postgres(&postgres.url())?).await?);

    let rebuilt = world.callbus(&["--json", "rebuild", "views"])?;
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    same(&incremental, &tables::all(&kept).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_in_the_log_change_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (once, nats) = (Bus::embedded(directory.path())?, Nats::start()?);
    let events: Vec<Event> = (0..100).flat_map(history::call).collect();
    once.record(events.clone()).await?;
    let twice = Bus::nats(nats.config("story")?).await?;
    // As a spool sends it again after the broker has forgotten the ids: everything, some of it far behind itself.
    let client = async_nats::connect(nats.url()).await?;
    let jetstream = async_nats::jetstream::new(client);
    let again = events.chunks(150).flat_map(|stretch| [stretch, stretch]).chain([&events[..60]]);
    for event in again.flatten() {
        let mut headers = async_nats::HeaderMap::new();
        event.headers().iter().for_each(|(name, value)| headers.insert(name.as_str(), value.as_str()));
        jetstream.publish_with_headers(event.subject.to_string(), headers, event.data.clone()).await?.await?;
    }
    let stores = ["once", "twice"].map(|name| Store::sqlite(&directory.path().join(name)));
    let mut rows = [followed(&once, &stores[0]).await?, followed(&twice, &stores[1]).await?];
    // Their places in the log differ, and nothing else.
    for row in rows.iter_mut().flat_map(|rows| rows.values_mut()).flatten() {
        for place in ["seq", "first_seq"] {
            row.as_object_mut().context("a row")?.remove(place);
        }
    }
    same(&rows[0], &rows[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_it_goes_on() -> Result<()> {
    let postgres = Postgres::start()?;
    let mut world = World::nats_with(POLICY, &format!("[views]\nurl = \"{}\"\n", postgres.url())).await?;
    // The calls are made up; nobody else is to make something of them.
    for name in ["ingress-1", "worker-1", "worker-2", "billing"] {
        world.kill(name)?;
    }
    let (log, store) = (world.log().await?, Store::postgres(&postgres.url())?);
    let (nats, _) = world.servers()?;
    let door = Bus::nats(nats.config_as("ingress", "story")?).await?;
    let books = Bus::nats(nats.config_as("billing", "story")?).await?;
    let record = async |events: Vec<Event>| -> Result<()> {
        let by_billing = |event: &Event| matches!(event.subject.kind(), None | Some(Kind::Settled));
        let (settled, received) = events.into_iter().partition(by_billing);
        door.record(received).await?;
        Ok(books.record(settled).await?)
    };
    store.prepare().await?;
    let Store::Postgres { pool, .. } = &store else { anyhow::bail!("not PostgreSQL") };
    for (round, table) in ["decisions", "cdr_legs", "wallet_entries"].into_iter().enumerate() {
        record((round * CALLS..(round + 1) * CALLS).flat_map(history::call).collect()).await?;
        // Whoever writes to this table waits, in the middle of a transaction, and dies there.
        let mut hindrance = pool.begin().await?;
        sqlx::query(AssertSqlSafe(format!("lock table {table} in share mode"))).execute(&mut *hindrance).await?;
        world.start("views")?;
        eventually("it waits in the middle", async || {
            let waiting: i64 =
                sqlx::query_scalar("select count(*) from pg_locks where not granted").fetch_one(pool).await?;
            Ok((waiting > 0).then_some(()))
        })
        .await?;
        world.kill("views")?;
        hindrance.rollback().await?;
    }
    world.start("views")?;
    level(&log, &store).await?;
    let file = tempfile::tempdir()?;
    same(&followed(&log, &Store::sqlite(file.path())).await?, &tables::all(&store).await?);
    // A second one stands by, and takes over.
    world.start("views-2")?;
    world.kill("views")?;
    record(history::call(3 * CALLS)).await?;
    level(&log, &store).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_away_while_calls_go_on() -> Result<()> {
    let mut postgres = Postgres::start()?;
    let world = World::embedded_with(POLICY, &format!("[views]\nurl = \"{}\"\n", postgres.url())).await?;
    some_calls(&world).await?;
    let (log, store) = (world.log().await?, Store::postgres(&postgres.url())?);
    level(&log, &store).await?;
    postgres.kill();
    let report = world.platform(8)?.call(script(ALLOWED)).await;
    world.cdr(&report.call).await?;
    let missing = world.get("/v1/calls").await.err().context("no tables, no list")?;
    assert!(missing.to_string().contains("503"), "{missing}");
    world.get(&format!("/v1/calls/{}", report.call)).await.context("one call is read from the log")?;
    let ledger = world.get(&format!("/v1/wallets/{WALLET}/ledger")).await.context("money is read from the log")?;
    assert!(ledger["causes_missing"].is_string(), "{ledger}");
    postgres.restart()?;
    level(&log, &store).await?;
    let list = world.get("/v1/calls?limit=1").await?;
    assert_eq!((&list["calls"][0]["call"], &list["calls"][0]["state"]), (&json!(report.call), &json!("settled")));
    let file = tempfile::tempdir()?;
    same(&followed(&log, &Store::sqlite(file.path())).await?, &tables::all(&store).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_cdrs_are_found_and_exported() -> Result<()> {
    for world in [World::embedded(POLICY).await?, World::nats(POLICY).await?] {
        some_calls(&world).await?;
        eventually("the tables have it all", async || {
            let behind = world.get("/v1/views").await?;
            Ok((behind["calls"]["behind"] == 0 && behind["wallets"]["behind"] == 0).then_some(()))
        })
        .await?;
        let listed = |arguments: &[&str]| -> Result<Vec<Value>> {
            let output = world.callbus(&[&["--json", "call", "ls"], arguments].concat())?;
            anyhow::ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
            let page: Value = serde_json::from_slice(&output.stdout)?;
            Ok(page["calls"].as_array().cloned().unwrap_or_default())
        };
        let all = listed(&[])?;
        assert_eq!(all.len(), 4);
        for (arguments, found) in [
            (["--number", "46701234567"], 3),
            (["--number", "+15551234567"], 1),
            (["--outcome", "refused"], 1),
            (["--wallet", WALLET], 4),
            (["--wallet", "nobody"], 0),
            (["--app", "acme"], 4),
            (["--since", "2020-01-01"], 4),
            (["--until", "2020-01-01"], 0),
            (["--limit", "3"], 3),
        ] {
            assert_eq!(listed(&arguments)?.len(), found, "{arguments:?}");
        }
        let page = world.get("/v1/calls?limit=3").await?;
        let rest = world.get(&format!("/v1/calls?before={}", page["next"])).await?;
        assert_eq!((&rest["calls"][0]["call"], &rest["next"]), (&all[3]["call"], &Value::Null));
        assert_eq!(world.get("/v1/views").await?["calls"]["behind"], 0);

        // The call of a minute ended last: the platform's time is its own.
        let newest = world.get("/v1/cdrs?limit=1").await?;
        let charged = &newest["cdrs"][0];
        assert_eq!(
            (&charged["cost"], &charged["rule"], &charged["kind"]),
            (&json!("1.26"), &json!("only"), &json!("ice"))
        );
        assert!(!charged["callee"].as_str().context("a number")?.contains("4567"), "masked: {charged}");
        let after = newest["next"].as_str().context("a next page")?.replace(':', "%3A");
        let page = world.get(&format!("/v1/cdrs?limit=10&reveal=1&after={after}")).await?;
        let rest = page["cdrs"].as_array().context("a page")?;
        assert!((rest.len(), &page["next"]) == (3, &Value::Null), "{page}");
        let refused = rest.iter().find(|cdr| cdr["refused"] == "NOT_ALLOWLISTED").context("the refused call")?;
        assert_eq!((&refused["callee"], &refused["rule"]), (&json!("+15551234567"), &json!("others")));
        let shown = world.callbus(&["cdr", "show", charged["call"].as_str().context("a call")?])?;
        assert!(said(&shown).contains("1.26"), "{}", said(&shown));
        assert_eq!(world.callbus(&["cdr", "show", "nobody"])?.status.code(), Some(5));
        assert!(said(&world.callbus(&["cdr", "ls"])?).contains("NOT_ALLOWLISTED"));

        let csv = world.callbus(&["cdr", "export", "--since", "2020-01-01", "--reveal"])?;
        let text = String::from_utf8(csv.stdout)?;
        assert_eq!(text.lines().count(), 5, "{text}");
        let charged = |line: &str| line.contains("+46701234567,") && line.contains(",EUR,1.26,");
        assert!(text.lines().any(charged), "{text}");
        for (format, begins) in [("json", b"{\"".as_slice()), ("parquet", b"PAR1"), ("csv", b"ended_at,")] {
            let name = format!("cdrs.{format}");
            let written = world.callbus(&["cdr", "export", "--format", format, "-o", &name])?;
            assert!(written.status.success(), "{}", said(&written));
            let bytes = std::fs::read(world.file(&name))?;
            assert!(bytes.starts_with(begins) && bytes.len() > 100, "{format}");
        }
        assert!(!Path::new(&world.file("cdrs.csv.part")).exists());

        // Every posting of a call says which callback caused it.
        let ledger = world.get(&format!("/v1/wallets/{WALLET}/ledger")).await?;
        let charged = ledger["postings"].as_array().into_iter().flatten().find(|line| line["amount"] == "-1.26");
        let charged = charged.context("the charge")?;
        assert_eq!((&charged["cause"]["kind"], &charged["cause"]["rule"]), (&json!("ice"), &json!("only")));
        let callback = charged["cause"]["callback"].as_str().context("a callback")?;
        let calls: Vec<_> = world.log().await?.read(&Filter::All(Stream::Calls), 0).try_collect().await?;
        assert!(calls.iter().any(|recorded| recorded.event.id.as_str() == callback), "it is in the log");
        let told = said(&world.callbus(&["wallet", "ledger", WALLET])?);
        for expected in ["ICE", "46 of standard@", "63 s", "gift 0.48"] {
            assert!(told.contains(expected), "{expected} in:\n{told}");
        }
    }
    Ok(())
}

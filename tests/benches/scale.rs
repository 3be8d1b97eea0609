//! How an installation grows, on a real broker and a real Redis: with more workers while the policy waits for somebody
//! else, and with ten million events in its log. Prints tables for docs/scale.md.
//!
//! ```sh
//! cargo build --release -p callbus && cargo bench -p tests --bench scale
//! ```
//!
//! `SCALE_EVENTS=100000` for a shorter log.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "a benchmark that cannot be set up has failed; it prints rates and times; its server lives as long as it does"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use axum::Router;
use bus::{Bus, Clock};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use proto::{AppName, CallId, Decided, DecisionKey, Event, EventId, Filter, Kind, Outcome, Partition, Stream, Subject};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tests::World;
use tests::world::{POLICY, WALLET};
use tokio::net::TcpListener;

/// What a policy waits for an answer from elsewhere.
const ELSEWHERE: Duration = Duration::from_millis(20);
/// Callbacks a worker decides at a time here, so that few callers keep it busy.
const AT_ONCE: usize = 4;
/// More than four workers have hands.
const CALLERS: usize = 32;
const EVENTS: usize = 10_000_000;
/// Of each call: asked about, refused, ended.
const EVENTS_EACH: usize = 3;
/// Events on their way to the broker at a time.
const ON_THE_WAY: usize = 512;

#[tokio::main]
async fn main() {
    workers().await;
    long_log().await;
}

async fn workers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // Whatever the path: it is the one that Sinch signed.
    let answer = || async {
        tokio::time::sleep(ELSEWHERE).await;
        axum::Json(json!({ "action": { "name": "connectPstn", "number": "+46701234567", "maxDuration": 600 } }))
    };
    tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
    let policy = format!("version: 1\nice:\n  - {{ name: elsewhere, ask: {{ url: \"{url}\", on_error: deny }} }}\n");
    let settings = format!("[outbound]\nallow = [\"127.0.0.0/8\"]\n[worker]\nconcurrency_max = {AT_ONCE}\n");

    println!("| workers | ICEs a second that the policy answered | as many as one | of all ICEs |");
    println!("|---|---|---|---|");
    let mut first = None;
    for workers in [1, 2, 4] {
        let mut world = World::nats_with(&policy, &settings).await.expect("an installation");
        world.terminate("worker-2").expect("one worker");
        for nth in 2..=workers {
            world.start(&format!("worker-{nth}")).expect("a worker");
        }
        let told = bench(&world, &["--callers", &CALLERS.to_string(), "--for", "15s"]);
        let (answered, all) = answered(&world).await;
        let each = answered / told["secs"].as_f64().expect("seconds");
        let one = *first.get_or_insert(each);
        println!("| {workers} | {each:.0} | {:.2} | {:.0} % |", each / one, 100.0 * answered / all);
        world.stop().expect("all end");
    }
}

/// How many ICEs the policy answered, and how many there were.
async fn answered(world: &World) -> (f64, f64) {
    let (mut answered, mut all, log) = (0, 0, world.log().await.expect("the log"));
    let mut decided = log.read(&Filter::Kind(Kind::Decided), 0);
    while let Some(recorded) = decided.next().await {
        let body = recorded.expect("an event").event.data;
        let decided: Decided = serde_json::from_slice(&body).expect("a decision");
        all += usize::from(decided.kind == Kind::Ice);
        answered += usize::from(decided.kind == Kind::Ice && decided.outcome == Outcome::Answered);
    }
    (answered as f64, all as f64)
}

async fn long_log() {
    let events = std::env::var("SCALE_EVENTS").map_or(EVENTS, |events| events.parse().expect("a number of events"));
    let mut world = World::nats_without_keys(POLICY).await.expect("an installation");
    world.top_up(WALLET, "9000000").await.expect("credit");
    // Once without being looked at: connections are made, files are open.
    steadily(&world);
    let short = steadily(&world);
    let calls = 2.0 * short["calls"].as_f64().expect("calls");
    println!("\n| stream | events a call | bytes a call |\n|---|---|---|");
    let servers = world.servers().expect("servers");
    let jetstream = jetstream::new(async_nats::connect(servers.0.url()).await.expect("the broker"));
    for stream in [Stream::Calls, Stream::Wallets] {
        let state = jetstream.get_stream(stream.name()).await.expect("a stream").cached_info().state.clone();
        println!("| {} | {:.2} | {:.0} |", stream.name(), state.messages as f64 / calls, state.bytes as f64 / calls);
    }
    println!("| on its disk | | {:.0} |", size_of(&servers.0.store(0)) as f64 / calls);
    println!("\n| events in the log | callback | p50 ms | p99 ms | process | CPU µs each callback | peak MiB |");
    println!("|---|---|---|---|---|---|---|");
    tell(&world, &short).await;

    let begun = Instant::now();
    let bus = world.log().await.expect("the log");
    // They are calls of long ago: billing has nothing to do with them any more.
    world.terminate("billing").expect("it ends");
    fill(&bus, events).await;
    let filled = begun.elapsed();
    let end = bus.last_seq(&Filter::All(Stream::Calls)).await.expect("the end");
    for consumer in billing::consumers(1) {
        bus.restart_consumer(&consumer, end).await.expect("billing's consumer");
        bus.set_checkpoint(&consumer.name, end).await.expect("billing's checkpoint");
    }
    world.start("billing").expect("billing");
    level(&world).await;
    let level = begun.elapsed();
    let long = steadily(&world);
    tell(&world, &long).await;

    let begun = Instant::now();
    let mut started = String::new();
    for role in world.running() {
        world.terminate(&role).expect("it ends");
        let begun = Instant::now();
        world.start(&role).expect("it starts");
        started += &format!(" {role} {:.1} s,", begun.elapsed().as_secs_f64());
    }
    let again = steadily(&world);
    tell(&world, &again).await;
    println!("\n{events} events written in {filled:?}, in the tables after {level:?}.");
    println!("All started again in {:?}:{started} the last rows are theirs.", begun.elapsed());
}

/// Calls come at a rate that leaves two cores idle half of the time: a queue would be measured otherwise.
fn steadily(world: &World) -> Value {
    let told = bench(world, &["--rate", "60", "--for", "30s"]);
    assert_eq!((&told["late"], &told["not_acknowledged"]), (&json!(0), &json!(0)), "{told}");
    told
}

fn bench(world: &World, arguments: &[&str]) -> Value {
    let done = world.callbus(&[&["--json", "bench"], arguments].concat()).expect("callbus bench");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

async fn tell(world: &World, told: &Value) {
    let total = world.events_total().await.expect("the log");
    let answers = told["answers_micros"].as_object().expect("answers").iter();
    let mut processes = told["processes"].as_array().expect("processes").iter();
    let mut rows: Vec<[String; 3]> = answers
        .map(|(kind, took)| {
            [kind.clone(), format!("{:.2}", millis(&took["p50"])), format!("{:.2}", millis(&took["p99"]))]
        })
        .collect();
    rows.resize(rows.len().max(processes.len()), Default::default());
    for (nth, [kind, p50, p99]) in rows.into_iter().enumerate() {
        let total = if nth == 0 { total.to_string() } else { String::new() };
        let cost = processes.next().map_or_else(
            || " | | ".to_owned(),
            |process| {
                let mib = process["peak_bytes"].as_f64().unwrap_or_default() / 1_048_576.0;
                let micros = process["cpu_micros_per_callback"].as_f64().unwrap_or_default();
                format!("{} | {micros:.0} | {mib:.0}", process["name"].as_str().unwrap_or_default())
            },
        );
        println!("| {total} | {kind} | {p50} | {p99} | {cost} |");
    }
}

/// Of all files in a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| if path.is_dir() { size_of(&path) } else { fs::metadata(&path).map_or(0, |file| file.len()) })
        .sum()
}

fn millis(micros: &Value) -> f64 {
    micros.as_f64().unwrap_or_default() / 1_000.0
}

/// Until the tables have all of it.
async fn level(world: &World) {
    loop {
        let counted = world.scrape("api", "/metrics").await.expect("what api counts");
        let mut lags = counted.lines().filter(|line| line.starts_with("callbus_consumer_lag{consumer=\"views"));
        if lags.all(|line| line.ends_with(" 0")) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn fill(bus: &Bus, events: usize) {
    let now = Clock::System.now();
    let events = (0..events / EVENTS_EACH).flat_map(|nth| call(nth, now));
    let publish = |event: Event| async move { bus.append(&event, None).await.expect("an event") };
    stream::iter(events).map(publish).buffered(ON_THE_WAY).for_each(|_| async {}).await;
}

/// What an ingress records of a call that is refused.
fn call(nth: usize, now: Timestamp) -> [Event; EVENTS_EACH] {
    let (app, call) = (AppName::new("acme").expect("app"), CallId::new(format!("long ago {nth}")).expect("call"));
    let number = format!("+4670{:07}", nth % 10_000_000);
    let ice = json!({
        "event": "ice", "callid": call, "callResourceUrl": "https://calling.api.sinch.com/calling/v1/calls/id/1",
        "timestamp": now, "version": 1, "custom": "", "userRate": { "currencyId": "USD", "amount": 0.0 },
        "cli": number, "to": { "type": "number", "endpoint": "+15550000000" }, "domain": "pstn",
        "applicationKey": "669e367e-6bba-48ab-af15-266871c28135", "originationType": "PSTN", "duration": 0, "rdnis": "",
    });
    let decided = Decided {
        key: DecisionKey::of(&app, &call, Kind::Ice, "", b""),
        kind: Kind::Ice,
        callback: EventId::of(&["ice", call.as_str()]),
        answer: to_raw_value(&json!({ "action": { "name": "hangup" } })).expect("JSON"),
        outcome: Outcome::Refused,
        reason: Some("NOT_ALLOWLISTED".to_owned()),
        rule: Some("others".to_owned()),
        policy: None,
        wallet: None,
        hold: None,
        explanation: None,
        by: "worker".to_owned(),
        took_micros: 15,
        reserve: false,
    };
    let dice = json!({
        "event": "dice", "callid": call, "timestamp": now, "version": 1, "reason": "CANCEL", "result": "FAILED",
        "debit": { "currencyId": "EUR", "amount": 0.0 }, "userRate": { "currencyId": "EUR", "amount": 0.0 },
        "to": { "type": "number", "endpoint": "+15550000000" }, "applicationKey": "669e367e", "duration": 0, "from": number,
    });
    let event = |kind: Kind, body: String| Event {
        id: EventId::of(&[kind.as_str(), call.as_str()]),
        subject: Subject::Call { kind, app: app.clone(), partition: Partition::of(&call) },
        about: call.to_string(),
        source: "acme".to_owned(),
        time: now,
        extra: Vec::new(),
        data: body.into(),
    };
    let decided = serde_json::to_string(&decided).expect("JSON");
    [event(Kind::Ice, ice.to_string()), event(Kind::Decided, decided), event(Kind::Dice, dice.to_string())]
}

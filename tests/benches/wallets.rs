//! Two wallets that are too much: one with a million postings, and one that all calls are on. Prints what they take, on
//! a real broker and a real Redis. `cargo bench -p tests --bench wallets`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has failed; it prints"
)]

use std::time::{Duration, Instant};

use billing::admission::{HoldRequest, RedisAdmission};
use billing::order::{Order, Ordered, order};
use billing::{Admission, Billing, Credit, HoldReply};
use bus::{Bus, Cache, Clock};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use money::posting::{Charge, POSTINGS_MAX, TopUp};
use money::{DeckRef, Hold, Micros, Nanos, Posting, PostingId, Price, Rounding, Tier, WalletEvent};
use proto::event::json;
use proto::{
    AppName, CallId, Decided, DecisionKey, Event, EventId, Filter, Kind, Outcome, Partition, Stream, Subject, WalletId,
};
use serde_json::json;
use serde_json::value::to_raw_value;
use tests::nats::Nats;
use tests::redis::Redis;
use tokio_util::sync::CancellationToken;

const POSTINGS: usize = 1_000_000;
/// Calls on one wallet, each with a hold and a charge.
const CALLS: usize = 20_000;
/// Events on their way to the broker at a time.
const AT_ONCE: usize = 256;

#[tokio::main]
async fn main() {
    let nats = Nats::start().expect("a broker");
    let redis = Redis::start().expect("Redis");
    let bus = Bus::nats(nats.config("bench").expect("a broker without keys")).await.expect("the bus");
    let admission = Admission::Redis(RedisAdmission::connect(&redis.url(), "bench:").await.expect("admission"));
    long(&bus, &admission, &redis).await;
    hot(&bus, &admission).await;
}

/// Folded from its first posting, and from its snapshot after Redis was lost.
async fn long(bus: &Bus, admission: &Admission, redis: &Redis) {
    let (id, now) = (WalletId::new("long").expect("id"), Clock::System.now());
    let currency = "EUR".parse().expect("currency");
    let first = WalletEvent { wallet: id.clone(), currency, postings: vec![Posting::TopUpPosted(top_up())] };
    append(bus, &id, 0, &first, now).await;
    for nth in 0..POSTINGS / POSTINGS_MAX {
        let calls = (0..POSTINGS_MAX / 2).map(|n| format!("{nth}-{n}"));
        let postings = calls.flat_map(|call| {
            let hold = hold(&id, &call, now);
            let charge = Charge {
                leg: hold.leg.clone(),
                call: hold.call.clone(),
                held: hold.amount,
                amount: hold.amount,
                duration_secs: 60,
                billed_secs: 60,
                overrun: false,
                answered_at: None,
                ended_at: now,
                paid_by: Vec::new(),
            };
            [Posting::HoldPlaced(Box::new(hold)), Posting::CallCharged(charge)]
        });
        let event = WalletEvent { wallet: id.clone(), currency, postings: postings.collect() };
        append(bus, &id, nth + 1, &event, now).await;
    }
    let begun = Instant::now();
    let whole = billing::fold(bus, &id).await.expect("a fold");
    println!("a wallet of {POSTINGS} postings: {:?} from its first posting", begun.elapsed());

    let stop = CancellationToken::new();
    let working = tokio::join!(work(bus, admission, stop.clone()), async {
        let rebuilt = eventually(async || billing::rebuild::rebuild(bus, &id).await.ok()).await;
        stop.cancel();
        rebuilt
    });
    assert_eq!(working.1.postings, POSTINGS + 1);
    let begun = Instant::now();
    assert_eq!(billing::fold(bus, &id).await.expect("a fold"), whole);
    println!("  {:?} from its snapshot", begun.elapsed());

    let mut connection =
        redis::Client::open(redis.url()).expect("Redis").get_multiplexed_async_connection().await.expect("Redis");
    let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("FLUSHALL");
    let hold = hold(&id, "the next", now);
    let request = HoldRequest {
        wallet: &id,
        leg: &hold.leg,
        amount: hold.amount,
        date: money::Limits::default().date(now),
        expires_at: hold.expires_at,
        decision: b"yes",
    };
    let credit = Credit::new(bus.clone(), admission.clone(), Clock::System);
    let begun = Instant::now();
    assert_eq!(credit.hold(now, request).await.expect("a hold"), HoldReply::Ok);
    println!("  {:?} for the first call after Redis was lost", begun.elapsed());
}

/// All calls are in the log, then billing begins: until all of them are settled.
async fn hot(bus: &Bus, admission: &Admission) {
    let (id, now) = (WalletId::new("hot").expect("id"), Clock::System.now());
    let events = (0..CALLS).flat_map(|n| events(&id, &format!("hot {n}"), now));
    let publish = |event: Event| async move { bus.append(&event, None).await.expect("an event") };
    stream::iter(events).map(publish).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
    let end = bus.last_seq(&Filter::All(Stream::Calls)).await.expect("the end");
    let stop = CancellationToken::new();
    let settled = async {
        let top_up = Order {
            wallet: id.clone(),
            what: Ordered::TopUp { currency: "EUR".parse().expect("currency"), top_up: top_up() },
        };
        eventually(async || order(bus, &top_up).await.ok()).await;
        let begun = Instant::now();
        eventually(async || (billing::floor(bus).await.expect("the floor") >= end).then_some(())).await;
        stop.cancel();
        begun.elapsed()
    };
    let ((), took) = tokio::join!(work(bus, admission, stop.clone()), settled);
    let wallet = billing::fold(bus, &id).await.expect("a fold");
    assert_eq!((wallet.closed().count(), wallet.holds().count()), (CALLS, 0));
    let per_second = CALLS as u128 * 1_000 / took.as_millis().max(1);
    println!("{CALLS} calls on one wallet settled in {took:?}: {per_second} a second");
}

async fn work(bus: &Bus, admission: &Admission, stop: CancellationToken) {
    let cache = Cache::memory(1_000, Clock::System);
    let billing = Billing::new(bus.clone(), admission.clone(), cache, Clock::System);
    billing.run(stop).await.expect("billing");
}

async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    loop {
        match look().await {
            Some(found) => return found,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn top_up() -> TopUp {
    let amount = Micros::parse("9000000").expect("amount");
    TopUp { id: PostingId::new("first").expect("id"), amount, grant: None, note: String::new(), by: "bench".to_owned() }
}

fn hold(wallet: &WalletId, call: &str, now: Timestamp) -> Hold {
    let (app, call) = (AppName::new("acme").expect("app"), CallId::new(call).expect("call"));
    let rate = Nanos::new(1_200_000_000).expect("rate");
    let tier = Tier { start_secs: 0, rate, unit_secs: 60, increment_secs: 1, fee: Micros::ZERO };
    let currency = "EUR".parse().expect("currency");
    Hold {
        leg: DecisionKey::of(&app, &call, Kind::Ice, "", b""),
        call,
        wallet: wallet.clone(),
        in_place_of: None,
        amount: Micros::parse("1.2").expect("amount"),
        granted_secs: 60,
        price: Price::new(currency, Micros::ZERO, vec![tier], Rounding::default()).expect("price"),
        deck: DeckRef { name: "standard".to_owned(), version: "1".to_owned() },
        prefix: "46".to_owned(),
        placed_at: now,
        expires_at: now + SignedDuration::from_secs(600),
    }
}

/// What an ingress records of a call: asked about, decided, ended.
fn events(wallet: &WalletId, call: &str, now: Timestamp) -> [Event; 3] {
    let hold = hold(wallet, call, now);
    let decided = Decided {
        key: hold.leg.clone(),
        kind: Kind::Ice,
        callback: EventId::of(&["callback", call]),
        answer: to_raw_value(&json!({ "action": { "name": "connectPstn" } })).expect("JSON"),
        outcome: Outcome::Granted,
        reason: None,
        rule: None,
        policy: None,
        wallet: Some(wallet.clone()),
        hold: Some(to_raw_value(&hold).expect("JSON")),
        explanation: None,
        by: "worker".to_owned(),
        took_micros: 1,
        reserve: false,
    };
    let dice = json!({ "event": "dice", "callid": call, "result": "ANSWERED", "duration": 60, "timestamp": now });
    let event = |kind: Kind, body: serde_json::Value| Event {
        id: EventId::of(&[kind.as_str(), call]),
        subject: Subject::Call {
            kind,
            app: AppName::new("acme").expect("app"),
            partition: Partition::of(&CallId::new(call).expect("call")),
        },
        about: call.to_owned(),
        source: "acme".to_owned(),
        time: now,
        extra: Vec::new(),
        data: body.to_string().into(),
    };
    [
        event(Kind::Ice, json!({ "event": "ice", "callid": call, "cli": "+4670", "timestamp": now })),
        event(Kind::Decided, serde_json::to_value(decided).expect("JSON")),
        event(Kind::Dice, dice),
    ]
}

async fn append(bus: &Bus, wallet: &WalletId, nth: usize, event: &WalletEvent, now: Timestamp) {
    let event = Event {
        id: EventId::of(&["bench", wallet.as_str(), &nth.to_string()]),
        subject: Subject::Wallet(wallet.clone()),
        about: wallet.to_string(),
        source: "billing".to_owned(),
        time: now,
        extra: Vec::new(),
        data: json(event).into(),
    };
    bus.append(&event, None).await.expect("an event of the wallet");
}

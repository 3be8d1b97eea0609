//! Snapshots never change a result: a fold that went on from one, wherever it was taken, is the fold of the history.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::{SignedDuration, Timestamp};
use money::posting::{Change, TopUp};
use money::{
    Charged, Currency, DeckRef, Edit, Ended, GrantKind, GrantTerms, Hold, LimitsEdit, Micros, Posting, PostingId,
    Refused, Snapshot, Wallet, WalletEvent, change, correct, expire, expire_grant, place, refund, settle, top_up,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proto::{AppName, CallId, DecisionKey, EventId, Kind, WalletId};

/// What a snapshot of version 1 looks like. A fold that reads or writes it otherwise needs another version.
const SNAPSHOT: &str = include_str!("../fixtures/snapshot.v1.json");
const HISTORY: [&str; 5] = [
    include_str!("../fixtures/events/wallet.v1.json"),
    include_str!("../fixtures/events/wallet.v1.periods.json"),
    include_str!("../fixtures/events/wallet.v1.limits.json"),
    include_str!("../fixtures/events/wallet.v1.grants.json"),
    include_str!("../fixtures/events/wallet.v1.refunds.json"),
];

fn at(secs: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + secs, 123_456_789).unwrap()
}

fn id() -> WalletId {
    WalletId::new("acme").unwrap()
}

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn snapshot(wallet: Wallet) -> Snapshot {
    Snapshot::new(id(), EventId::of(&["the event"]), wallet)
}

/// Written and read again, as a document is.
fn restored(wallet: &Wallet) -> Wallet {
    let written = serde_json::to_vec(&snapshot(wallet.clone())).unwrap();
    let read: Snapshot = serde_json::from_slice(&written).unwrap();
    assert!(read.is_readable());
    read.fold
}

#[test]
fn the_shape_of_version_1() {
    let mut wallet = Wallet::default();
    for (seq, event) in (1..).zip(HISTORY) {
        wallet.apply(seq, at(seq as i64), &serde_json::from_str(event).unwrap());
    }
    let read: Snapshot = serde_json::from_str(SNAPSHOT).unwrap();
    let (written, fixture) = (snapshot(wallet.clone()), serde_json::from_str::<serde_json::Value>(SNAPSHOT).unwrap());
    assert_eq!(serde_json::to_value(&written).unwrap(), fixture);
    assert_eq!(read, written);
}

#[test]
fn another_version_is_not_read() {
    let later = SNAPSHOT.replacen(r#""version": 1"#, r#""version": 2"#, 1);
    assert!(!serde_json::from_str::<Snapshot>(&later).unwrap().is_readable());
}

#[test]
fn half_a_list_of_closed_legs_is_not_read() {
    let mut value: serde_json::Value = serde_json::from_str(SNAPSHOT).unwrap();
    value["fold"]["closed"] = "AAAA".into();
    assert!(serde_json::from_value::<Snapshot>(value).is_err());
}

/// One step of a history: what is done, with which leg or id, how much, and how long after the step before.
type Step = (u8, u8, u32, u32);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![9 => 0..3_600_u32, 1 => 0..500_000_u32];
    proptest::collection::vec((0..11_u8, 0..12_u8, 1..400_u32, pause), 1..60)
}

fn hold(n: u8, granted_secs: u32, now: Timestamp) -> Hold {
    let price = r#"{ "currency": "EUR", "connect_fee": "0", "rounding": "up4",
        "tiers": [{ "start_secs": 0, "rate": "0.6", "unit_secs": 60, "increment_secs": 1 }] }"#;
    let call = CallId::new(n.to_string()).unwrap();
    Hold {
        in_place_of: None,
        leg: DecisionKey::of(&AppName::new("app").unwrap(), &call, Kind::Ice, "", b""),
        call,
        wallet: id(),
        amount: Micros::new(i64::from(granted_secs) * 10_000).unwrap(),
        granted_secs,
        price: serde_json::from_str(price).unwrap(),
        deck: DeckRef { name: "retail".to_owned(), version: "0".repeat(16) },
        prefix: "44".to_owned(),
        placed_at: now,
        expires_at: now + SignedDuration::from_secs(600),
    }
}

/// What the step comes to on the wallet; much is refused, or done already.
fn decide(wallet: &Wallet, log: &[(u64, Timestamp, WalletEvent)], step: Step, now: Timestamp) -> Option<Posting> {
    let (what, n, amount, _) = step;
    let (name, by) = (PostingId::new(format!("{what}-{n}")).unwrap(), "test".to_owned());
    let micros = Micros::new(i64::from(amount) * 10_000).unwrap();
    let leg = hold(n, amount, now).leg;
    let charged = || {
        let postings = log.iter().flat_map(|(_, _, event)| &event.postings);
        postings.filter_map(Charged::of).nth(usize::from(n)).ok_or(Refused::NoCurrency)
    };
    let posting = match what {
        0 | 1 => {
            let expires_at = (n % 3 == 0).then_some(now + SignedDuration::from_secs(i64::from(amount) * 100));
            let terms = GrantTerms { kind: GrantKind::Granted, priority: u16::from(n) * 20, expires_at };
            let grant = (what == 1).then_some(terms);
            top_up(wallet, eur(), TopUp { id: name, amount: micros, grant, note: String::new(), by })
        }
        2..=4 => place(wallet, &hold(n, amount, now)),
        5 | 6 => settle(wallet, &leg, Ended { answered: n % 4 > 0, duration_secs: amount, answered_at: now, at: now }),
        7 => expire(wallet, &leg, (n % 2 == 0).then_some(now)),
        8 => {
            let limits = LimitsEdit { concurrent_max: Edit::Set(amount), ..LimitsEdit::default() };
            change(wallet, eur(), Change { credit_limit: Some(micros), limits: Some(limits), by, ..Change::default() })
        }
        9 => match wallet.grants().nth(usize::from(n) % 3) {
            Some(lot) => expire_grant(wallet, &lot.grant, now),
            None => Ok(None),
        },
        _ => charged().and_then(|charged| match n % 2 {
            0 => refund(wallet, &charged, name, None, String::new(), by),
            _ => correct(wallet, &charged, name, micros, String::new(), by),
        }),
    };
    posting.unwrap_or_default()
}

proptest! {
    #[test]
    fn a_snapshot_anywhere_changes_nothing(steps in steps(), taken in proptest::collection::vec(any::<Index>(), 1..4)) {
        let (mut wallet, mut log, mut now) = (Wallet::default(), Vec::new(), at(0));
        for step in steps {
            now += SignedDuration::from_secs(step.3.into());
            let Some(posting) = decide(&wallet, &log, step, now) else { continue };
            let event = WalletEvent { wallet: id(), currency: eur(), postings: vec![posting] };
            let seq = wallet.last_seq() + 1 + u64::from(step.1);
            wallet.apply(seq, now, &event);
            log.push((seq, now, event));
        }
        let taken: Vec<usize> = taken.iter().map(|index| index.index(log.len() + 1)).collect();
        let mut shortened = Wallet::default();
        for place in 0..=log.len() {
            if taken.contains(&place) {
                let before = shortened.clone();
                shortened = restored(&shortened);
                prop_assert_eq!(&shortened, &before);
            }
            if let Some((seq, time, event)) = log.get(place) {
                shortened.apply(*seq, *time, event);
            }
        }
        prop_assert_eq!(&shortened, &wallet);
        prop_assert_eq!(shortened.facts_at(now), wallet.facts_at(now));
        prop_assert_eq!(shortened.closed().collect::<Vec<_>>(), wallet.closed().collect::<Vec<_>>());
        // And again the same is decided on it.
        prop_assert_eq!(serde_json::to_string(&snapshot(shortened)).unwrap(), serde_json::to_string(&snapshot(wallet)).unwrap());
    }
}

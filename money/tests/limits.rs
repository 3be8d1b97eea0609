//! What a wallet may be used for: the checks in their order, and what counts for a day.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::Timestamp;
use jiff::civil::Date;
use money::posting::{Change, TopUp};
use money::{
    Admission, Barred, Currency, Destinations, Edit, HoldReply, Limit, Limits, LimitsEdit, Micros, Posting, PostingId,
    Price, Spent, Wallet, WalletEvent, WalletFacts, WalletStatus, change, check_call, top_up,
};
use proto::{EventId, Leg, PhoneNumber, WalletId};

const EVENT: &str = include_str!("../fixtures/events/wallet.v1.limits.json");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn micros(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn leg(name: &str) -> Leg {
    Leg::try_from(String::from(EventId::of(&[name]))).unwrap()
}

/// A wallet with 10 EUR and these limits.
fn wallet(edit: &str) -> Wallet {
    let mut wallet = Wallet::default();
    let money = TopUp {
        id: PostingId::new("t").unwrap(),
        amount: micros("10"),
        grant: None,
        note: String::new(),
        by: "t".into(),
    };
    let limits = Change { limits: Some(serde_json::from_str(edit).unwrap()), ..Change::default() };
    let first = top_up(&wallet, eur(), money).unwrap().unwrap();
    let second = change(&wallet, eur(), limits).unwrap();
    let postings = [first].into_iter().chain(second).collect();
    let event = WalletEvent { wallet: WalletId::new("acme").unwrap(), currency: eur(), postings };
    wallet.apply(1, at("2026-01-31T22:00:00Z"), &event);
    wallet
}

fn ask(admission: &mut Admission, now: &str, name: &str, amount: &str) -> HoldReply {
    let (now, date) = (at(now), admission.limits().date(at(now)));
    admission.hold(now, date, &leg(name), micros(amount), at("2026-03-01T00:00:00Z"), name.as_bytes())
}

#[test]
fn the_shape_of_version_1_is_read_and_written_for_ever() {
    let event: WalletEvent = serde_json::from_str(EVENT).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), serde_json::from_str::<serde_json::Value>(EVENT).unwrap());
    let mut wallet = Wallet::default();
    wallet.apply(1, at("2026-01-02T03:04:05Z"), &event);
    let facts = wallet.facts();
    assert_eq!((facts.status, facts.limits.concurrent_max), (WalletStatus::Blocked, None), "null takes a limit away");
    assert_eq!((facts.limits.calls_per_sec_max, facts.limits.spend_month_max), (Some(5), Some(micros("100.5"))));
    assert!(serde_json::from_str::<LimitsEdit>(r#"{"concurent_max": 2}"#).is_err());
}

#[test]
fn a_change_that_changes_nothing_is_not_posted() {
    let wallet = wallet(r#"{"concurrent_max": 2, "denied": ["+4690", "SE"]}"#);
    let again = |edit: &str| {
        let limits = Some(serde_json::from_str(edit).unwrap());
        change(&wallet, eur(), Change { limits, ..Change::default() }).unwrap()
    };
    for same in ["{}", r#"{"concurrent_max": 2}"#, r#"{"denied": ["SE", "4690", "SE"]}"#, r#"{"allowed": null}"#] {
        assert_eq!(again(same), None, "{same}");
    }
    assert!(matches!(again(r#"{"concurrent_max": null}"#), Some(Posting::WalletChanged(_))));
}

#[test]
fn destinations_are_prefixes_and_countries() {
    for bad in [r#"[]"#, r#"["se"]"#, r#"["SWE"]"#, r#"["46a"]"#, r#"["1234567890123456"]"#, r#"["+"]"#] {
        assert!(serde_json::from_str::<Destinations>(bad).is_err(), "{bad}");
    }
    let many: Vec<String> = (0..=money::limits::DESTINATIONS_MAX).map(|n| n.to_string()).collect();
    assert!(serde_json::from_value::<Destinations>(many.into()).is_err());
}

#[test]
fn the_checks_come_in_their_order() {
    let price: Price = serde_json::from_str(
        r#"{ "currency": "EUR", "connect_fee": "5", "rounding": "up4",
        "tiers": [{ "start_secs": 0, "rate": "0.6", "unit_secs": 60, "increment_secs": 1 }] }"#,
    )
    .unwrap();
    let usd: Price = serde_json::from_value(
        serde_json::to_value(&price)
            .map(|mut price| {
                price["currency"] = "USD".into();
                price
            })
            .unwrap(),
    )
    .unwrap();
    let number = PhoneNumber::parse("+46900123456").unwrap();
    let check =
        |facts: &WalletFacts, country, price| check_call(facts, &number, country, price, at("2026-01-01T00:00:00Z"));
    // All that can be wrong is; then one thing after another is put right.
    let all = r#"{"denied": ["4690"], "allowed": ["DE"], "minute_price_max": "0.5"}"#;
    let mut facts = WalletFacts { status: WalletStatus::Closed, ..wallet(all).facts() };
    assert_eq!(check(&facts, Some("SE"), None), Err(Barred::Closed));
    facts.status = WalletStatus::Blocked;
    assert_eq!(check(&facts, Some("SE"), None), Err(Barred::Blocked));
    facts.status = WalletStatus::Active;
    assert_eq!(check(&facts, Some("SE"), None), Err(Barred::Denied));
    facts.limits.denied = None;
    assert_eq!(check(&facts, Some("SE"), None), Err(Barred::NotAllowed));
    assert_eq!(check(&facts, Some("DE"), None), Err(Barred::NoRate));
    assert_eq!(check(&facts, Some("DE"), Some(&usd)), Err(Barred::Currency));
    assert_eq!(check(&facts, Some("DE"), Some(&price)), Err(Barred::PriceCeiling));
    facts.limits.minute_price_max = Some(micros("0.6"));
    assert_eq!(check(&facts, Some("DE"), Some(&price)), Ok(()), "the connect fee is no price of a minute");

    let counted = r#"{"concurrent_max": 1, "calls_per_sec_max": 1, "spend_day_max": "1", "spend_month_max": "2"}"#;
    let mut admission = Admission::load(&wallet(counted));
    let noon = "2026-01-10T12:00:00Z";
    let limited = HoldReply::Limited;
    assert_eq!(ask(&mut admission, noon, "a", "0.5"), HoldReply::Ok);
    assert_eq!(ask(&mut admission, noon, "a", "99"), HoldReply::Dup((*b"a").into()), "before any check");
    assert_eq!(ask(&mut admission, noon, "b", "99"), limited(Limit::Concurrent));
    admission.free(&leg("a"));
    assert_eq!(ask(&mut admission, noon, "b", "99"), limited(Limit::Velocity));
    assert_eq!(ask(&mut admission, "2026-01-10T11:59:59Z", "b", "1"), limited(Limit::Velocity), "a clock behind");
    let before = "2026-01-10T11:59:50Z";
    assert_eq!(ask(&mut admission, before, "c", "1"), HoldReply::Ok, "the clock that said noon was wrong");
    admission.free(&leg("c"));
    let later = "2026-01-10T12:00:01Z";
    assert_eq!(ask(&mut admission, later, "b", "99"), limited(Limit::SpendDay { left: micros("1") }));
    let mut admission = Admission::load(&wallet(r#"{"spend_month_max": "2"}"#));
    assert_eq!(ask(&mut admission, noon, "b", "99"), limited(Limit::SpendMonth { left: micros("2") }));
    let mut admission = Admission::load(&wallet("{}"));
    assert_eq!(ask(&mut admission, noon, "b", "99"), limited(Limit::Credit { available: micros("10") }));
}

#[test]
fn open_holds_count_as_spent() {
    let mut admission = Admission::load(&wallet(r#"{"spend_day_max": "1"}"#));
    assert_eq!(ask(&mut admission, "2026-01-10T12:00:00Z", "a", "0.7"), HoldReply::Ok);
    let left = HoldReply::Limited(Limit::SpendDay { left: micros("0.3") });
    assert_eq!(ask(&mut admission, "2026-01-11T12:00:00Z", "b", "0.4"), left, "it will be charged then");
    assert_eq!(ask(&mut admission, "2026-01-11T12:00:00Z", "b", "0.3"), HoldReply::Ok);
}

#[test]
fn days_and_months_end_by_the_wallets_clock() {
    let stockholm: Limits = serde_json::from_str(r#"{"time_zone": "Europe/Stockholm"}"#).unwrap();
    assert_eq!(stockholm.date(at("2026-01-31T23:30:00Z")), Date::constant(2026, 2, 1));
    assert_eq!(Limits::default().date(at("2026-01-31T23:30:00Z")), Date::constant(2026, 1, 31));
    let spent = Spent { date: Date::constant(2026, 1, 30), day: micros("1"), month: micros("3") };
    for (date, left) in [
        (Date::constant(2026, 1, 30), ("1", "3")),
        (Date::constant(2026, 1, 31), ("0", "3")),
        (Date::constant(2026, 2, 1), ("0", "0")),
        (Date::constant(2026, 1, 29), ("1", "3")),
        // The clock that said the 30th was wrong.
        (Date::constant(2026, 1, 28), ("0", "3")),
        (Date::constant(2025, 12, 1), ("0", "0")),
    ] {
        assert_eq!(spent.on(date), (micros(left.0), micros(left.1)), "{date}");
    }
    let facts = WalletFacts {
        limits: Limits { spend_day_max: Some(micros("4")), spend_month_max: Some(micros("5")), ..Limits::default() },
        spent,
        ..wallet("{}").facts()
    };
    let budgets = [(30, "2"), (31, "2")].map(|(day, left)| (facts.budget(Date::constant(2026, 1, day)), micros(left)));
    assert!(budgets.iter().all(|(budget, left)| budget == left), "{budgets:?}");
    assert_eq!(facts.budget(Date::constant(2026, 2, 1)), micros("4"));
    assert_eq!(Edit::<u32>::default(), Edit::Keep);
}

//! The shared rows of cost, grant and prefix expectations, and the laws of rating.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use money::{Admission, Deck, HoldReply, Micros, Nanos, Price, Rounding, RoundingMethod, Tier, Wallet, cost, grant};
use proptest::prelude::*;
use proto::{AppName, CallId, DecisionKey, Kind, PhoneNumber};
use serde_json::Value;

const COST: &str = include_str!("../fixtures/rating/cost.jsonl");
const GRANT: &str = include_str!("../fixtures/rating/grant.jsonl");
const PREFIX: &str = include_str!("../fixtures/rating/prefix.jsonl");

fn rows(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The price of a row; `None` when the row wants a term that prices do not have yet.
fn price(spec: &Value) -> Option<Price> {
    let spec = spec.as_object().unwrap();
    if spec.keys().any(|term| !["connect_fee", "tiers", "rounding"].contains(&term.as_str())) {
        return None;
    }
    let secs = |tier: &Value, name: &str| u32::try_from(tier[name].as_u64().unwrap()).unwrap();
    let tiers = spec["tiers"].as_array().unwrap().iter().map(|tier| Tier {
        start_secs: secs(tier, "start_s"),
        rate: Nanos::parse(text(&tier["rate"])).unwrap(),
        unit_secs: secs(tier, "unit_s"),
        increment_secs: secs(tier, "increment_s"),
    });
    let rounding = format!("{}{}", text(&spec["rounding"]["method"]), spec["rounding"]["decimals"]);
    let connect_fee = Micros::parse(text(&spec["connect_fee"])).unwrap();
    Some(Price::new("EUR".parse().unwrap(), connect_fee, tiers.collect(), rounding.parse().unwrap()).unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn secs(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn costs() {
    let mut tried = 0;
    for row in rows(COST) {
        let Some(price) = price(&row["spec"]) else { continue };
        let got = cost(&price, secs(&row["duration_s"])).unwrap();
        let want = &row["expect"];
        assert_eq!(got.amount.to_string(), text(&want["cost"]), "{}", row["id"]);
        assert_eq!(got.billed_secs, secs(&want["billed_s"]), "{}", row["id"]);
        if let Some(calls) = row["calls"].as_i64() {
            let total = Micros::new(got.amount.get() * calls).unwrap();
            assert_eq!(total.to_string(), text(&want["total"]), "{}", row["id"]);
        }
        tried += 1;
    }
    assert_eq!(tried, 17, "rows in scope");
}

#[test]
fn grants() {
    let mut tried = 0;
    for row in rows(GRANT) {
        let Some(price) = price(&row["spec"]) else { continue };
        let (available, want) = (Micros::parse(text(&row["available"])).unwrap(), &row["expect"]);
        let got = grant(&price, available, secs(&row["cap_s"]));
        let (granted, hold) = got.map_or((0, Micros::ZERO), |grant| (grant.secs, grant.hold));
        assert_eq!((granted, hold.to_string().as_str()), (secs(&want["max_duration_s"]), text(&want["hold"])));
        if let Some(calls) = row["concurrent"].as_u64() {
            let (grants, left) = one_after_another(&price, available, secs(&row["cap_s"]), calls);
            assert_eq!(serde_json::json!(grants), want["grants"], "{}", row["id"]);
            assert_eq!(left.to_string(), text(&want["left"]), "{}", row["id"]);
        }
        tried += 1;
    }
    assert_eq!(tried, 4, "rows in scope");
}

/// Calls that ask at once all saw the whole credit; admission decides who gets it.
fn one_after_another(price: &Price, credit: Micros, cap_secs: u32, calls: u64) -> (Vec<u32>, Micros) {
    let top_up = serde_json::json!({ "wallet": "w", "currency": "EUR", "postings":
        [{ "type": "TopUpPosted", "id": "1", "amount": credit, "by": "test" }] });
    let mut wallet = Wallet::default();
    wallet.apply(1, jiff::Timestamp::UNIX_EPOCH, &serde_json::from_value(top_up).unwrap());
    let mut admission = Admission::load(&wallet);
    let (now, expires_at) = ("2024-01-02T12:00:00Z".parse().unwrap(), "2024-01-02T13:00:00Z".parse().unwrap());
    let grants = (0..calls).map(|call| {
        let (app, call) = (AppName::new("app").unwrap(), CallId::new(call.to_string()).unwrap());
        let leg = DecisionKey::of(&app, &call, Kind::Ice, "", b"");
        let wanted = grant(price, credit, cap_secs).unwrap();
        match admission.hold(now, &leg, wanted.hold, expires_at, b"") {
            HoldReply::Ok => wanted.secs,
            HoldReply::Insufficient { available } => grant(price, available, cap_secs).map_or(0, |grant| grant.secs),
            HoldReply::Dup(_) | HoldReply::Closed => unreachable!("a new leg of an active wallet"),
        }
    });
    (grants.collect(), admission.facts(now).available)
}

#[test]
fn prefixes() {
    let mut tried = 0;
    for row in rows(PREFIX) {
        let mut csv = "prefix,rate,currency\n".to_owned();
        for line in row["deck"].as_array().unwrap() {
            csv += &format!("{},{},EUR\n", text(&line["prefix"]), text(&line["rate"]));
        }
        let deck = Deck::from_csv("deck", csv.as_bytes()).unwrap();
        let number = PhoneNumber::parse(text(&row["number"])).unwrap();
        let found = deck.lookup(&number);
        assert_eq!(found.map(|row| row.prefix), row["expect"]["prefix"].as_str(), "{}", row["id"]);
        let rate = found.map(|row| row.price.tiers()[0].rate.to_string());
        assert_eq!(rate.as_deref(), row["expect"]["rate"].as_str(), "{}", row["id"]);
        tried += 1;
    }
    assert_eq!(tried, 5);
}

#[test]
fn the_largest_terms_overflow_and_do_not_panic() {
    let tier = |start_secs, unit_secs| Tier { start_secs, rate: Nanos::MAX, unit_secs, increment_secs: 1 };
    let dear = |unit| {
        let tiers = (0..32).map(|start| tier(start, unit)).collect();
        let rounding = Rounding::new(RoundingMethod::HalfEven, 6).unwrap();
        Price::new("EUR".parse().unwrap(), Micros::MAX, tiers, rounding).unwrap()
    };
    assert!(cost(&dear(1), u32::MAX).is_err());
    assert!(cost(&dear(u32::MAX), u32::MAX).is_err());
    assert_eq!(grant(&dear(1), Micros::MAX, u32::MAX), None);
    let whole_days = Tier { start_secs: 0, rate: Nanos::ZERO, unit_secs: 1, increment_secs: 86_400 };
    let free = Price::new("EUR".parse().unwrap(), Micros::ZERO, vec![whole_days], Rounding::default()).unwrap();
    assert!(cost(&free, u32::MAX).is_err(), "the billed seconds do not fit");
    let granted = grant(&free, Micros::ZERO, u32::MAX).unwrap();
    assert_eq!(granted.secs, u32::MAX / 86_400 * 86_400);
}

fn any_price() -> impl Strategy<Value = Price> {
    let tier = (0..5_000_000_000_i64, 1..700_u32, 1..90_u32, 1..20_u32);
    let rounding = (0..4_usize, 0..=6_u8);
    (0..3_000_000_i64, proptest::collection::vec(tier, 1..4), rounding).prop_map(|(fee, terms, (method, decimals))| {
        let mut start_secs = 0;
        let mut tiers = Vec::new();
        for (rate, unit_secs, increment_secs, increments) in terms {
            tiers.push(Tier { start_secs, rate: Nanos::new(rate).unwrap(), unit_secs, increment_secs });
            start_secs += increment_secs * increments;
        }
        let rounding = Rounding::new(RoundingMethod::ALL[method], decimals).unwrap();
        Price::new("EUR".parse().unwrap(), Micros::new(fee).unwrap(), tiers, rounding).unwrap()
    })
}

/// The cost by the letter of the rules: increment by increment, then rounded; slow and plain.
fn cost_by_increments(price: &Price, duration_secs: u32) -> (i128, u32) {
    let units: Vec<i128> = price.tiers().iter().map(|tier| i128::from(tier.unit_secs)).collect();
    let denominator: i128 = units.iter().product();
    let (mut second, mut sum) = (0, i128::from(price.connect_fee().get()) * 1000 * denominator);
    while second < duration_secs {
        let tier = price.tiers().iter().rev().find(|tier| tier.start_secs <= second).unwrap();
        sum += i128::from(tier.rate.get()) * i128::from(tier.increment_secs) * denominator / i128::from(tier.unit_secs);
        second += tier.increment_secs;
    }
    let step = denominator * 10_i128.pow(9 - u32::from(price.rounding().decimals()));
    let (below, rest) = (sum / step, sum % step);
    let above = match price.rounding().method() {
        RoundingMethod::Up => rest > 0,
        RoundingMethod::Down => false,
        RoundingMethod::HalfUp => rest * 2 >= step,
        RoundingMethod::HalfEven => rest * 2 > step || (rest * 2 == step && below % 2 == 1),
    };
    ((below + i128::from(above)) * step / denominator / 1000, second)
}

proptest! {
    #[test]
    fn cost_is_the_sum_of_its_increments(price in any_price(), secs in 1..5_000_u32) {
        let got = cost(&price, secs).unwrap();
        prop_assert_eq!((i128::from(got.amount.get()), got.billed_secs), cost_by_increments(&price, secs));
    }

    #[test]
    fn cost_starts_at_zero_and_never_falls(price in any_price(), secs in 0..100_000_u32, more in 0..1_000_u32) {
        prop_assert_eq!(cost(&price, 0).unwrap().amount, Micros::ZERO);
        let (shorter, longer) = (cost(&price, secs).unwrap(), cost(&price, secs + more).unwrap());
        prop_assert!(shorter.amount <= longer.amount && shorter.billed_secs <= longer.billed_secs);
        prop_assert!(shorter.billed_secs >= secs);
    }

    #[test]
    fn a_grant_is_the_inverse_of_cost(price in any_price(), available in -10..500_000_000_i64, cap in 0..20_000_u32) {
        let available = Micros::new(available).unwrap();
        match grant(&price, available, cap) {
            Some(grant) => {
                prop_assert!((1..=cap).contains(&grant.secs));
                prop_assert_eq!(cost(&price, grant.secs).unwrap().amount, grant.hold);
                prop_assert!(grant.hold <= available);
                prop_assert!(grant.secs == cap || cost(&price, grant.secs + 1).unwrap().amount > available);
                prop_assert!(grant.secs >= cap.min(price.tiers()[0].increment_secs), "the first increment, whole");
            }
            None => prop_assert!(cap == 0 || cost(&price, 1).unwrap().amount > available),
        }
    }

    #[test]
    fn a_price_comes_back_from_its_json(price in any_price()) {
        let json = serde_json::to_string(&price).unwrap();
        prop_assert_eq!(serde_json::from_str::<Price>(&json).unwrap(), price);
    }
}

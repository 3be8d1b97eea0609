//! The shared rows of cost, grant and prefix expectations, and the laws of rating.
#![expect(clippy::unwrap_used, reason = "a test stops where its data is wrong")]

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use money::explain::explain;
use money::spec::Spec;
use money::{
    Admission, Among, Answer, CannotRate, ConnectFeeMode, Deck, HoldReply, Limit, MaxCost, MaxCostStrategy, Micros,
    Nanos, Period, Price, PriceRows, Rounding, RoundingMethod, Tier, Wallet, cost, first_minute, grant,
};
use proptest::prelude::*;
use proto::{AppName, CallId, DecisionKey, Kind, PhoneNumber};
use serde_json::{Value, json};

const COST: &str = include_str!("../fixtures/rating/cost.jsonl");
const GRANT: &str = include_str!("../fixtures/rating/grant.jsonl");
const PREFIX: &str = include_str!("../fixtures/rating/prefix.jsonl");

fn rows(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn price(spec: &Value) -> Price {
    Price::try_from(serde_json::from_value::<Spec>(spec.clone()).unwrap()).unwrap()
}

fn answered_at(row: &Value) -> Timestamp {
    row["answer_time"].as_str().unwrap_or("2024-01-02T12:00:00Z").parse().unwrap()
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
        let price = price(&row["spec"]);
        let got = cost(&price, secs(&row["duration_s"]), answered_at(&row)).unwrap();
        let want = &row["expect"];
        assert_eq!(got.amount.to_string(), text(&want["cost"]), "{}", row["id"]);
        assert_eq!(got.billed_secs, secs(&want["billed_s"]), "{}", row["id"]);
        if let Some(calls) = row["calls"].as_i64() {
            let total = Micros::new(got.amount.get() * calls).unwrap();
            assert_eq!(total.to_string(), text(&want["total"]), "{}", row["id"]);
        }
        tried += 1;
    }
    assert_eq!(tried, 30, "every row");
}

#[test]
fn grants() {
    let mut tried = 0;
    for row in rows(GRANT) {
        let (price, answer) = (price(&row["spec"]), Answer::at(answered_at(&row)));
        let (available, want) = (Micros::parse(text(&row["available"])).unwrap(), &row["expect"]);
        let got = grant(&price, available, secs(&row["cap_s"]), answer);
        let (granted, hold) = got.map_or((0, Micros::ZERO), |grant| (grant.secs, grant.hold));
        assert_eq!((granted, hold.to_string().as_str()), (secs(&want["max_duration_s"]), text(&want["hold"])));
        if let Some(calls) = row["concurrent"].as_u64() {
            let (grants, left) = one_after_another(&price, available, secs(&row["cap_s"]), calls);
            assert_eq!(serde_json::json!(grants), want["grants"], "{}", row["id"]);
            assert_eq!(left.to_string(), text(&want["left"]), "{}", row["id"]);
        }
        tried += 1;
    }
    assert_eq!(tried, 7, "every row");
}

/// Calls that ask at once all saw the whole credit; admission decides who gets it.
fn one_after_another(price: &Price, credit: Micros, cap_secs: u32, calls: u64) -> (Vec<u32>, Micros) {
    let top_up = serde_json::json!({ "wallet": "w", "currency": "EUR", "postings":
        [{ "type": "TopUpPosted", "id": "1", "amount": credit, "by": "test" }] });
    let mut wallet = Wallet::default();
    wallet.apply(1, jiff::Timestamp::UNIX_EPOCH, &serde_json::from_value(top_up).unwrap());
    let mut admission = Admission::load(&wallet);
    let (now, expires_at) = ("2024-01-02T12:00:00Z".parse().unwrap(), "2024-01-02T13:00:00Z".parse().unwrap());
    let answer = Answer::at(now);
    let grants = (0..calls).map(|call| {
        let (app, call) = (AppName::new("app").unwrap(), CallId::new(call.to_string()).unwrap());
        let leg = DecisionKey::of(&app, &call, Kind::Ice, "", b"");
        let wanted = grant(price, credit, cap_secs, answer).unwrap();
        match admission.hold(now, Date::ZERO, &leg, wanted.hold, expires_at, b"") {
            HoldReply::Ok => wanted.secs,
            HoldReply::Limited(Limit::Credit { available }) => {
                grant(price, available, cap_secs, answer).map_or(0, |grant| grant.secs)
            }
            HoldReply::Dup(_) | HoldReply::Closed | HoldReply::Limited(_) => {
                unreachable!("a new leg of an active wallet")
            }
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
        let deck = match row["deck"].as_array().unwrap().is_empty() {
            true => Deck::of_rows("deck", []).unwrap(),
            false => Deck::from_csv("deck", csv.as_bytes()).unwrap(),
        };
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
    let tier =
        |start_secs, unit_secs| Tier { start_secs, rate: Nanos::MAX, unit_secs, increment_secs: 1, fee: Micros::MAX };
    let dear = |unit| {
        let tiers = (0..32).map(|start| tier(start, unit)).collect();
        let rounding = Rounding::new(RoundingMethod::HalfEven, 6).unwrap();
        Price::new("EUR".parse().unwrap(), Micros::MAX, tiers, rounding).unwrap()
    };
    let (noon, answer) = (noon(), Answer::at(noon()));
    assert!(cost(&dear(1), u32::MAX, noon).is_err());
    assert!(cost(&dear(u32::MAX), u32::MAX, noon).is_err());
    assert_eq!(grant(&dear(1), Micros::MAX, u32::MAX, answer), None);
    let whole_days = Tier { start_secs: 0, rate: Nanos::ZERO, unit_secs: 1, increment_secs: 86_400, fee: Micros::ZERO };
    let free = Price::new("EUR".parse().unwrap(), Micros::ZERO, vec![whole_days], Rounding::default()).unwrap();
    assert!(cost(&free, u32::MAX, noon).is_err(), "the billed seconds do not fit");
    let granted = grant(&free, Micros::ZERO, u32::MAX, answer).unwrap();
    assert_eq!(granted.secs, u32::MAX / 86_400 * 86_400);
}

fn noon() -> Timestamp {
    "2024-01-02T12:00:00Z".parse().unwrap()
}

fn micros(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

/// What a spec costs, in words.
fn rated(spec: &Value, secs: u32, at: &str) -> String {
    cost(&price(spec), secs, at.parse().unwrap()).unwrap().amount.to_string()
}

fn granted(spec: &Value, available: &str, cap_secs: u32, from: &str, ring_secs: u32) -> (u32, String) {
    let answer = Answer { from: from.parse().unwrap(), ring_secs };
    let got = grant(&price(spec), micros(available), cap_secs, answer);
    got.map_or((0, "0".to_owned()), |grant| (grant.secs, grant.hold.to_string()))
}

#[test]
fn included_seconds_are_in_the_fee_and_short_calls_may_be_free() {
    let tier = json!([{ "start_s": 0, "rate": "0.6", "unit_s": 60, "increment_s": 60 }]);
    let included = json!({ "connect_fee": "0.1", "tiers": tier, "included_s": 30 });
    let noon = "2024-01-02T12:00:00Z";
    for (secs, want) in [(0, "0"), (1, "0.1"), (30, "0.1"), (31, "0.7"), (90, "0.7"), (91, "1.3")] {
        assert_eq!(rated(&included, secs, noon), want, "{secs}");
    }
    assert_eq!(granted(&included, "0.1", 600, noon, 0), (30, "0.1".to_owned()));
    assert_eq!(granted(&included, "0.09", 600, noon, 0), (0, "0".to_owned()));
    let grace = json!({ "connect_fee": "0.1", "tiers": tier, "no_charge_s": 5 });
    for (secs, want) in [(5, "0"), (6, "0.7"), (61, "1.3")] {
        assert_eq!(rated(&grace, secs, noon), want, "{secs}");
    }
    assert_eq!(granted(&grace, "0.5", 600, noon, 0), (0, "0".to_owned()), "the first increment does not fit");
    assert_eq!(granted(&grace, "0.7", 600, noon, 0), (60, "0.7".to_owned()));
}

#[test]
fn the_least_and_the_most_a_call_costs() {
    let tier = json!([{ "start_s": 0, "rate": "0.1", "unit_s": 1, "increment_s": 1 }]);
    let free = json!({ "tiers": tier, "min_cost": "0.35", "max_cost": { "amount": "2", "strategy": "free" } });
    let noon = "2024-01-02T12:00:00Z";
    for (secs, want) in [(0, "0"), (1, "0.35"), (4, "0.4"), (20, "2"), (2000, "2")] {
        assert_eq!(rated(&free, secs, noon), want, "{secs}");
    }
    assert_eq!(granted(&free, "0.34", 600, noon, 0), (0, "0".to_owned()));
    assert_eq!(granted(&free, "0.4", 600, noon, 0), (4, "0.4".to_owned()));
    assert_eq!(granted(&free, "2", 600, noon, 0), (600, "2".to_owned()));
    let coarse = json!({ "tiers": tier, "max_cost": { "amount": "0.25", "strategy": "free" },
        "rounding": { "method": "up", "decimals": 0 } });
    assert_eq!(rated(&coarse, 1, noon), "0.25", "rounding does not lead beyond the most");
}

#[test]
fn what_other_systems_call_blocks_and_segments() {
    let tiers = json!([{ "start_s": 0, "rate": "0.6", "unit_s": 60, "increment_s": 7 }]);
    let noon = noon();
    for (model, secs, billed) in [
        ("total_multiple", 1, 30),
        ("total_multiple", 30, 30),
        ("total_multiple", 31, 35),
        ("total_multiple", 36, 42),
        ("first_next", 31, 37),
    ] {
        let price = price(&json!({ "tiers": tiers, "block_model": model, "initial_s": 30 }));
        assert_eq!(cost(&price, secs, noon).unwrap().billed_secs, billed, "{model} {secs}");
    }
    for spec in [
        json!({ "tiers": tiers, "initial_s": 0 }),
        json!({ "tiers": tiers, "segments": [] }),
        json!({ "tiers": tiers, "surcharge": "1" }),
        json!({ "segments": [] }),
        json!({}),
    ] {
        let read = serde_json::from_value::<Spec>(spec.clone()).map_err(|error| error.to_string());
        assert!(read.and_then(|spec| Price::try_from(spec).map_err(|error| error.to_string())).is_err(), "{spec}");
    }
}

/// A price that is dearer from 18:00, in Stockholm.
fn evenings() -> Value {
    let tier = |rate| json!([{ "start_s": 0, "rate": rate, "unit_s": 60, "increment_s": 60 }]);
    json!({ "tiers": tier("0.3"), "time_zone": "Europe/Stockholm",
        "periods": [{ "from": "18:00:00", "connect_fee": "0.2", "tiers": tier("0.6") }] })
}

#[test]
fn periods_go_by_the_clock_of_their_zone() {
    for (at, want) in [
        ("2024-01-02T16:59:00Z", "0.9"),
        ("2024-01-02T16:59:00.999Z", "0.9"),
        ("2024-01-02T17:00:00Z", "1.4"),
        ("2024-07-02T15:58:59+00:00", "0.6"),
        ("2024-07-02T16:00:00Z", "1.4"),
        ("2024-01-02T22:59:00Z", "1.1"),
        ("2024-01-02T23:00:00Z", "0.6"),
    ] {
        assert_eq!(rated(&evenings(), 120, at), want, "{at}");
    }
    assert_eq!(first_minute(&price(&evenings()), "2024-07-02T16:00:00Z".parse().unwrap()), Ok(micros("0.6")));
}

#[test]
fn clocks_that_are_put_back_pass_a_beginning_twice() {
    let tier = |rate| json!([{ "start_s": 0, "rate": rate, "unit_s": 1, "increment_s": 1 }]);
    let spec = json!({ "tiers": tier("1"), "time_zone": "Europe/Stockholm",
        "periods": [{ "from": "02:30:00", "tiers": tier("2") }] });
    // 02:00 to 03:00 comes twice that night: 30 minutes at 1 and 30 at 2, two times over.
    assert_eq!(rated(&spec, 7200, "2024-10-27T00:00:00Z"), "10800");
}

#[test]
fn a_dearer_period_may_begin_while_it_rings() {
    let ask = |available, from, ring_secs| granted(&evenings(), available, 120, from, ring_secs);
    assert_eq!(ask("10", "2024-01-02T16:58:30Z", 29), (120, "0.6".to_owned()));
    assert_eq!(ask("10", "2024-01-02T16:58:30Z", 30), (120, "0.9".to_owned()), "the second minute");
    assert_eq!(ask("10", "2024-01-02T16:58:30Z", 89), (120, "0.9".to_owned()));
    assert_eq!(ask("10", "2024-01-02T16:58:30Z", 90), (120, "1.4".to_owned()), "both minutes and the fee");
    assert_eq!(ask("1.3", "2024-01-02T16:58:30Z", 90), (60, "0.8".to_owned()));
    assert_eq!(ask("0.7", "2024-01-02T16:58:30Z", 90), (0, "0".to_owned()));
    assert_eq!(ask("0.7", "2024-01-02T16:00:00Z", 90), (120, "0.6".to_owned()));
}

#[test]
fn time_without_a_period_has_no_cost_and_is_not_granted() {
    let tiers = json!([{ "start_s": 0, "rate": "1", "unit_s": 60, "increment_s": 60 }]);
    let spec = json!({ "periods": [{ "from": "08:00:00", "tiers": tiers }] });
    let night = "2024-01-02T07:00:00Z".parse().unwrap();
    assert_eq!(cost(&price(&spec), 60, night), Err(CannotRate::NoPeriod(night)));
    assert_eq!(granted(&spec, "10", 600, "2024-01-02T07:00:00Z", 0).0, 0);
    assert_eq!(granted(&spec, "10", 600, "2024-01-02T23:55:00Z", 0).0, 300, "to midnight");
}

#[test]
fn of_two_periods_the_weight_decides_then_the_later() {
    let period = |from: &str, weight: i32, rate: &str| {
        json!({ "from": from, "weight": weight,
            "tiers": [{ "start_s": 0, "rate": rate, "unit_s": 1, "increment_s": 1 }] })
    };
    let spec = json!({ "periods": [period("06:00:00", 1, "1"), period("08:00:00", 1, "2"), period("10:00:00", 0, "3"),
        period("12:00:00", 2, "4"), period("00:00:00", 0, "5")] });
    for (at, want) in [("05", "5"), ("06", "1"), ("09", "2"), ("11", "2"), ("12", "4"), ("23", "4")] {
        assert_eq!(rated(&spec, 1, &format!("2024-01-02T{at}:30:00Z")), want, "{at}");
    }
}

#[test]
fn four_hours_by_the_second_are_not_counted_one_by_one() {
    let started = std::time::Instant::now();
    let price = price(&evenings());
    for _ in 0..1000 {
        cost(&price, 14_400, noon()).unwrap();
    }
    println!("1000 calls of four hours with periods: {:?}", started.elapsed());
    let tiers = json!([{ "start_s": 0, "rate": "0.6", "unit_s": 60, "increment_s": 1 }]);
    let (plain, started) = (self::price(&json!({ "tiers": tiers })), std::time::Instant::now());
    for _ in 0..1000 {
        grant(&plain, micros("3"), 14_400, Answer { from: noon(), ring_secs: 120 }).unwrap();
    }
    println!("1000 grants at a plain price: {:?}", started.elapsed());
    assert!(started.elapsed().as_secs() < 5, "even unoptimised");
}

fn any_tiers() -> impl Strategy<Value = Vec<Tier>> {
    let fee = prop_oneof![Just(0), 0..1_000_000_i64];
    // Units with a common multiple, however many tiers there are.
    let unit = proptest::sample::select(vec![1_u32, 7, 10, 11, 30, 60, 90, 600]);
    let tier = (0..5_000_000_000_i64, unit, 1..90_u32, 1..20_u32, fee);
    proptest::collection::vec(tier, 1..4).prop_map(|terms| {
        let mut start_secs = 0;
        let tiers = terms.into_iter().map(|(rate, unit_secs, increment_secs, increments, fee)| {
            let (rate, fee) = (Nanos::new(rate).unwrap(), Micros::new(fee).unwrap());
            let tier = Tier { start_secs, rate, unit_secs, increment_secs, fee };
            start_secs += increment_secs * increments;
            tier
        });
        tiers.collect()
    })
}

fn any_among<const MAX: u8>() -> impl Strategy<Value = Among<MAX>> {
    let some = proptest::collection::vec(1..=MAX, 0..usize::from(MAX));
    prop_oneof![Just(Among::default()), some.prop_map(|numbers| Among::try_from(numbers).unwrap())]
}

fn any_period() -> impl Strategy<Value = Period> {
    let from = prop_oneof![Just(0), 0..86_400_i32].prop_map(|secs| {
        let part = |secs: i32| i8::try_from(secs).unwrap();
        jiff::civil::time(part(secs / 3600), part(secs / 60 % 60), part(secs % 60), 0)
    });
    let days = (any_among::<7>(), any_among::<12>(), any_among::<31>());
    (days, from, -1..2_i32, 0..3_000_000_i64, any_tiers()).prop_map(
        |((weekdays, months, month_days), from, weight, fee, tiers)| {
            let connect_fee = Micros::new(fee).unwrap();
            Period { weekdays, months, month_days, from, weight, connect_fee, tiers }
        },
    )
}

fn any_price() -> impl Strategy<Value = Price> {
    let rounding = (0..4_usize, 0..=6_u8);
    let amount = || prop_oneof![Just(0), 0..20_000_000_i64];
    let limits = (amount(), proptest::option::of((0..100_000_000_i64, any::<bool>())));
    let spared = (prop_oneof![Just(0), 0..200_u32], prop_oneof![Just(0), 0..200_u32]);
    let zones = prop_oneof![Just("UTC"), Just("Europe/Stockholm"), Just("Australia/Lord_Howe")];
    let periods = prop_oneof![Just(Vec::new()), proptest::collection::vec(any_period(), 0..5)];
    ((0..3_000_000_i64, any::<bool>()), any_tiers(), rounding, periods, limits, spared, zones).prop_map(
        |((fee, minimum), tiers, (method, decimals), periods, (min_cost, max_cost), (included, grace), zone)| {
            let rounding = Rounding::new(RoundingMethod::ALL[method], decimals).unwrap();
            let mut rows = PriceRows::plain("EUR".parse().unwrap(), Micros::new(fee).unwrap(), tiers, rounding);
            rows.connect_fee_mode = if minimum { ConnectFeeMode::Minimum } else { ConnectFeeMode::Add };
            rows.periods = periods;
            rows.time_zone = zone.parse().unwrap();
            rows.min_cost = Micros::new(min_cost).unwrap();
            rows.max_cost = max_cost.map(|(amount, free)| MaxCost {
                amount: Micros::new(amount + min_cost).unwrap(),
                strategy: if free { MaxCostStrategy::Free } else { MaxCostStrategy::Disconnect },
            });
            rows.included_secs = included;
            rows.no_charge_secs = grace;
            Price::check(rows).unwrap()
        },
    )
}

/// Around the nights on which the clocks change, the ends of months, and anywhere else.
fn any_time() -> impl Strategy<Value = Timestamp> {
    let around = prop_oneof![
        Just("2024-10-27T00:00:00Z"),
        Just("2024-03-31T00:00:00Z"),
        Just("2024-04-06T14:00:00Z"),
        Just("2024-02-29T22:00:00Z"),
        Just("2024-12-31T20:00:00Z"),
    ];
    let around = around.prop_map(|text| text.parse::<Timestamp>().unwrap().as_second());
    (prop_oneof![around, 1_600_000_000..1_900_000_000_i64], 0..10_000_i64)
        .prop_map(|(second, more)| Timestamp::from_second(second + more).unwrap())
}

/// The terms in force at one second, by the letter: the zone's clock, every period asked.
fn terms_at(rows: &PriceRows, second: i64) -> (usize, Micros, &[Tier]) {
    let zone = TimeZone::get(rows.time_zone.as_str()).unwrap();
    let clock = Timestamp::from_second(second).unwrap().to_zoned(zone).datetime();
    let has = |numbers: Vec<u8>, number: i8| numbers.is_empty() || numbers.contains(&u8::try_from(number).unwrap());
    let mut best: Option<(usize, &Period)> = None;
    for (index, period) in rows.periods.iter().enumerate() {
        let begun = has(period.weekdays.into(), clock.weekday().to_monday_one_offset())
            && has(period.months.into(), clock.month())
            && has(period.month_days.into(), clock.day())
            && period.from <= clock.time();
        if begun && best.is_none_or(|(_, best)| (period.weight, period.from) > (best.weight, best.from)) {
            best = Some((index + 1, period));
        }
    }
    best.map_or((0, rows.connect_fee, &rows.tiers), |(index, period)| (index, period.connect_fee, &period.tiers))
}

/// The cost by the letter of the rules: second by second, increment by increment, then rounded; slow and plain.
fn cost_second_by_second(price: &Price, duration_secs: u32, answered_at: Timestamp) -> (i128, u32) {
    let rows = price.rows();
    if duration_secs == 0 || duration_secs <= rows.no_charge_secs {
        return (0, 0);
    }
    let every = rows.tiers.iter().chain(rows.periods.iter().flat_map(|period| &period.tiers));
    let denominator = every.map(|tier| i128::from(tier.unit_secs)).fold(1, |a, b| {
        let (mut x, mut y) = (a, b);
        while y != 0 {
            (x, y) = (y, x % y);
        }
        a / x * b
    });
    let answered = answered_at.as_second();
    let (mut billed_until, mut sum, mut last) = (rows.included_secs, 0, None);
    for second in rows.included_secs..duration_secs {
        if second < billed_until {
            continue;
        }
        let position = second - rows.included_secs;
        let (index, _, tiers) = terms_at(rows, answered + i64::from(second));
        let tier = tiers.iter().rev().find(|tier| tier.start_secs <= position).unwrap();
        if last != Some((index, tier.start_secs)) {
            sum += i128::from(tier.fee.get()) * 1000 * denominator;
        }
        last = Some((index, tier.start_secs));
        sum +=
            i128::from(tier.rate.get()) * i128::from(tier.increment_secs) * (denominator / i128::from(tier.unit_secs));
        billed_until = second + tier.increment_secs;
    }
    let fee = i128::from(terms_at(rows, answered).1.get()) * 1000 * denominator;
    let sum = match rows.connect_fee_mode {
        ConnectFeeMode::Add => sum + fee,
        ConnectFeeMode::Minimum => sum.max(fee),
    };
    let step = denominator * 10_i128.pow(9 - u32::from(price.rounding().decimals()));
    let (below, rest) = (sum / step, sum % step);
    let above = match price.rounding().method() {
        RoundingMethod::Up => rest > 0,
        RoundingMethod::Down => false,
        RoundingMethod::HalfUp => rest * 2 >= step,
        RoundingMethod::HalfEven => rest * 2 > step || (rest * 2 == step && below % 2 == 1),
    };
    let mut cost = ((below + i128::from(above)) * step / denominator / 1000).max(rows.min_cost.get().into());
    if let Some(MaxCost { amount, strategy: MaxCostStrategy::Free }) = rows.max_cost {
        cost = cost.min(amount.get().into());
    }
    (cost, billed_until - rows.included_secs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn cost_is_the_sum_of_its_seconds(price in any_price(), secs in 1..9_000_u32, at in any_time()) {
        let got = cost(&price, secs, at).unwrap();
        prop_assert_eq!((i128::from(got.amount.get()), got.billed_secs), cost_second_by_second(&price, secs, at));
    }

    /// Whatever the terms. It may fall where the call is answered later.
    #[test]
    fn cost_starts_at_zero_and_never_falls_as_the_call_goes_on(
        price in any_price(), secs in 0..100_000_u32, more in 0..1_000_u32, at in any_time(),
    ) {
        prop_assert_eq!(cost(&price, 0, at).unwrap().amount, Micros::ZERO);
        let (shorter, longer) = (cost(&price, secs, at).unwrap(), cost(&price, secs + more, at).unwrap());
        prop_assert!(shorter.amount <= longer.amount && shorter.billed_secs <= longer.billed_secs);
    }

    #[test]
    fn a_grant_is_the_inverse_of_cost(
        price in any_price(), available in -10..500_000_000_i64, cap in 0..20_000_u32, at in any_time(), ring in 0..90_u32,
    ) {
        let available = Micros::new(available).unwrap();
        let limit = match price.rows().max_cost {
            Some(MaxCost { amount, strategy: MaxCostStrategy::Disconnect }) => available.min(amount),
            _ => available,
        };
        let seconds = (0..=ring).map(|secs| Timestamp::from_second(at.as_second() + i64::from(secs)).unwrap());
        let dearest = |secs| seconds.clone().map(|at| cost(&price, secs, at).unwrap().amount).max().unwrap();
        match grant(&price, available, cap, Answer { from: at, ring_secs: ring }) {
            Some(grant) => {
                prop_assert!((1..=cap).contains(&grant.secs));
                prop_assert_eq!(dearest(grant.secs), grant.hold);
                prop_assert!(grant.hold <= limit);
                prop_assert!(grant.secs == cap || dearest(grant.secs + 1) > limit);
            }
            None => {
                let worth = seconds.clone().any(|at| {
                    let first = match price.rows().included_secs {
                        0 => terms_at(price.rows(), at.as_second()).2[0].increment_secs,
                        included => included,
                    };
                    cap == 0 || cost(&price, first.min(cap), at).unwrap().amount > limit
                });
                prop_assert!(worth);
            }
        }
    }

    #[test]
    fn an_explanation_adds_up(price in any_price(), secs in 0..9_000_u32, at in any_time()) {
        let (explained, cost) = (explain(&price, secs, at).unwrap(), cost(&price, secs, at).unwrap());
        prop_assert_eq!(explained.cost, cost);
        prop_assert_eq!(explained.steps.iter().map(|step| step.billed_secs).sum::<u32>(), cost.billed_secs);
        let next = explained.steps.iter().scan(price.rows().included_secs, |from, step| {
            let begins = std::mem::replace(from, *from + step.billed_secs);
            Some(begins == step.from_secs)
        });
        prop_assert!(next.into_iter().all(|follows| follows));
    }

    #[test]
    fn a_price_comes_back_from_its_json(price in any_price()) {
        let json = serde_json::to_string(&price).unwrap();
        prop_assert_eq!(serde_json::from_str::<Price>(&json).unwrap(), price);
    }
}

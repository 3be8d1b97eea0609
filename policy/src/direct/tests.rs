//! What is settled here is what CEL says, on facts and expressions of any kind.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proto::signature::Verified;
use proto::{AppName, Callback, WalletId};
use serde_json::json;

use crate::facts::{AppFacts, Facts, WalletFacts};
use crate::live_list::LiveLists;
use crate::policy::Policy;
use crate::variables::Variables;

const TEXTS: &[&str] =
    &["call.cli", "call.user", "call.to.type", "call.cookies.a", "call.memory['a']", "app.name", "env['A.B']"];
const CONSTANTS: &[&str] = &["'eve'", "'+46701111111'", "'number'", "'é'", "''"];
const NUMBERS: &[&str] =
    &["call.version", "now", "wallet.available", "0", "7", "-1", "money('1.5')", "money(call.user)"];
const TRUTHS: &[&str] = &[
    "true",
    "false",
    "hours.open",
    "has(call.user)",
    "has(call.to.type)",
    "has(call.memory.a)",
    "has(wallet.available)",
    "has(has(call.to).type)",
    "has(call.to).type",
    "call.memory.exists(key, key == 'eve')",
];
/// No value that is compared here.
const OTHERS: &[&str] =
    &["call.to", "call.memory", "1.5", "7u", "null", "b'eve'", "['eve']", "call.user + 'e'", "1 / 0"];

fn anything() -> impl Strategy<Value = String> {
    let one_of = |words: &'static [&'static str]| select(words).prop_map(str::to_owned);
    let leaf = prop_oneof![
        4 => one_of(TEXTS), 3 => one_of(CONSTANTS), 3 => one_of(NUMBERS), 4 => one_of(TRUTHS), 1 => one_of(OTHERS)
    ];
    leaf.prop_recursive(3, 24, 3, |part| {
        let operator = select(vec!["==", "!=", "<", "<=", ">", ">="]);
        let method = select(vec!["startsWith", "endsWith", "contains"]);
        let pair = || (part.clone(), part.clone());
        prop_oneof![
            part.clone().prop_map(|a| format!("!({a})")),
            pair().prop_map(|(a, b)| format!("({a} && {b})")),
            pair().prop_map(|(a, b)| format!("({a} || {b})")),
            (pair(), part.clone()).prop_map(|((a, b), c)| format!("({a} ? {b} : {c})")),
            (pair(), operator).prop_map(|((a, b), is)| format!("({a} {is} {b})")),
            (pair(), method).prop_map(|((a, b), finds)| format!("({a}).{finds}({b})")),
            (part.clone(), select(TEXTS)).prop_map(|(a, b)| format!("({a} in lists.known || {b} in lists['known'])")),
            part.clone().prop_map(|a| format!("({a} in ['eve', 'number'])")),
            part.clone().prop_map(|a| format!("({a} in ['eve', 7])")),
            part.clone().prop_map(|a| format!("prefix({a}, '+4670')")),
            part.clone().prop_map(|a| format!("country({a})")),
            part.prop_map(|a| format!("percent({a})")),
        ]
    })
}

/// `None` where the expression is refused.
fn policy(condition: &str) -> Option<Policy> {
    let text = json!({
        "version": 1,
        "lists": { "known": ["+46701111111", "eve"] },
        "hours": { "open": { "days": "mon-sun", "from": "00:00", "to": "12:00", "tz": "UTC" } },
        "ice": [{ "name": "asked", "when": condition, "deny": "YES" }, { "name": "rest", "deny": "NO" }],
    });
    Policy::load(&text.to_string(), "test.yaml", &|_| Err("no files".to_owned())).ok()
}

/// Compares both ways of evaluating; gives whether the direct one settled it.
fn settled(policy: &Policy, callback: &serde_json::Value, wallet: Option<i64>) -> bool {
    let body = Verified::unchecked(Bytes::from(callback.to_string()));
    let texts: BTreeMap<String, String> =
        [("a", "eve"), ("A.B", "number")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let facts = Facts {
        app: AppFacts { name: &AppName::new("eve").expect("name"), wallet: &WalletId::new("eve").expect("wallet") },
        callback: &Callback::parse(&body).expect("callback"),
        now: Timestamp::UNIX_EPOCH,
        memory: &texts,
        wallet: wallet.map(|available_micros| WalletFacts { available_micros, currency: "EUR".to_owned() }),
        price: None,
        env: &texts,
        lists: &LiveLists::default(),
    };
    let condition = policy.rules.ice[0].when.as_ref().expect("a condition");
    let [direct, cel, both] = [(); 3].map(|()| Variables::new(policy, &facts, Vec::new()));
    let told = condition.direct.evaluate(&direct);
    let expected = condition.evaluate_in_cel(&cel);
    assert_eq!(condition.evaluate(&both).ok(), expected.clone().ok());
    assert_eq!(both.recorded().1, cel.recorded().1, "what was asked of lists");
    if let Some(told) = &told {
        assert_eq!(Ok(told), expected.as_ref());
    }
    told.is_some()
}

fn call() -> serde_json::Value {
    json!({
        "event": "ice", "callid": "c", "cli": "46701111111", "user": "eve", "version": 7,
        "to": { "type": "number", "endpoint": "x" }, "cookies": [{ "key": "a", "value": "é" }],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_settled_is_what_cel_says(
        condition in anything(), wallet in prop::option::of(0..2_000_000_i64),
        gone in prop::collection::vec(select(vec!["cli", "user", "version", "to", "cookies"]), 0..3),
    ) {
        let mut callback = call();
        callback.as_object_mut().expect("a record").retain(|name, _| !gone.contains(&name.as_str()));
        if let Some(policy) = policy(&condition) {
            settled(&policy, &callback, wallet);
        }
    }
}

#[test]
fn simple_shapes_are_settled() {
    for condition in [
        "has(call.user) && call.user == 'eve'",
        "!has(call.rdnis) || call.rdnis != 'x'",
        "call.cli.startsWith('4670') && call.cli.endsWith('1') && call.cli.contains('11')",
        "prefix(call.cli, '+46') && country(call.cli) == 'SE' && percent(call.id) < 100",
        "call.to.type in ['number', 'did'] && call.cli in lists.known",
        "call.memory['a'] == 'eve' && env['A.B'] == 'number'",
        "hours.open ? wallet.available >= money('0.5') : now <= 0",
        "call.to.type == 'did' && call.memory.exists(key, key == 'x')",
    ] {
        assert!(settled(&policy(condition).expect(condition), &call(), Some(1_000_000)), "{condition}");
    }
}

#[test]
fn errors_are_not_settled() {
    for condition in [
        "call.rdnis == 'x'",
        "call.rdnis == 'x' || call.user == 'eve'",
        "call.user == 'eve' && call.version",
        "call.version.startsWith('7')",
        "call.version in lists.known",
    ] {
        assert!(!settled(&policy(condition).expect(condition), &call(), None), "{condition}");
    }
}

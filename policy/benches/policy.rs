//! How long a decision takes, and a load. `cargo bench -p policy`.
//!
//! Wanted: a decision at the end of 50 rules with a list of a million numbers, p50 at most 20 µs; a policy of 2,000 lines
//! loaded and checked in 200 ms; a recorded call decided again in 40 µs.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use divan::{Bencher, black_box};
use jiff::Timestamp;
use policy::{AppFacts, Facts, LiveLists, Policy, Recorded, Replayed, WalletFacts};
use proto::signature::Verified;
use proto::{AppName, Callback, ListChanged, ListName, WalletId};

const LISTED: u64 = 1_000_000;
const LINES: usize = 2_000;

fn main() {
    divan::main();
}

/// The last but one applies: every condition is worked out.
#[divan::bench(sample_count = 2_000, sample_size = 10)]
fn decide_50_rules_list_of_a_million(bencher: Bencher<'_, '_>) {
    let list = (0..LISTED).fold(String::new(), |mut list, number| {
        let _ = writeln!(list, "+4670{number:07}");
        list
    });
    let policy = Policy::load(&fifty_rules(), "bench.yaml", &|_| Ok(list.clone())).expect("policy");
    let (callback, scene) = (callback(), Scene::new());
    let facts = scene.facts(&callback);
    assert_eq!(policy.decide(&facts).rule, "allowed");
    bencher.bench(|| policy.decide(black_box(&facts)));
}

/// One question to a live list of a million numbers.
#[divan::bench(sample_count = 2_000, sample_size = 10)]
fn ask_live_list_of_a_million(bencher: Bencher<'_, '_>) {
    let (lists, name) = (LiveLists::default(), ListName::new("blocked").expect("name"));
    let added = (0..LISTED).map(|number| format!("+4670{number:07}")).collect();
    lists.apply(&name, 1, &ListChanged { added, ..ListChanged::default() });
    let ask = |number: &str| lists.with(&name, |list| list.is_some_and(|list| list.contains(number)));
    assert!(ask("46700999999") && !ask("46711999999"));
    bencher.bench(|| ask(black_box("46700123456")));
}

/// A recorded call through another policy.
#[divan::bench(sample_count = 2_000, sample_size = 10)]
fn replay_50_rules(bencher: Bencher<'_, '_>) {
    let policy = Policy::load(&fifty_rules(), "bench.yaml", &|_| Ok("+46700999999".to_owned())).expect("policy");
    let callback = callback();
    let scene = Scene::new();
    let decision = policy.decide(&scene.facts(&callback));
    let (past, wallet) = (&decision.explanation, decision.wallet.as_ref());
    let recorded = Recorded { callback: &callback, facts: &past.facts, lists: &past.lists, wallet };
    assert!(matches!(policy.replay(&recorded, &scene.lists), Replayed::Decided(_)));
    bencher.bench(|| policy.replay(black_box(&recorded), &scene.lists));
}

/// Rules, and tests that run.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn load_2000_lines(bencher: Bencher<'_, '_>) {
    let mut text = "version: 1\nice:\n".to_owned();
    for rule in 0..(LINES - 100) / 4 {
        let _ = writeln!(text, "  - name: rule{rule}");
        let _ =
            writeln!(text, "    when: has(call.cli) && call.cli.startsWith('46{rule}') && call.to.type == 'number'");
        let _ = writeln!(text, "    remember: {{ caller: \"${{call.cli}}\" }}");
        let _ = writeln!(
            text,
            "    reply: {{ say: \"Hello ${{call.cli}}\", connect_pstn: \"+46701234567\", max_duration: 10m }}"
        );
    }
    text.push_str("  - { name: default, deny: NO }\ntests:\n");
    while text.lines().count() < LINES {
        text.push_str("  - { it: refuses, given: { event: ice, call: { cli: \"1\" } }, expect: { reason: NO } }\n");
    }
    let load = || Policy::load(black_box(&text), "bench.yaml", &|_| Err(String::new())).expect("policy");
    bencher.bench_local(load);
}

/// 48 rules that look and do not apply, one that reserves for a number on a list, and a default.
fn fifty_rules() -> String {
    let mut text = "version: 1\nlists: { allowed: { file: allowed.txt } }\nice:\n".to_owned();
    for rule in 0..48 {
        let when = match rule % 4 {
            0 => format!("has(call.user) && call.user == 'user{rule}'"),
            1 => format!("has(call.cli) && call.cli.startsWith('4670000{rule:02}')"),
            2 => format!("prefix(call.to.endpoint, '+99{rule:02}')"),
            _ => format!("call.to.type == 'did' && call.memory.exists(key, key == 'm{rule}')"),
        };
        let _ = writeln!(text, "  - {{ name: rule{rule}, when: \"{when}\", deny: NO }}");
    }
    text.push_str("  - { name: allowed, when: call.to.endpoint in lists.allowed, reserve: true, reply: { connect_pstn: true } }\n");
    text.push_str("  - { name: default, deny: NOT_ALLOWLISTED }\n");
    text
}

fn callback() -> Callback {
    let body = r#"{"event":"ice","callid":"c1","timestamp":"2026-01-01T00:00:00Z","cli":"46701111111","user":"eve",
        "to":{"type":"number","endpoint":"46700999999"},"domain":"pstn","originationType":"MXP"}"#;
    Callback::parse(&Verified::unchecked(Bytes::from(body))).expect("callback")
}

/// What a worker holds around a callback.
struct Scene {
    name: AppName,
    wallet: WalletId,
    empty: BTreeMap<String, String>,
    lists: LiveLists,
}

impl Scene {
    fn new() -> Self {
        let (name, wallet) = (AppName::new("acme").expect("name"), WalletId::new("acme").expect("wallet"));
        Self { name, wallet, empty: BTreeMap::new(), lists: LiveLists::default() }
    }

    fn facts<'a>(&'a self, callback: &'a Callback) -> Facts<'a> {
        Facts {
            app: AppFacts { name: &self.name, wallet: &self.wallet },
            callback,
            now: Timestamp::UNIX_EPOCH,
            memory: &self.empty,
            wallet: Some(WalletFacts { available_micros: 1_000_000, currency: "EUR".to_owned() }),
            price: None,
            env: &self.empty,
            lists: &self.lists,
        }
    }
}

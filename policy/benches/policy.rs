//! How long a decision takes, and a load. `cargo bench -p policy`.
//!
//! Wanted: a decision at the end of 50 rules with a list of a million numbers, p50 at most 20 µs; a policy of 2,000 lines
//! loaded and checked in 200 ms.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use divan::{Bencher, black_box};
use jiff::Timestamp;
use policy::{AppFacts, Facts, LiveLists, Policy, WalletFacts};
use proto::signature::Verified;
use proto::{AppName, Callback, WalletId};

const LISTED: u64 = 1_000_000;
const LINES: usize = 2_000;

fn main() {
    divan::main();
}

/// 49 rules that look and do not apply, and one that reserves for a number on the list.
#[divan::bench(sample_count = 2_000, sample_size = 10)]
fn decide_50_rules_list_of_a_million(bencher: Bencher<'_, '_>) {
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
    let list = (0..LISTED).fold(String::new(), |mut list, number| {
        let _ = writeln!(list, "+4670{number:07}");
        list
    });
    let policy = Policy::load(&text, "bench.yaml", &|_| Ok(list.clone())).expect("policy");
    let body = r#"{"event":"ice","callid":"c1","timestamp":"2026-01-01T00:00:00Z","cli":"46701111111","user":"eve",
        "to":{"type":"number","endpoint":"46700999999"},"domain":"pstn","originationType":"MXP"}"#;
    let callback = Callback::parse(&Verified::unchecked(Bytes::from(body))).expect("callback");
    let (name, wallet) = (AppName::new("acme").expect("name"), WalletId::new("acme").expect("wallet"));
    let (memory, env) = (BTreeMap::new(), BTreeMap::new());
    let lists = LiveLists::default();
    let facts = Facts {
        app: AppFacts { name: &name, wallet: &wallet },
        callback: &callback,
        now: Timestamp::UNIX_EPOCH,
        memory: &memory,
        wallet: Some(WalletFacts { available_micros: 1_000_000, currency: "EUR".to_owned() }),
        price: None,
        env: &env,
        lists: &lists,
    };
    assert_eq!(policy.decide(&facts).rule, "allowed");
    bencher.bench(|| policy.decide(black_box(&facts)));
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

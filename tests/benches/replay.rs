//! How many recorded callbacks a second `callbus policy diff` decides again. `cargo bench -p tests --bench replay`.
//!
//! Wanted: 20,000 a second on one core. The log holds what an ingress and a worker record, for a policy of 50 rules.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has failed; it prints"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::Instant;

use bus::{Bus, Clock};
use bytes::Bytes;
use policy::{AppFacts, Facts, LiveLists, Outline, Policy};
use proto::signature::Verified;
use proto::{AppKey, AppName, Callback, Decided, Event, EventId, Kind, Outcome, Partition, Subject, WalletId};
use serde_json::json;
use serde_json::value::to_raw_value;
use tests::role::binary;

const CALLBACKS: usize = 100_000;
const AT_ONCE: usize = 1_000;
const CONFIG: &str =
    "data_dir = \"data\"\n[[apps]]\nname = \"acme\"\nkey = \"k\"\nsecret = \"BeIukql3pTKJ8RGL5zo0DA==\"\n";

/// 49 rules that look at the call and do not apply, and what becomes of all the rest.
fn policy(refuses: &str) -> String {
    let mut text = "version: 1\nice:\n".to_owned();
    for rule in 0..49 {
        let _ = writeln!(text, "  - {{ name: r{rule}, when: \"call.cli.startsWith('+99{rule:02}')\", deny: NO }}");
    }
    text + &format!(
        "  - {{ name: odd, when: \"call.to.endpoint.endsWith('{refuses}')\", deny: ODD }}\n  - {{ name: rest, reply: {{ connect_mxp: reception }} }}\n"
    )
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("callbus.toml"), CONFIG).expect("configuration");
    std::fs::write(path("new.yaml"), policy("77")).expect("policy");
    std::fs::create_dir_all(path("data")).expect("directory");
    fill(&Bus::embedded(&path("data")).expect("log")).await;
    let begun = Instant::now();
    let mut diff = Command::new(binary().expect("callbus"));
    diff.current_dir(directory.path()).args(["--json", "policy", "diff", "new.yaml"]);
    let output = diff.output().expect("callbus: build it with --release");
    let took = begun.elapsed();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["callbacks"], CALLBACKS, "{told}");
    assert_eq!(told["changed"], CALLBACKS / 100 * 2, "one in a hundred each way: {told}");
    let each = CALLBACKS as u128 * 1_000 / took.as_millis().max(1);
    println!("{CALLBACKS} callbacks in {took:?}: {each} a second");
}

async fn fill(bus: &Bus) {
    let policy = Policy::load(&policy("42"), "old.yaml", &|_| Err("no files".to_owned())).expect("policy");
    let (app, key) = (AppName::new("acme").expect("app"), AppKey::new("k").expect("key"));
    let (wallet, clock) = (WalletId::new("acme").expect("wallet"), Clock::System);
    let (memory, env, lists) = (BTreeMap::new(), BTreeMap::new(), LiveLists::default());
    let mut events = Vec::new();
    for number in 0..CALLBACKS {
        let body = Bytes::from(
            json!({
                "event": "ice", "callid": format!("call-{number}"), "timestamp": "2026-01-01T00:00:00Z", "version": 1,
                "cli": "+46701111111", "to": { "type": "number", "endpoint": format!("+4670{number:07}") },
                "domain": "pstn", "originationType": "PSTN", "applicationKey": "k",
            })
            .to_string(),
        );
        let callback = Callback::parse(&Verified::unchecked(body.clone())).expect("callback");
        let facts = Facts {
            app: AppFacts { name: &app, wallet: &wallet },
            callback: &callback,
            now: clock.now(),
            memory: &memory,
            wallet: None,
            price: None,
            env: &env,
            lists: &lists,
        };
        let decision = policy.decide(&facts);
        let outline = Outline::of(&decision);
        let call = callback.common.call.clone().expect("call");
        let received = Event {
            id: EventId::of_callback(&key, &body),
            subject: Subject::Call { kind: Kind::Ice, app: app.clone(), partition: Partition::of(&call) },
            about: call.to_string(),
            source: app.to_string(),
            time: clock.now(),
            extra: Vec::new(),
            data: body,
        };
        let decided = Decided {
            key: callback.decision_key(&app).expect("key"),
            kind: Kind::Ice,
            callback: received.id.clone(),
            answer: to_raw_value(&outline.answer).expect("JSON"),
            outcome: if outline.reason.is_some() { Outcome::Refused } else { Outcome::Answered },
            reason: outline.reason.as_ref().map(ToString::to_string),
            rule: Some(decision.rule.clone()),
            policy: Some(decision.explanation.policy.clone()),
            wallet: decision.wallet.clone(),
            reserve: false,
            hold: None,
            explanation: Some(to_raw_value(&decision.explanation).expect("JSON")),
            by: "bench".to_owned(),
            took_micros: 1,
        };
        let answered = Event {
            id: EventId::of_decided(&decided.key, decided.answer.get().as_bytes()),
            subject: received.subject.with_kind(Kind::Decided),
            data: Bytes::from(serde_json::to_vec(&decided).expect("JSON")),
            ..received.clone()
        };
        events.extend([received, answered]);
        if events.len() >= 2 * AT_ONCE {
            bus.record(std::mem::take(&mut events)).await.expect("recorded");
        }
    }
    bus.record(events).await.expect("recorded");
}

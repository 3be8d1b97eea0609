//! Recorded calls, decided again.

use expect_test::expect;
use policy::{Decision, Explanation, Outline, Policy, PriceFacts, Recorded, Replayed, WalletFacts, decide_given};
use proto::{Callback, ListChanged, ListName};

use crate::{World, callback, line, load};

const CALL: &str =
    r#"{"event":"ice","callid":"c","cli":"46701234567","to":{"type":"number","endpoint":"+46850000000"}}"#;

/// As it comes back from the log.
fn recorded(decision: &Decision) -> Explanation {
    serde_json::from_str(&serde_json::to_string(&decision.explanation).expect("JSON")).expect("an explanation")
}

fn ice(rules: &str) -> Policy {
    load(&format!(
        "version: 1\nlists: {{ blocked: {{ live: true }} }}\nice:\n{rules}  - {{ name: default, deny: NO }}\n"
    ))
    .expect("policy")
}

fn replay(policy: &Policy, world: &World, callback: &Callback, decision: &Decision) -> Replayed {
    let Explanation { facts, lists, .. } = recorded(decision);
    let recorded = Recorded { callback, facts: &facts, lists: &lists, wallet: decision.wallet.as_ref() };
    policy.replay(&recorded, &world.lists)
}

#[test]
fn the_same_policy_decides_the_same() {
    let policy = ice(
        "  - { name: a, when: \"has(call.memory.x) && wallet.available > 5 && price.perMinute == 7 && env.REGION == 'eu' && now == 1700000000 && app.name == 'acme'\", reserve: true, reply: { connect_pstn: true } }\n",
    );
    let mut world = World::new();
    world.memory.insert("x".to_owned(), "y".to_owned());
    world.env.insert("REGION".to_owned(), "eu".to_owned());
    world.credit = Some(WalletFacts { available_micros: 6, currency: "EUR".to_owned() });
    world.price = Some(PriceFacts {
        destination: "S".to_owned(),
        prefix: "46".to_owned(),
        per_minute_micros: 7,
        connect_fee_micros: 0,
        currency: "EUR".to_owned(),
    });
    let callback = callback(CALL);
    let decision = policy.decide(&world.facts(&callback));
    assert_eq!(decision.rule, "a");
    assert_eq!(replay(&policy, &World::new(), &callback, &decision), Replayed::Decided(Box::new(decision.clone())));

    // Without any of it there is nothing to know either.
    let poor = policy.decide(&World::new().facts(&callback));
    let Replayed::Decided(again) = replay(
        &ice("  - { name: b, when: has(call.memory.x) || has(wallet.available) || has(price.perMinute), deny: B }\n"),
        &world,
        &callback,
        &poor,
    ) else {
        panic!("known to be absent")
    };
    assert_eq!(again.rule, "default");
}

#[test]
fn what_was_not_recorded_is_unknown() {
    let (world, callback) = (World::new(), callback(CALL));
    let decision = ice("").decide(&world.facts(&callback));
    let unknown = |rules: &str| match replay(&ice(rules), &world, &callback, &decision) {
        Replayed::Unknown(unknown) => unknown.join(", "),
        Replayed::Decided(decision) => format!("decided by {}", decision.rule),
    };
    assert_eq!(unknown("  - { name: a, when: call.cli == '46701234567', deny: A }\n"), "decided by a");
    assert_eq!(unknown("  - { name: a, when: has(call.memory.x), deny: A }\n"), "call.memory");
    assert_eq!(
        unknown("  - { name: a, when: \"has(wallet.available) && has(price.perMinute)\", deny: A }\n"),
        "price, wallet"
    );
    assert_eq!(unknown("  - { name: a, when: has(env.A) || has(env.B), deny: A }\n"), "env.A, env.B");
    assert_eq!(unknown("  - { name: a, when: has(call.cli), deny: A, say: \"${call.memory.x}\" }\n"), "call.memory");
    assert_eq!(
        unknown("  - { name: a, ask: { url: \"https://old.example/x\", on_error: next } }\n"),
        "the answer of old.example/x"
    );
    assert_eq!(
        unknown("  - { name: a, when: has(call.cli), deny: A }\n  - { name: b, when: has(call.memory.x), deny: B }\n"),
        "decided by a",
        "a rule that is not reached does not matter"
    );
}

#[test]
fn the_balance_of_another_wallet_is_unknown() {
    let rules = "ice:\n  - { name: a, when: has(wallet.available), deny: A }\n  - { name: b, deny: B }\n";
    let (before, after) = (format!("version: 1\n{rules}"), format!("version: 1\nwallet: other\n{rules}"));
    let mut world = World::new();
    world.credit = Some(WalletFacts { available_micros: 6, currency: "EUR".to_owned() });
    let callback = callback(CALL);
    let decision = load(&before).expect("policy").decide(&world.facts(&callback));
    let replayed = replay(&load(&after).expect("policy"), &world, &callback, &decision);
    assert_eq!(replayed, Replayed::Unknown(vec!["wallet".to_owned()]));
}

#[test]
fn live_lists_answer_as_they_did() {
    let world = World::new();
    let blocked = ListName::new("blocked").expect("name");
    let add = |seq, entry: &str| {
        world.lists.apply(&blocked, seq, &ListChanged { added: vec![entry.to_owned()], ..ListChanged::default() });
    };
    let callback = callback(CALL);
    let policy = ice("  - { name: from, when: call.cli in lists.blocked, deny: FROM }\n");
    let decision = policy.decide(&world.facts(&callback));
    add(1, "+46701234567");
    add(2, "+46850000000");
    let Replayed::Decided(same) = replay(&policy, &world, &callback, &decision) else { panic!("decided") };
    assert_eq!(same.rule, "default", "it was not on the list then");
    let to = ice("  - { name: to, when: call.to.endpoint in lists.blocked, deny: TO }\n");
    let Replayed::Decided(now) = replay(&to, &world, &callback, &decision) else { panic!("decided") };
    assert_eq!(now.rule, "to", "nobody asked then, so the list of today answers");
    assert_ne!(Outline::of(&same), Outline::of(&now));
}

#[test]
fn a_given_call_is_decided_at_a_terminal() {
    let policy = ice("  - { name: blocked, when: call.cli in lists.blocked, deny: BLOCKED }\n");
    let given = r#"{ event: ice, call: { cli: "+46 70 123 45 67" }, lists: { blocked: ["46701234567"] } }"#;
    expect![[r#"blocked | deny BLOCKED | {"instructions":[{"name":"say","text":"Sorry, this call cannot be connected."}],"action":{"name":"hangup"}}"#]]
        .assert_eq(&line(&decide_given(&policy, given).expect("decided")));
    assert_eq!(decide_given(&policy, r#"{"event":"ice","call":{"cli":"1"}}"#).expect("decided").rule, "default");
    expect![[r#"
        given:1:15: unknown key in given: 'cal'
         1 | { event: ice, cal: {}, lists: { bloked: [] } }
           |               ^ did you mean call?

        given:1:33: unknown list 'bloked'
         1 | { event: ice, cal: {}, lists: { bloked: [] } }
           |                                 ^ did you mean blocked?
    "#]]
    .assert_eq(
        &decide_given(&policy, "{ event: ice, cal: {}, lists: { bloked: [] } }").expect_err("wrong").to_string(),
    );
    assert!(decide_given(&policy, "event: dice").expect_err("not decided").to_string().contains("dice is not decided"));
    assert!(decide_given(&policy, "[").is_err());
}

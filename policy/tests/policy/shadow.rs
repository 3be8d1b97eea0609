//! Rules and files that only say what they would do.

use expect_test::{Expect, expect};
use policy::{ShadowDecision, TriedResult, Verdict};
use proto::Outcome;

use crate::{World, callback, line, load};

const CALL: &str =
    r#"{"event":"ice","callid":"c","cli":"46701234567","to":{"type":"number","endpoint":"+46850000000"}}"#;

#[test]
fn a_rule_in_shadow_is_noted_and_decides_nothing() {
    let policy = load(
        r#"version: 1
ice:
  - { name: strict, mode: shadow, when: call.cli == '46701234567', deny: STRICT, remember: { a: b } }
  - { name: all, mode: shadow, ask: { nats: true } }
  - { name: broken, mode: shadow, when: call.callHeaders.x == 'y', deny: BROKEN }
  - { name: other, mode: shadow, when: call.cli == '1', deny: OTHER }
  - { name: default, reply: { hangup: true } }
"#,
    )
    .expect("policy");
    let decision = World::new().decide(&policy, CALL);
    assert_eq!(line(&decision), r#"default | answer | {"action":{"name":"hangup"}}"#);
    assert!(decision.remember.is_empty());
    let results: Vec<TriedResult> = decision.explanation.tried.iter().map(|tried| tried.result).collect();
    use TriedResult::{Failed, Matched, NotMatched, Shadow};
    assert_eq!(results, [Shadow, Shadow, Failed, NotMatched, Matched]);
    expect!["Answered: rule default, number 5 of those tried, applies; in shadow strict, all would apply."]
        .assert_eq(&decision.explanation.sentence(Outcome::Answered, None));
    assert!(!policy.is_shadow());
}

#[test]
fn a_file_in_shadow_says_what_it_would_have_done() {
    let world = World::new();
    let callback = callback(CALL);
    let facts = world.facts(&callback);
    let base = "version: 1\nice:\n  - { name: a, reserve: true, reply: { connect_pstn: true, max_duration: 60 } }\n";
    let decision = load(base).expect("policy").decide(&facts);
    let check = |rule: &str, expected: Expect| {
        let shadow = load(&format!("version: 1\nmode: shadow\nice:\n  - {rule}\n")).expect("policy");
        assert!(shadow.is_shadow());
        let would = shadow.shadow(&facts, &decision);
        assert_eq!(would.revision, shadow.revision());
        expected.assert_eq(&would.sentence());
    };
    check(
        "{ name: same, reserve: true, reply: { connect_pstn: \"+46850000000\", max_duration: 1m } }",
        expect!["The shadow policy would have reserved (connectPstn), to the same effect: rule same."],
    );
    check(
        "{ name: longer, reserve: true, reply: { connect_pstn: true, max_duration: 61 } }",
        expect!["The shadow policy would have reserved (connectPstn): rule longer."],
    );
    check(
        "{ name: free, reply: { connect_pstn: \"+46850000000\", max_duration: 1m } }",
        expect!["The shadow policy would have answered (connectPstn): rule free."],
    );
    check(
        "{ name: night, deny: CLOSED }",
        expect!["The shadow policy would have refused with CLOSED (hangup): rule night."],
    );
    check(
        "{ name: old, ask: { url: \"https://old.example/\" } }",
        expect!["The shadow policy would have asked: rule old."],
    );
    let payer = "version: 1\nwallet: other\nice:\n  - { name: a, reserve: true, reply: { connect_pstn: true, max_duration: 60 } }\n";
    assert!(load(payer).expect("policy").shadow(&facts, &decision).differs, "another one pays");
}

#[test]
fn words_of_a_refusal_are_heard_and_who_is_asked_is_not() {
    let world = World::new();
    let callback = callback(CALL);
    let facts = world.facts(&callback);
    let differs = |first: &str, second: &str| {
        let load = |rule: &str| load(&format!("version: 1\nice:\n  - {{ name: a, {rule} }}\n")).expect("policy");
        load(second).shadow(&facts, &load(first).decide(&facts)).differs
    };
    assert!(!differs("deny: NO", "deny: NO"));
    assert!(differs("deny: NO", "deny: NO, say: Never."));
    assert!(differs("deny: NO", "deny: NEVER"));
    let (nats, old) = ("ask: { nats: true }", "ask: { url: \"https://old.example/\" }");
    assert!(!differs(nats, nats));
    assert!(differs(nats, old));

    let policy = load(&format!("version: 1\nice:\n  - {{ name: a, {nats} }}\n")).expect("policy");
    let hangup = serde_json::from_str(r#"{"action":{"name":"hangup"}}"#).expect("SVAML");
    let answered = policy.answered(&facts, policy.decide(&facts), hangup, std::time::Duration::ZERO);
    assert!(matches!(answered.verdict, Verdict::Answer(_)));
    assert!(!policy.shadow(&facts, &answered).differs, "the one who was asked would be asked");
}

#[test]
fn what_a_shadow_would_have_done_is_told_where_it_differs() {
    let (world, callback) = (World::new(), callback(CALL));
    let facts = world.facts(&callback);
    let policy = load("version: 1\nice:\n  - { name: a, reply: { hangup: true } }\n").expect("policy");
    let shadow = load("version: 1\nice:\n  - { name: night, deny: CLOSED }\n").expect("policy");
    let mut explanation = policy.decide(&facts).explanation;
    let same: ShadowDecision = policy.shadow(&facts, &policy.decide(&facts));
    explanation.shadow = Some(same);
    assert_eq!(explanation.sentence(Outcome::Answered, None), "Answered: rule a, the first one, applies.");
    explanation.shadow = Some(shadow.shadow(&facts, &policy.decide(&facts)));
    expect!["Answered: rule a, the first one, applies. The shadow policy would have refused with CLOSED (hangup): rule night."].assert_eq(&explanation.sentence(Outcome::Answered, None));
    let again: policy::Explanation =
        serde_json::from_str(&serde_json::to_string(&explanation).expect("JSON")).expect("an explanation");
    assert_eq!(again, explanation);
}

#[test]
fn bad_modes_are_said_to_be() {
    let errors = load(
        r#"version: 1
mode: on
ice:
  - { name: a, mode: live, deny: A }
  - { name: b, mode: shadow, deny: B }
pie:
  - { name: c, mode: [shadow], reply: { hangup: true } }
  - { name: d, reply: { hangup: true } }
"#,
    )
    .expect_err("bad modes");
    expect![[r#"
        test.yaml:2:7: mode is shadow
         2 | mode: on
           |       ^ remove it, and it decides

        test.yaml:4:22: mode is shadow
         4 |   - { name: a, mode: live, deny: A }
           |                      ^ remove it, and it decides

        test.yaml:5:16: the last rule of ice must decide
         5 |   - { name: b, mode: shadow, deny: B }
           |                ^ remove mode, or add a last rule that decides

        test.yaml:7:22: mode wants text, not a list
         7 |   - { name: c, mode: [shadow], reply: { hangup: true } }
           |                      ^
    "#]]
    .assert_eq(&errors.to_string());
}

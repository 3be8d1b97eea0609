//! Rules that leave the answer to somebody else.

use std::time::Duration;

use expect_test::{Expect, expect};
use policy::{Decision, Reason, Verdict};
use proto::{Outcome, Svaml};

use crate::{World, callback, line, load};

const RULES: &str = r#"version: 1
cli: { "+46": "+46850001111" }
lists: { some: ["+46701234567"] }
ice:
  - { name: free, when: call.custom == 'free', ask: { nats: true } }
  - name: old
    when: call.to.endpoint in lists.some
    reserve: true
    remember: { from: "${call.cli}" }
    ask: { url: "https://Old.Example.com:443/ivr", timeout: 250ms, on_error: next }
  - { name: older, ask: { url: "http://older.example.com", on_error: next } }
  - { name: third, ask: { nats: true, timeout: 1s, on_error: next } }
  - { name: fourth, when: call.custom == 'more', ask: { nats: true, on_error: next } }
  - { name: default, deny: NOBODY }
ace:
  - { name: ask, ask: { nats: true } }
tests:
  - it: is billed here and answered there
    given:
      event: ice
      call: { custom: x, cli: "+46", to: { endpoint: "+46701234567" } }
      wallet: { available: "1", rate: "0.1/60" }
      answer: { instructions: [{ name: say, text: Hello }], action: { name: connectPstn, number: "46701234567" } }
    expect: { rule: old, says: Hello, action: { name: connectPstn, maxDuration: 600 }, remember: { from: "+46" } }
  - it: asks the old server
    given: { event: ice, call: { custom: x, cli: "+46", to: { endpoint: "+46701234567" } } }
    expect: { rule: old, asks: old.example.com/ivr }
  - it: refuses when nobody answers
    given: { event: ice, call: { custom: x, to: { endpoint: "1" } }, answer: fails }
    expect: { rule: default, reason: NOBODY }
"#;
const CALL: &str =
    r#"{"event":"ice","callid":"c","custom":"x","cli":"46850000000","to":{"type":"did","endpoint":"+46701234567"}}"#;
const TOOK: Duration = Duration::from_millis(34);

fn svaml(json: &str) -> Svaml {
    serde_json::from_str(json).expect("SVAML")
}

fn sentence(decision: &Decision) -> String {
    let (outcome, reason) = match &decision.verdict {
        Verdict::Deny { reason, .. } => (Outcome::Refused, Some(reason)),
        Verdict::Answer(_) | Verdict::Ask { .. } => (Outcome::Answered, None),
        Verdict::Reserve { .. } => (Outcome::Granted, None),
    };
    decision.explanation.sentence(outcome, reason)
}

#[test]
fn an_answer_from_elsewhere_is_given_or_reserved_for() {
    let (policy, world) = (load(RULES).expect("policy"), World::new());
    let answered = |json: &str, answer: &str| {
        let callback = callback(json);
        let facts = world.facts(&callback);
        policy.answered(&facts, policy.decide(&facts), svaml(answer), TOOK)
    };
    let check = |decision: &Decision, expected: Expect| expected.assert_eq(&line(decision));
    check(&world.decide(&policy, CALL), expect!["old | ask old.example.com/ivr 250ms, reserve"]);

    let connect = r#"{"action":{"name":"connectPstn","number":"46 70 999 99 99","cli":"auto","maxDuration":100}}"#;
    let reserved = answered(CALL, connect);
    check(
        &reserved,
        expect![[
            r#"old | reserve +46709999999 100s | {"action":{"name":"connectPstn","number":"+46709999999","maxDuration":100,"cli":"+46850001111"}}"#
        ]],
    );
    assert_eq!(reserved.remember, [("from".to_owned(), "46850000000".to_owned())]);
    assert!(reserved.wallet.is_some());
    expect!["Connected on credit: rule old, number 2 of those tried, applies because call.to.endpoint is +467••••••67 and +467••••••67 is on list some; old.example.com/ivr answered in 34 ms."].assert_eq(&sentence(&reserved));

    check(
        &answered(CALL, r#"{"action":{"name":"connectPstn"}}"#),
        expect![[r#"old | reserve +46701234567 14400s | {"action":{"name":"connectPstn","number":"+46701234567"}}"#]],
    );
    check(
        &answered(CALL, r#"{"action":{"name":"hangup"}}"#),
        expect![[r#"old | answer | {"action":{"name":"hangup"}}"#]],
    );
    let free = CALL.replace("\"x\"", "\"free\"");
    check(
        &answered(&free, connect),
        expect![[
            r#"free | answer | {"action":{"name":"connectPstn","number":"+46709999999","maxDuration":100,"cli":"+46850001111"}}"#
        ]],
    );
    assert_eq!(policy.answered(&world.facts(&callback(CALL)), reserved.clone(), svaml(connect), TOOK), reserved);
}

#[test]
fn without_an_answer_the_next_rules_are_tried() {
    let (policy, world, callback) = (load(RULES).expect("policy"), World::new(), callback(CALL));
    let facts = world.facts(&callback);
    let fail = |decision, why: &str| policy.ask_failed(&facts, decision, why.to_owned(), TOOK);
    let second = fail(policy.decide(&facts), "HTTP status 500 for +46701234567");
    assert_eq!(line(&second), "older | ask older.example.com 800ms");
    assert!(second.remember.is_empty());
    // It answers with what may not answer an ICE, so it counts as no answer.
    let third = policy.answered(&facts, second, svaml(r#"{"action":{"name":"continue"}}"#), TOOK);
    assert_eq!(line(&third), "third | ask nats 1s");
    let last = fail(third, "nobody serves decide.v1.ice.acme");
    assert_eq!(last.rule, "default");
    let Verdict::Deny { reason, .. } = &last.verdict else { panic!("{:?}", last.verdict) };
    assert_eq!(reason.as_str(), "NOBODY");
    expect!["Refused with NOBODY: rule default, number 6 of those tried, applies; old.example.com/ivr failed (HTTP status 500 for +4670•••••67); older.example.com failed (the answer would be refused: action: continue may not answer ice); nats failed (nobody serves decide.v1.ice.acme)."].assert_eq(&sentence(&last));
    expect![[r#"
        [
          {
            "rule": "old",
            "to": "old.example.com/ivr",
            "took_micros": 34000,
            "error": "HTTP status 500 for +46701234567"
          },
          {
            "rule": "older",
            "to": "older.example.com",
            "took_micros": 34000,
            "error": "the answer would be refused: action: continue may not answer ice"
          },
          {
            "rule": "third",
            "to": "nats",
            "took_micros": 34000,
            "error": "nobody serves decide.v1.ice.acme"
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&last.explanation.asked).expect("JSON"));
    // The list was asked once, and its answer stands through all of it.
    assert_eq!(last.explanation.lists.len(), 1);
}

#[test]
fn a_decision_asks_three_times_and_no_more() {
    let (policy, world) = (load(RULES).expect("policy"), World::new());
    let callback = callback(&CALL.replace("\"x\"", "\"more\""));
    let facts = world.facts(&callback);
    let mut decision = policy.decide(&facts);
    for _ in 0..3 {
        assert!(matches!(decision.verdict, Verdict::Ask { .. }));
        decision = policy.ask_failed(&facts, decision, "no".to_owned(), TOOK);
    }
    assert_eq!(decision.rule, "fourth");
    assert!(matches!(&decision.verdict, Verdict::Deny { reason, .. } if *reason == Reason::ASK_FAILED));
}

#[test]
fn a_rule_that_denies_without_an_answer_does() {
    let (policy, world) = (load(RULES).expect("policy"), World::new());
    let fail = |json: &str| {
        let callback = callback(json);
        let facts = world.facts(&callback);
        policy.ask_failed(&facts, policy.decide(&facts), "timed out".to_owned(), TOOK)
    };
    let ice = fail(&CALL.replace("\"x\"", "\"free\""));
    expect![[r#"free | deny ASK_FAILED | {"instructions":[{"name":"say","text":"Sorry, this call cannot be connected."}],"action":{"name":"hangup"}}"#]].assert_eq(&line(&ice));
    expect!["Refused with ASK_FAILED: rule free, the first one, failed (nats: timed out)."].assert_eq(&sentence(&ice));
    expect![[r#"ask | deny ASK_FAILED | {"action":{"name":"hangup"}}"#]]
        .assert_eq(&line(&fail(r#"{"event":"ace","callid":"c"}"#)));
}

#[test]
fn an_answer_that_cannot_be_billed_is_none() {
    let (policy, world, callback) = (load(RULES).expect("policy"), World::new(), callback(CALL));
    let facts = world.facts(&callback);
    for answer in [
        r#"{"action":{"name":"connectPstn","suppressCallbacks":true}}"#,
        r#"{"action":{"name":"connectPstn","number":"alice"}}"#,
        r#"{"action":{"name":"connectPstn","number":"0701234567"}}"#,
    ] {
        let decision = policy.answered(&facts, policy.decide(&facts), svaml(answer), TOOK);
        assert_eq!(decision.rule, "older", "{answer}");
        assert!(decision.explanation.asked[0].error.is_some());
    }
}

#[test]
fn who_reserves_must_have_a_wallet() {
    let broken = RULES.replace("lists:", "wallet: \"${call.user}\"\nlists:");
    let policy = load(&broken[..broken.find("tests:").expect("tests")]).expect("policy");
    assert_eq!(line(&World::new().decide(&policy, CALL)).split(" | ").nth(1), Some("deny POLICY_ERROR"));
}

#[test]
fn bad_asks_are_said_to_be() {
    let errors = load(
        r#"version: 1
ice:
  - { name: a, when: call.cli == 'a', ask: { url: "ftp://a.example" } }
  - { name: b, when: call.cli == 'b', ask: { url: "https://eve:secret@b.example" } }
  - { name: c, when: call.cli == 'c', ask: { url: "https://c.example/?x=1" } }
  - { name: d, when: call.cli == 'd', ask: { url: "https://d.example/#x" } }
  - { name: e, when: call.cli == 'e', ask: { url: "https://${call.cli}.example/" } }
  - { name: f, when: call.cli == 'f', ask: { url: "f.example" } }
  - { name: g, when: call.cli == 'g', ask: { url: "https://", nats: true } }
  - { name: h, when: call.cli == 'h', ask: { url: "https://" } }
  - { name: i, when: call.cli == 'i', ask: { timeout: 800ms } }
  - { name: j, when: call.cli == 'j', ask: { nats: yes, timeout: 9ms } }
  - { name: k, when: call.cli == 'k', ask: { nats: true, timeout: 1501ms, on_error: skip } }
  - { name: l, when: call.cli == 'l', ask: { nats: true, timeout: soon, say: "No." } }
  - { name: m, ask: { nats: true } }
  - { name: n, when: call.cli == 'n', ask: { nats: true }, deny: NO }
  - { name: o, when: call.cli == 'o', ask: nats, say: "No." }
  - { name: p, ask: { nats: true, on_error: next } }
ace:
  - { name: q, reserve: true, ask: { nats: true } }
"#,
    )
    .expect_err("bad asks");
    expect![[r#"
        test.yaml:3:51: an address begins with https:// or http://
         3 |   - { name: a, when: call.cli == 'a', ask: { url: "ftp://a.example" } }
           |                                                   ^ write https://…

        test.yaml:4:51: an address has no credentials
         4 |   - { name: b, when: call.cli == 'b', ask: { url: "https://eve:secret@b.example" } }
           |                                                   ^ the callback is signed: that is how the other side knows it

        test.yaml:5:51: an address has no query
         5 |   - { name: c, when: call.cli == 'c', ask: { url: "https://c.example/?x=1" } }
           |                                                   ^ a signature covers the path alone, so put it into the path

        test.yaml:6:51: an address has no fragment
         6 |   - { name: d, when: call.cli == 'd', ask: { url: "https://d.example/#x" } }
           |                                                   ^ remove all from '#' on

        test.yaml:7:51: an address is constant text
         7 |   - { name: e, when: call.cli == 'e', ask: { url: "https://${call.cli}.example/" } }
           |                                                   ^ a caller must not choose who is asked: write a rule for each

        test.yaml:8:51: 'f.example' is no address: relative URL without a base
         8 |   - { name: f, when: call.cli == 'f', ask: { url: "f.example" } }
           |                                                   ^ write https://callbacks.example.com/sinch

        test.yaml:9:63: a rule asks one
         9 |   - { name: g, when: call.cli == 'g', ask: { url: "https://", nats: true } }
           |                                                               ^ keep one of url and nats

        test.yaml:10:51: 'https://' is no address: empty host
         10 |   - { name: h, when: call.cli == 'h', ask: { url: "https://" } }
            |                                                   ^ write https://callbacks.example.com/sinch

        test.yaml:11:44: ask whom?
         11 |   - { name: i, when: call.cli == 'i', ask: { timeout: 800ms } }
            |                                            ^ add url: https://… or nats: true

        test.yaml:12:52: nats takes no other value
         12 |   - { name: j, when: call.cli == 'j', ask: { nats: yes, timeout: 9ms } }
            |                                                    ^ write nats: true

        test.yaml:12:66: timeout is 10ms to 1500ms
         12 |   - { name: j, when: call.cli == 'j', ask: { nats: yes, timeout: 9ms } }
            |                                                                  ^ the caller hears nothing meanwhile, and Sinch gives up soon

        test.yaml:13:67: timeout is 10ms to 1500ms
         13 |   - { name: k, when: call.cli == 'k', ask: { nats: true, timeout: 1501ms, on_error: skip } }
            |                                                                   ^ the caller hears nothing meanwhile, and Sinch gives up soon

        test.yaml:13:85: on_error is deny or next
         13 |   - { name: k, when: call.cli == 'k', ask: { nats: true, timeout: 1501ms, on_error: skip } }
            |                                                                                     ^

        test.yaml:14:67: timeout wants a duration
         14 |   - { name: l, when: call.cli == 'l', ask: { nats: true, timeout: soon, say: "No." } }
            |                                                                   ^ write 800ms, or 1s

        test.yaml:14:73: unknown key in ask: 'say'
         14 |   - { name: l, when: call.cli == 'l', ask: { nats: true, timeout: soon, say: "No." } }
            |                                                                         ^ one of: url, nats, timeout, on_error

        test.yaml:15:5: the rules after this one never apply
         15 |   - { name: m, ask: { nats: true } }
            |     ^ add when:, or move it to the end

        test.yaml:16:39: a rule replies, denies or asks
         16 |   - { name: n, when: call.cli == 'n', ask: { nats: true }, deny: NO }
            |                                       ^ keep one of reply, deny and ask

        test.yaml:17:44: ask wants a map of keys and values, not a single value
         17 |   - { name: o, when: call.cli == 'o', ask: nats, say: "No." }
            |                                            ^

        test.yaml:17:50: say belongs to deny here
         17 |   - { name: o, when: call.cli == 'o', ask: nats, say: "No." }
            |                                                  ^ write it inside the reply

        test.yaml:18:5: no rule comes after this one
         18 |   - { name: p, ask: { nats: true, on_error: next } }
            |     ^ write on_error: deny, or add a rule for when there is no answer

        test.yaml:20:16: a call that was answered connects to no other
         20 |   - { name: q, reserve: true, ask: { nats: true } }
            |                ^ remove reserve
    "#]].assert_eq(&errors.to_string());
}

#[test]
fn limits_of_time_hold_at_their_ends() {
    let timeout = |text: &str| {
        let policy = load(&format!("version: 1\nice:\n  - {{ name: a, ask: {{ nats: true, timeout: {text} }} }}\n"))?;
        let Verdict::Ask { ask, .. } = World::new().decide(&policy, CALL).verdict else { panic!("asks") };
        Ok::<Duration, policy::PolicyErrors>(ask.timeout)
    };
    assert_eq!(timeout("10ms").expect("least"), Duration::from_millis(10));
    assert_eq!(timeout("1500ms").expect("most"), Duration::from_millis(1_500));
    assert_eq!(timeout("1").expect("seconds"), Duration::from_secs(1));
    for wrong in ["9ms", "2s", "800", "ms", "+5ms", "99999999999999ms"] {
        timeout(wrong).expect_err(wrong);
    }
}

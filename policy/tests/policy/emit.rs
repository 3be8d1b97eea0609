//! Named events that policies make of DICE and notify.

use std::collections::BTreeMap;

use expect_test::expect;
use policy::Policy;
use proto::Kind;

use crate::{World, callback, load};

const RULES: &str = r#"version: 1
hours: { open: { tz: UTC } }
lists: { vip: { live: true } }
dice:
  - { name: ended, emit: call.ended }
  - name: lost
    when: call.result == 'NOANSWER' && call.reason == 'TIMEOUT' && hours.open && has(call.memory.caller)
    emit: call.lost
    data: { caller: "${call.memory.caller}", secs: "${call.duration}", cost: "${call.debit.amount}", app: "${app.name}" }
  - { name: vip, when: call.from in lists.vip, emit: call.vip, data: { to: "${call.to.type} ${call.to.endpoint}" } }
  - { name: broken, when: call.callHeaders.team == 'blue', emit: call.team }
notify:
  - { name: recorded, when: call.type == 'recording_available', emit: recording.ready, data: { where: "${call.destination}" } }
  - { name: wrong, when: has(call.errorCode), emit: call.error, data: { text: "${call.errorCode} ${call.errorMsg}" } }
  - { name: machine, when: has(call.amd) && call.amd.status == 'machine', emit: a.b_2.c }
tests:
  - it: tells of lost calls
    given:
      event: dice
      call: { result: noanswer, reason: timeout, duration: 12, debit: { amount: "0.01" }, from: "46", memory: { caller: eve } }
    expect: { emits: [call.ended, { name: call.lost, data: { caller: eve, secs: "12", cost: "10000" } }] }
  - it: is silent
    given: { event: notify, call: { type: Recording_Finished } }
    expect: { emits: [] }
"#;

fn events(policy: &Policy, world: &World, json: &str) -> Vec<String> {
    let callback = callback(json);
    let tell = |(name, data): (String, BTreeMap<String, String>)| {
        format!("{name} {}", serde_json::to_string(&data).expect("JSON"))
    };
    let made = policy.emits(&world.facts(&callback)).into_iter();
    made.map(|made| match made {
        Ok(emit) => format!("{}: {}", emit.rule, tell((emit.name.to_string(), emit.data))),
        Err(failed) => format!("{failed}"),
    })
    .collect()
}

#[test]
fn every_rule_that_applies_emits() {
    let (policy, mut world) = (load(RULES).expect("policy"), World::new());
    world.memory.insert("caller".to_owned(), "eve".to_owned());
    let changed = proto::ListChanged { added: vec!["46701234567".to_owned()], ..proto::ListChanged::default() };
    world.lists.apply(&proto::ListName::new("vip").expect("name"), 1, &changed);
    let dice = r#"{"event":"dice","callid":"c","result":"NoAnswer","reason":"Timeout","duration":0,"from":"46701234567",
        "to":{"type":"Number","endpoint":"+46"},"debit":{"currencyId":"EUR","amount":0.25}}"#;
    expect![[r#"
        [
            "ended: call.ended {}",
            "lost: call.lost {\"app\":\"acme\",\"caller\":\"eve\",\"cost\":\"250000\",\"secs\":\"0\"}",
            "vip: call.vip {\"to\":\"number +46\"}",
            "rule broken: No such key: team",
        ]
    "#]]
    .assert_debug_eq(&events(&policy, &world, dice));
    let notify = r#"{"event":"notify","callid":"c","type":"Recording_Available","destination":"s3://b/a.mp3","amd":{"status":"Machine"}}"#;
    expect![[r#"
        [
            "recorded: recording.ready {\"where\":\"s3://b/a.mp3\"}",
            "machine: a.b_2.c {}",
        ]
    "#]]
    .assert_debug_eq(&events(&policy, &world, notify));
    assert_eq!(
        events(&policy, &world, r#"{"event":"notify","callid":"c","type":"x","errorCode":5,"errorMsg":"no"}"#),
        ["wrong: call.error {\"text\":\"5 no\"}"]
    );
    assert!(events(&policy, &world, r#"{"event":"ice","callid":"c"}"#).is_empty());
}

#[test]
fn who_emits_nothing_needs_nothing() {
    let policy = load(RULES).expect("policy");
    assert!(policy.has_emits(Kind::Dice) && policy.has_emits(Kind::Notify) && !policy.has_emits(Kind::Ice));
    assert!(policy.needs(Kind::Dice).memory && !policy.needs(Kind::Notify).memory);
    assert_eq!(policy.needs(Kind::Ice), policy::Needs::default());
    assert!(!load("version: 1\n").expect("policy").has_emits(Kind::Dice));
}

#[test]
fn bad_rules_are_said_to_be() {
    let errors = load(
        r#"version: 1
ice:
  - { name: a, when: call.result == 'BUSY', deny: A }
  - { name: b, deny: A }
dice:
  - { name: a, when: wallet.available > 0, emit: call.a }
  - { name: b, when: price.perMinute > 0, emit: Call.b }
  - { name: c, when: call.cli == '1', emit: .call }
  - { name: c, when: menu.value == '1', emit: a..b }
  - { name: d, when: call.resul == 'BUSY', emit: a, mode: shadow }
  - { name: e, data: { "a b": x, b: "${call.fom}" } }
  - { emit: a, reply: { hangup: true } }
notify: []
tests:
  - { it: a, given: { event: dice }, expect: { rule: a } }
  - { it: b, given: { event: ice }, expect: { emits: [a] } }
  - { it: c, given: { event: notify, call: { from: "1" } }, expect: { emits: a } }
"#,
    )
    .expect_err("bad rules");
    expect![[r#"
        test.yaml:3:22: unknown name 'call.result'
         3 |   - { name: a, when: call.result == 'BUSY', deny: A }
           |                      ^ only dice has it, this is ice

        test.yaml:6:22: wallet is not known in dice
         6 |   - { name: a, when: wallet.available > 0, emit: call.a }
           |                      ^ nothing is paid for here: what the call cost is in its CDR

        test.yaml:7:22: price is not known in dice
         7 |   - { name: b, when: price.perMinute > 0, emit: Call.b }
           |                      ^ nothing is paid for here: what the call cost is in its CDR

        test.yaml:7:49: not a name for an event
         7 |   - { name: b, when: price.perMinute > 0, emit: Call.b }
           |                                                 ^ write words of a-z, 0-9 and '_' with dots between: call.lost, at most 64 characters

        test.yaml:8:22: unknown name 'call.cli'
         8 |   - { name: c, when: call.cli == '1', emit: .call }
           |                      ^ only ice has it, this is dice: keep it with remember

        test.yaml:8:45: not a name for an event
         8 |   - { name: c, when: call.cli == '1', emit: .call }
           |                                             ^ write words of a-z, 0-9 and '_' with dots between: call.lost, at most 64 characters

        test.yaml:9:22: menu is known only in pie
         9 |   - { name: c, when: menu.value == '1', emit: a..b }
           |                      ^ keep it in a cookie or with remember

        test.yaml:9:47: not a name for an event
         9 |   - { name: c, when: menu.value == '1', emit: a..b }
           |                                               ^ write words of a-z, 0-9 and '_' with dots between: call.lost, at most 64 characters

        test.yaml:10:22: unknown name 'call.resul'
         10 |   - { name: d, when: call.resul == 'BUSY', emit: a, mode: shadow }
            |                      ^ did you mean call.result?

        test.yaml:10:53: unknown key in a rule that emits: 'mode'
         10 |   - { name: d, when: call.resul == 'BUSY', emit: a, mode: shadow }
            |                                                     ^ one of: name, when, emit, data

        test.yaml:11:5: the rule emits nothing
         11 |   - { name: e, data: { "a b": x, b: "${call.fom}" } }
            |     ^ add emit: call.lost, or a name of your own

        test.yaml:11:24: not a name in data
         11 |   - { name: e, data: { "a b": x, b: "${call.fom}" } }
            |                        ^ use letters, digits and '_'

        test.yaml:11:40: unknown name 'call.fom'
         11 |   - { name: e, data: { "a b": x, b: "${call.fom}" } }
            |                                        ^ did you mean call.from?

        test.yaml:12:5: the rule has no name
         12 |   - { emit: a, reply: { hangup: true } }
            |     ^ add name: it is what callbus call why shows

        test.yaml:12:16: unknown key in a rule that emits: 'reply'
         12 |   - { emit: a, reply: { hangup: true } }
            |                ^ one of: name, when, emit, data

        test.yaml:15:48: nothing is answered here
         15 |   - { it: a, given: { event: dice }, expect: { rule: a } }
            |                                                ^ expect emits: [call.lost]

        test.yaml:16:47: only dice and notify emit events
         16 |   - { it: b, given: { event: ice }, expect: { emits: [a] } }
            |                                               ^ expect a rule or an action

        test.yaml:17:46: unknown name 'call.from'
         17 |   - { it: c, given: { event: notify, call: { from: "1" } }, expect: { emits: a } }
            |                                              ^ only dice has it, this is notify

        test.yaml:17:78: emits wants a list, not a single value
         17 |   - { it: c, given: { event: notify, call: { from: "1" } }, expect: { emits: a } }
            |                                                                              ^
    "#]].assert_eq(&errors.to_string());
}

#[test]
fn tests_that_fail_say_what_came() {
    let failing = RULES.replace("emits: []", "emits: [a]").replace("caller: eve, secs: \"12\"", "caller: bob");
    let errors = load(&failing).expect_err("failing tests");
    expect![[r#"
        test.yaml:21:70: the test 'tells of lost calls' fails: expected emits[1].data.caller "bob", but came "eve"
         21 |     expect: { emits: [call.ended, { name: call.lost, data: { caller: bob, cost: "10000" } }] }
            |                                                                      ^ ended emits call.ended, lost emits call.lost, broken failed (No such key: team)

        test.yaml:24:23: the test 'is silent' fails: expected 1 events, but nothing came
         24 |     expect: { emits: [a] }
            |                       ^ no rule applies
    "#]].assert_eq(&errors.to_string());
}

//! The tests a policy carries: those that hold are silent, those that fail say what came instead.

use expect_test::{Expect, expect};

use crate::load;

const RULES: &str = r#"version: 1
lists: { friends: ["+46701234567"] }
menus: { main: { prompt: "Press 1.", keys: { "1": one } } }
ice:
  - { name: secret, when: call.cookies.code == '7', deny: SECRET, say: "No, ${call.custom}." }
  - name: friend
    when: call.to.endpoint in lists.friends
    reserve: true
    remember: { caller: "${call.cli}" }
    reply: { say: "Hi.", connect_pstn: true, max_duration: 10m, cli: private }
  - { name: rich, when: wallet.available > money('5') && price.perMinute == 20000 && env.REGION == 'eu', reply: { park: "Wait." } }
  - { name: default, reply: { menu: main } }
pie:
  - { name: code, when: "menu.type == 'sequence' && menu.id == 'main'", reply: { say: "${menu.value} ${app.name}", hangup: true } }
  - { name: default, reply: { hangup: true } }
tests:
"#;

fn failures(tests: &str, expected: Expect) {
    let errors = load(&format!("{RULES}{tests}")).expect_err("a test that fails");
    expected.assert_eq(&errors.to_string());
}

#[test]
fn tests_that_hold_are_silent() {
    let friend = r#"call: { cli: +46, cookies: { code: "1" }, to: { endpoint: 46 70 123 45 67 } }"#;
    for test in [
        format!("given: {{ event: ice, {friend} }}, expect: {{ rule: friend, action: {{ maxDuration: 600, cli: private }} }}"),
        format!("given: {{ event: ice, {friend} }}, expect: {{ says: Hi, remember: {{ caller: +46 }} }}"),
        format!(
            "given: {{ event: ice, {friend}, wallet: {{ available: 1, rate: 0.3/10 }} }}, expect: {{ action: {{ maxDuration: 30 }} }}"
        ),
        format!(
            "given: {{ event: ice, {friend}, wallet: {{ available: 0.29, rate: 0.3/10 }} }}, expect: {{ reason: NO_CREDIT }}"
        ),
        "given: { event: ice, call: { custom: Bob, cookies: { code: \"7\" } } }, expect: { reason: SECRET, says: \"No, Bob.\" }"
            .to_owned(),
        r#"given: { event: ice, call: { cookies: { code: "" }, to: { endpoint: x } }, env: { REGION: eu },
             wallet: { available: 5.01 }, price: { perMinute: "0.02" } }, expect: { rule: rich, action: park, says: Wait }"#
            .to_owned(),
        "given: { event: pie, menu: { id: main, type: sequence, value: 12 }, app: { name: acme } }, expect: { says: 12 acme }"
            .to_owned(),
    ] {
        if let Err(errors) = load(&format!("{RULES}  - {{ it: holds, {test} }}\n")) {
            panic!("{test}\n{errors}");
        }
    }
}

#[test]
fn tests_that_fail_say_what_came() {
    failures(
        r#"  - it: is a friend
    given: { event: ice, call: { cookies: { code: "" }, to: { endpoint: "+46701234568" } } }
    expect:
      rule: friend
      reason: NOPE
      action: { name: runMenu, barge: true, menus: [{ id: main, repeats: 2 }] }
      says: Press 2
      remember: { caller: x }
  - { it: fails, given: { event: ice }, expect: { action: park } }
  - { it: is refused, given: { event: ice, call: { cookies: { code: "7" }, custom: x } }, expect: { reason: OTHER } }
"#,
        expect![[r#"
            test.yaml:20:13: the test 'is a friend' fails: expected rule 'friend', but 'rich' decided
             20 |       rule: friend
                |             ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:21:15: the test 'is a friend' fails: expected reason 'NOPE', but came POLICY_ERROR
             21 |       reason: NOPE
                |               ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:22:23: the test 'is a friend' fails: expected action.name "runMenu", but came "hangup"
             22 |       action: { name: runMenu, barge: true, menus: [{ id: main, repeats: 2 }] }
                |                       ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:22:39: the test 'is a friend' fails: expected action.barge true, but there is none
             22 |       action: { name: runMenu, barge: true, menus: [{ id: main, repeats: 2 }] }
                |                                       ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:22:52: the test 'is a friend' fails: expected action.menus [{"id":"main","repeats":2}], but there is none
             22 |       action: { name: runMenu, barge: true, menus: [{ id: main, repeats: 2 }] }
                |                                                    ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:23:13: the test 'is a friend' fails: expected to hear 'Press 2', but: 'Sorry, this call cannot be connected.'
             23 |       says: Press 2
                |             ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:24:27: the test 'is a friend' fails: expected remember.caller "x", but there is none
             24 |       remember: { caller: x }
                |                           ^ tried: secret does not apply, friend does not apply, rich failed (No such key: REGION)

            test.yaml:25:59: the test 'fails' fails: expected action "park", but came "hangup"
             25 |   - { it: fails, given: { event: ice }, expect: { action: park } }
                |                                                           ^ tried: secret failed (No such key: code)

            test.yaml:26:109: the test 'is refused' fails: expected reason 'OTHER', but came SECRET
             26 |   - { it: is refused, given: { event: ice, call: { cookies: { code: "7" }, custom: x } }, expect: { reason: OTHER } }
                |                                                                                                             ^ tried: secret applies
        "#]],
    );
}

#[test]
fn tests_are_checked_themselves() {
    failures(
        r#"  - { it: a, given: { call: {} }, expect: { rule: x } }
  - { it: b, given: { event: bye }, expect: { rule: x } }
  - { it: c, given: { event: ice, call: { too: x, to: { typ: did } }, menu: { id: x } }, expect: { rul: x } }
  - { it: d, given: { event: ice, now: noon, wallet: { available: much, rate: 1 } }, expect: { rule: [x] } }
  - { given: { event: ice } }
"#,
        expect![[r#"
            test.yaml:17:21: no event is given
             17 |   - { it: a, given: { call: {} }, expect: { rule: x } }
                |                     ^ add event: ice, ace, pie, dice or notify

            test.yaml:18:30: unknown event 'bye'
             18 |   - { it: b, given: { event: bye }, expect: { rule: x } }
                |                              ^ one of: ice, ace, pie, dice, notify

            test.yaml:19:43: unknown name 'call.too'
             19 |   - { it: c, given: { event: ice, call: { too: x, to: { typ: did } }, menu: { id: x } }, expect: { rul: x } }
                |                                           ^ did you mean call.to?

            test.yaml:19:57: unknown name 'call.to.typ'
             19 |   - { it: c, given: { event: ice, call: { too: x, to: { typ: did } }, menu: { id: x } }, expect: { rul: x } }
                |                                                         ^ did you mean call.to.type?

            test.yaml:19:79: menu is known only in pie
             19 |   - { it: c, given: { event: ice, call: { too: x, to: { typ: did } }, menu: { id: x } }, expect: { rul: x } }
                |                                                                               ^ keep it in a cookie or with remember

            test.yaml:19:100: unknown key in expect: 'rul'
             19 |   - { it: c, given: { event: ice, call: { too: x, to: { typ: did } }, menu: { id: x } }, expect: { rul: x } }
                |                                                                                                    ^ did you mean rule?

            test.yaml:20:67: available wants an amount
             20 |   - { it: d, given: { event: ice, now: noon, wallet: { available: much, rate: 1 } }, expect: { rule: [x] } }
                |                                                                   ^ write "1.90", at most six decimals

            test.yaml:20:102: rule wants text, not a list
             20 |   - { it: d, given: { event: ice, now: noon, wallet: { available: much, rate: 1 } }, expect: { rule: [x] } }
                |                                                                                                      ^

            test.yaml:21:5: the test has no it
             21 |   - { given: { event: ice } }
                |     ^ a test has it, given and expect
        "#]],
    );
}

//! What policies decide, and how they explain it.

use expect_test::{Expect, expect};
use policy::{PriceFacts, Reason, Verdict, WalletFacts};
use proto::{Kind, ListChanged, ListName, Outcome};

use crate::{World, callback, line, load, load_file};

const DID: &str = r#"{"event":"ice","callid":"c1","cli":"12015555555","to":{"type":"DID","endpoint":"+12017777777"}}"#;
const ALLOWED: &str = r#"{"event":"ice","callid":"c2","user":"alice","to":{"type":"Number","endpoint":"15612600684"}}"#;
const OTHER: &str = r#"{"event":"ice","callid":"c3","to":{"type":"number","endpoint":"+15612600685"}}"#;
const BLOCKED: &str =
    r#"{"event":"ice","callid":"c4","cli":"15559990000","to":{"type":"did","endpoint":"+12017777777"}}"#;

fn pie(menu: &str) -> String {
    format!(r#"{{"event":"pie","callid":"c1","timestamp":"2026-01-01T00:00:00Z","menuResult":{menu}}}"#)
}

fn ace(amd: &str) -> String {
    format!(r#"{{"event":"ace","callid":"c1","timestamp":"2026-01-01T00:00:00Z"{amd}}}"#)
}

#[test]
fn the_demo_policy() {
    let policy = load_file("../examples/policies/acme.yaml");
    let world = World::new();
    let blocked = ListChanged { added: vec!["+15559990000".to_owned()], ..ListChanged::default() };
    world.lists.apply(&ListName::new("blocked").expect("name"), 1, &blocked);
    let check = |json: &str, expected: Expect| expected.assert_eq(&line(&world.decide(&policy, json)));
    check(
        DID,
        expect![[
            r##"inbound | answer | {"instructions":[{"name":"say","text":"Thank you for calling Acme.","locale":"en-US"}],"action":{"name":"runMenu","locale":"en-US","mainMenu":"main","menus":[{"id":"main","mainPrompt":"#tts[Press 1 for sales, 2 for support.]","repeatPrompt":"#tts[Sales is 1, support is 2.]","repeats":2,"timeoutMills":7000,"options":[{"dtmf":"1","action":"return(sales)"},{"dtmf":"2","action":"return(support)"}]}]}}"##
        ]],
    );
    check(
        ALLOWED,
        expect![[
            r#"allowlisted | reserve +15612600684 600s | {"action":{"name":"connectPstn","number":"+15612600684","locale":"en-US","maxDuration":600,"cli":"+15550001111","amd":{"enabled":true}}}"#
        ]],
    );
    check(
        OTHER,
        expect![[
            r#"default | deny NOT_ALLOWLISTED | {"instructions":[{"name":"say","text":"This number cannot be called.","locale":"en-US"}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(
        BLOCKED,
        expect![[
            r#"blocked | deny BLOCKED_CALLER | {"instructions":[{"name":"say","text":"Sorry, this call cannot be connected.","locale":"en-US"}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(&ace(r#","amd":{"status":"MACHINE"}"#), expect![[r#"machine | answer | {"action":{"name":"hangup"}}"#]]);
    check(&ace(""), expect![[r#"default | answer | {"action":{"name":"continue"}}"#]]);
    check(
        &pie(r#"{"type":"return","value":"sales"}"#),
        expect![[
            r#"sales | reserve +15551111111 3600s | {"instructions":[{"name":"say","text":"Connecting you to sales.","locale":"en-US"}],"action":{"name":"connectPstn","number":"+15551111111","locale":"en-US","maxDuration":3600}}"#
        ]],
    );
    check(
        &pie(r#"{"type":"Timeout"}"#),
        expect![[
            r#"gone | answer | {"instructions":[{"name":"say","text":"Goodbye!","locale":"en-US"}],"action":{"name":"hangup"}}"#
        ]],
    );

    let inbound = world.decide(&policy, DID);
    assert_eq!(inbound.remember, [("caller".to_owned(), "12015555555".to_owned())]);
    assert_eq!(inbound.wallet.as_ref().map(|wallet| wallet.as_str()), Some("acme-main"));
    let outbound = world.decide(&policy, ALLOWED);
    assert_eq!(outbound.wallet.as_ref().map(|wallet| wallet.as_str()), Some("alice"));
    assert_eq!(policy.wallet(&world.facts(&callback(ALLOWED))).expect("wallet").as_str(), "alice");
}

#[test]
fn menus_from_templates_voice_and_digits() {
    let policy = load(
        r#"version: 1
defaults: { locale: en-US }
menus:
  main: { business: "${call.custom}", timeout: 5s, max_timeout: 10s, repeats: 1, repeat_prompt: "Please choose." }
  code: { numeric_input: { prompt: "Your code?", digits: 4 }, repeats: 0 }
  lead: { prompt: "Press 1 for a code.", keys: { "1": { menu: code } } }
ice:
  - { name: voice, when: call.cli == '1', reply: { menu: main, enable_voice: true } }
  - { name: deep, reply: { menu: lead } }
pie: [{ name: all, reply: { hangup: true } }]
"#,
    )
    .expect("policy");
    let world = World::new();
    let check = |json: &str, expected: Expect| expected.assert_eq(&line(&world.decide(&policy, json)));
    check(
        r#"{"event":"ice","callid":"c","cli":"1","custom":"A#]; me"}"#,
        expect![[
            r##"voice | answer | {"action":{"name":"runMenu","locale":"en-US","mainMenu":"main","enableVoice":true,"menus":[{"id":"main","mainPrompt":"#tts[Thank you for calling A    me. For sales, press 1. For support, press 2. For the operator, press 0.]","repeatPrompt":"#tts[Please choose.]","repeats":1,"timeoutMills":5000,"maxTimeoutMills":10000,"options":[{"dtmf":"1","action":"return(sales)"},{"dtmf":"2","action":"return(support)"},{"dtmf":"0","action":"return(operator)"}]}]}}"##
        ]],
    );
    check(
        r#"{"event":"ice","callid":"c","cli":"2","custom":"Acme"}"#,
        expect![[
            r##"deep | answer | {"action":{"name":"runMenu","locale":"en-US","mainMenu":"lead","menus":[{"id":"lead","mainPrompt":"#tts[Press 1 for a code.]","options":[{"dtmf":"1","action":"menu(code)"}]},{"id":"code","mainPrompt":"#tts[Your code?]","repeats":0,"maxDigits":4},{"id":"main","mainPrompt":"#tts[Thank you for calling Acme. For sales, press 1. For support, press 2. For the operator, press 0.]","repeatPrompt":"#tts[Please choose.]","repeats":1,"timeoutMills":5000,"maxTimeoutMills":10000,"options":[{"dtmf":"1","action":"return(sales)"},{"dtmf":"2","action":"return(support)"},{"dtmf":"0","action":"return(operator)"}]}]}}"##
        ]],
    );

    let errors = load(
        r#"version: 1
menus:
  main: { business: [Acme], keys: { "1": x } }
  two: { yes_no: "Well?", recording_consent: yes, max_digits: 2 }
  digits: { numeric_input: { prompt: "Code?", digit: 4 } }
  none: { language: {} }
  late: { after_hours: { company: Acme }, timeout: 31s, max_timeout: 61s }
  spelt: { busines: Acme }
pie: [{ name: all, reply: { hangup: true } }]
"#,
    )
    .expect_err("bad menus");
    expect![[r#"
        test.yaml:3:21: business wants text, not a list
         3 |   main: { business: [Acme], keys: { "1": x } }
           |                     ^

        test.yaml:3:29: the template brings the keys of its menu
         3 |   main: { business: [Acme], keys: { "1": x } }
           |                             ^ keep one of them

        test.yaml:4:27: the template brings the keys of its menu
         4 |   two: { yes_no: "Well?", recording_consent: yes, max_digits: 2 }
           |                           ^ keep one of them

        test.yaml:5:28: numeric_input wants prompt and digits
         5 |   digits: { numeric_input: { prompt: "Code?", digit: 4 } }
           |                            ^

        test.yaml:5:47: unknown key in numeric_input: 'digit'
         5 |   digits: { numeric_input: { prompt: "Code?", digit: 4 } }
           |                                               ^ did you mean digits?

        test.yaml:6:21: language wants 1 to 9 choices
         6 |   none: { language: {} }
           |                     ^ write { en-US: English, sv-SE: Swedish }

        test.yaml:7:24: after_hours wants company and hours
         7 |   late: { after_hours: { company: Acme }, timeout: 31s, max_timeout: 61s }
           |                        ^

        test.yaml:7:52: timeout is 1 to 30 seconds
         7 |   late: { after_hours: { company: Acme }, timeout: 31s, max_timeout: 61s }
           |                                                    ^

        test.yaml:7:70: max_timeout is 1 to 60 seconds
         7 |   late: { after_hours: { company: Acme }, timeout: 31s, max_timeout: 61s }
           |                                                                      ^

        test.yaml:8:12: unknown key in a menu: 'busines'
         8 |   spelt: { busines: Acme }
           |            ^ did you mean business?
    "#]]
    .assert_eq(&errors.to_string());
}

#[test]
fn every_action_and_instruction() {
    let policy = load_file("fixtures/good/everything.yaml");
    let mut world = World::new();
    world.memory.insert("name".to_owned(), "Eve".to_owned());
    world.memory.insert("number".to_owned(), "46 70 123 45 67".to_owned());
    let ice = |custom: &str| {
        format!(
            r#"{{"event":"ice","callid":"c1","user":"u1","custom":"{custom}","cli":"+15550002222",
                "to":{{"type":"number","endpoint":"+46701112233"}},"cookies":[{{"key":"name","value":"x];#href[y"}}],
                "callHeaders":[{{"key":"number","value":"46-8-555 66 77"}}]}}"#
        )
    };
    let check = |custom: &str, expected: Expect| expected.assert_eq(&line(&world.decide(&policy, &ice(custom))));
    check(
        "instructions",
        expect![[
            r#"instructions | answer | {"instructions":[{"name":"answer"},{"name":"startRecording","options":{"destinationUrl":"s3://bucket/","format":"mp3","notificationEvents":false,"transcriptionOptions":{"enabled":true,"locale":"en-US"}}},{"name":"say","text":"One 2","locale":"sv-SE"},{"name":"say","text":"${three}","locale":"sv-SE"},{"name":"playFiles","ids":["https://example.com/a.mp3","welcome"],"locale":"sv-SE"},{"name":"sendDtmf","value":"1w#"},{"name":"setCookie","key":"seen","value":"yes c1"},{"name":"stopRecording"}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(
        "mxp",
        expect![[
            r#"mxp | answer | {"action":{"name":"connectMxp","destination":{"type":"username","endpoint":"alice"},"callHeaders":[{"key":"a","value":"b"}]}}"#
        ]],
    );
    check(
        "sip",
        expect![[
            r#"sip | answer | {"action":{"name":"connectSip","destination":{"type":"sip","endpoint":"a@b.example"},"maxDuration":60,"cli":"+4685555","moh":"ring","transport":"TLS"}}"#
        ]],
    );
    check(
        "conf",
        expect![[
            r#"conf | answer | {"action":{"name":"connectConf","conferenceId":"room +46701112233","conferenceDtmfOptions":{"mode":"detect","maxDigits":4,"timeoutMills":5000}}}"#
        ]],
    );
    check(
        "stream",
        expect![[
            r#"stream | answer | {"action":{"name":"connectStream","destination":{"type":"Websocket","endpoint":"wss://a.example/"},"streamingOptions":{"version":1,"sampleRate":16000}}}"#
        ]],
    );
    check(
        "park",
        expect![[
            r##"park | answer | {"action":{"name":"park","locale":"sv-SE","introPrompt":"#tts[Please wait, x   href y]","holdPrompt":"#tts[Still busy.]","maxDuration":300}}"##
        ]],
    );
    check(
        "menu",
        expect![[
            r##"menu | answer | {"action":{"name":"runMenu","barge":false,"locale":"en-GB","mainMenu":"main","menus":[{"id":"main","mainPrompt":"https://example.com/welcome.mp3","options":[{"dtmf":"1","action":"menu(more)"},{"dtmf":"2","action":"return(two)"},{"dtmf":"#","action":"return(hash)"}]},{"id":"more","mainPrompt":"#tts[Enter your code, u1.]","repeats":0,"maxDigits":4}]}}"##
        ]],
    );
    check(
        "sub",
        expect![[
            r##"sub menu | answer | {"action":{"name":"runMenu","locale":"sv-SE","mainMenu":"more","menus":[{"id":"more","mainPrompt":"#tts[Enter your code, u1.]","repeats":0,"maxDigits":4},{"id":"main","mainPrompt":"https://example.com/welcome.mp3","options":[{"dtmf":"1","action":"menu(more)"},{"dtmf":"2","action":"return(two)"},{"dtmf":"#","action":"return(hash)"}]}]}}"##
        ]],
    );
    check(
        "pstn",
        expect![[
            r#"pstn | reserve +46701112233 14400s | {"action":{"name":"connectPstn","number":"+46701112233","locale":"sv-SE","dialTimeout":30,"cli":"private","dtmf":"w1","indications":"no","amd":{"enabled":true,"async":true}}}"#
        ]],
    );
    check(
        "broken",
        expect![[
            r#"default | deny NOT_ALLOWLISTED | {"instructions":[{"name":"say","text":"This number cannot be called.","locale":"sv-SE"}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(
        "verbatim",
        expect![[
            r#"verbatim | answer | {"instructions":[{"name":"say","text":"Hi Eve"}],"action":{"name":"connectPstn","number":"+4685556677","maxDuration":60}}"#
        ]],
    );
    let back =
        r#"{"event":"pie","callid":"c1","user":"u1","menuResult":{"type":"sequence","value":"1234","menuId":"more"}}"#;
    expect![[r#"back | reserve +46701234567 14400s | {"action":{"name":"connectPstn","number":"+46701234567","locale":"sv-SE"}}"#]].assert_eq(&line(&world.decide(&policy, back)));
    let nobody = world.decide(&policy, &back.replace("user", "nouser"));
    assert_eq!(nobody.rule, "default", "credit is never reserved for nobody");
    assert_eq!(nobody.wallet, None);
}

#[test]
fn numbers_on_lists_are_compared_as_numbers() {
    let policy = load("version: 1\nlists: { a: [\"+1 201 555 5555\", bob] }\nice:\n  - { name: on, when: call.cli in lists.a, deny: ON }\n  - { name: default, deny: OFF }\n").expect("policy");
    let world = World::new();
    for (cli, rule) in
        [("12015555555", "on"), ("+12015555555", "on"), ("bob", "on"), ("Bob", "default"), ("2015555555", "default")]
    {
        let decision = world.decide(&policy, &format!(r#"{{"event":"ice","callid":"c","cli":"{cli}"}}"#));
        assert_eq!(decision.rule, rule, "{cli}");
        let [answer] = decision.explanation.lists.as_slice() else { panic!("one question") };
        assert_eq!((answer.value.as_str(), answer.member), (cli, rule == "on"));
    }
}

#[test]
fn what_cannot_be_dialled_is_refused() {
    let text = "version: 1\nice:\n  - { name: all, reserve: true, reply: { connect_pstn: \"${call.to.endpoint}\" } }\n";
    let policy = load(text).expect("policy");
    for endpoint in ["0701234567", "alice", "", "+46 70 x", "+4670123456789012345"] {
        let json = format!(r#"{{"event":"ice","callid":"c","to":{{"type":"number","endpoint":"{endpoint}"}}}}"#);
        let decision = World::new().decide(&policy, &json);
        let Verdict::Deny { reason, .. } = decision.verdict else { panic!("{endpoint} was let through") };
        assert_eq!(reason, Reason::INVALID_NUMBER, "{endpoint}");
    }
}

#[test]
fn a_grant_caps_the_call() {
    let policy = load_file("../examples/policies/acme.yaml");
    let decision = World::new().decide(&policy, ALLOWED);
    let max_duration = |secs: u32| {
        let proto::svaml::Action::ConnectPstn(connect) = decision.granted(secs).action else { panic!("no connect") };
        connect.max_duration
    };
    assert_eq!([max_duration(0), max_duration(94), max_duration(601)], [Some(1), Some(94), Some(600)]);
    assert!(decision.granted(u32::MAX).check(Kind::Ice).is_ok());
}

#[test]
fn a_condition_that_fails_refuses_or_is_passed_over() {
    let rules = "ice:\n  - { name: broken, when: call.cli == '1', reply: { connect_pstn: true } }\n  - { name: default, deny: OFF }\n";
    let ask = |text: String| World::new().decide(&load(&text).expect("policy"), r#"{"event":"ice","callid":"c"}"#);
    let denied = ask(format!("version: 1\n{rules}"));
    expect![[r#"broken | deny POLICY_ERROR | {"instructions":[{"name":"say","text":"Sorry, this call cannot be connected."}],"action":{"name":"hangup"}}"#]].assert_eq(&line(&denied));
    expect![[r#"Refused with POLICY_ERROR: rule broken, the first one, failed (No such key: cli)."#]]
        .assert_eq(&denied.explanation.sentence(Outcome::Refused, Some(&Reason::POLICY_ERROR)));
    let passed = ask(format!("version: 1\ndefaults: {{ on_error: next }}\n{rules}"));
    assert_eq!(passed.rule, "default");
    assert_eq!(passed.explanation.tried.len(), 2);
    let last = "version: 1\ndefaults: { on_error: next }\nice:\n  - { name: last, deny: OFF, say: \"${call.cli}\" }\n";
    let Verdict::Deny { reason, .. } = ask(last.to_owned()).verdict else { panic!("let through") };
    assert_eq!(reason, Reason::POLICY_ERROR, "when every rule fails nobody gets in");
}

#[test]
fn amounts_are_compared_exactly() {
    let policy = load_file("fixtures/good/everything.yaml");
    let mut world = World::new();
    world.env.insert("REGION".to_owned(), "eu".to_owned());
    world.env.insert("SECRET".to_owned(), "hidden".to_owned());
    world.price = Some(PriceFacts {
        destination: "Sweden".to_owned(),
        prefix: "46".to_owned(),
        per_minute_micros: 19_999,
        connect_fee_micros: 0,
        currency: "EUR".to_owned(),
    });
    let json = r#"{"event":"ice","callid":"c","custom":"rich","cli":"x"}"#;
    for (available_micros, rule) in [(1_500_000, "default"), (1_500_001, "rich")] {
        world.credit = Some(WalletFacts { available_micros, currency: "EUR".to_owned() });
        let decision = world.decide(&policy, json);
        assert_eq!(decision.rule, rule, "{available_micros}");
        let facts = serde_json::to_string(&decision.explanation.facts).expect("JSON");
        assert!(facts.contains("REGION") && !facts.contains("hidden"), "only named variables are recorded");
    }
}

#[test]
fn without_rules_nobody_gets_in() {
    let policy = load("version: 1").expect("policy");
    let world = World::new();
    let check = |json: &str, expected: Expect| expected.assert_eq(&line(&world.decide(&policy, json)));
    check(
        DID,
        expect![[
            r#"built-in | deny NO_RULE | {"instructions":[{"name":"say","text":"Sorry, this call cannot be connected."}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(&ace(""), expect![[r#"built-in | answer | {"action":{"name":"continue"}}"#]]);
    check(&pie("{}"), expect![[r#"built-in | answer | {"action":{"name":"hangup"}}"#]]);
    check(r#"{"event":"dice","callid":"c"}"#, expect![[r#"built-in | deny NO_RULE | {"action":{"name":"hangup"}}"#]]);
}

#[test]
fn refusals_are_spoken_in_the_policys_words() {
    let policy = load_file("../examples/policies/acme.yaml");
    let check = |kind, reason: &Reason, expected: Expect| expected.assert_eq(&policy.refusal(kind, reason).to_json());
    check(
        Kind::Ice,
        &Reason::NO_CREDIT,
        expect![[
            r#"{"instructions":[{"name":"say","text":"Your Acme account has no credit left for this call.","locale":"en-US"}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(
        Kind::Pie,
        &Reason::NO_RATE,
        expect![[
            r#"{"instructions":[{"name":"say","text":"This number cannot be called.","locale":"en-US"}],"action":{"name":"hangup"}}"#
        ]],
    );
    check(Kind::Ace, &Reason::NO_CREDIT, expect![[r#"{"action":{"name":"hangup"}}"#]]);
}

/// The explanation is stored for ever: its shape is held here.
#[test]
fn an_explanation_says_everything() {
    let policy = load_file("../examples/policies/acme.yaml");
    let decision = World::new().decide(&policy, ALLOWED);
    let mut explanation = decision.explanation.clone();
    explanation.policy = "revision".to_owned();
    let json = serde_json::to_string_pretty(&explanation).expect("JSON");
    expect![[r#"
        {
          "policy": "revision",
          "tried": [
            {
              "rule": "blocked",
              "result": "not_matched",
              "read": [
                "call.cli",
                "lists.blocked"
              ]
            },
            {
              "rule": "inbound",
              "result": "not_matched",
              "read": [
                "call.to.type"
              ]
            },
            {
              "rule": "allowlisted",
              "result": "matched",
              "read": [
                "call.to.endpoint",
                "lists.click_to_call"
              ]
            }
          ],
          "facts": {
            "app": {
              "name": "acme",
              "wallet": "acme-main"
            },
            "call": {
              "callHeaders": {},
              "cookies": {},
              "event": "ice",
              "id": "c2",
              "timestamp": "",
              "to": {
                "endpoint": "15612600684",
                "type": "number"
              },
              "user": "alice"
            },
            "now": 1700000000
          },
          "lists": [
            {
              "list": "click_to_call",
              "revision": "f63f8ab92048",
              "value": "15612600684",
              "member": true
            }
          ]
        }"#]]
    .assert_eq(&json);
    let again: policy::Explanation = serde_json::from_str(&json).expect("an explanation");
    assert_eq!(again, explanation);
    assert_eq!(again.value("call.to.endpoint").and_then(|value| value.as_str()), Some("15612600684"));
    assert_eq!(again.value("call.to.absent"), None);
    expect!["Connected on credit: rule allowlisted, number 3 of those tried, applies because call.to.endpoint is 1561•••••84 and 1561•••••84 is on list click_to_call."].assert_eq(&again.sentence(Outcome::Granted, None));
    expect!["Refused with NO_CREDIT: rule allowlisted, number 3 of those tried, applies because call.to.endpoint is 1561•••••84 and 1561•••••84 is on list click_to_call."].assert_eq(&again.sentence(Outcome::Refused, Some(&Reason::NO_CREDIT)));
}

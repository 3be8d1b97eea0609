//! Nothing anybody writes makes the loader or a decision panic, hang or overflow the stack.

use std::time::Duration;

use policy::{Policy, Reason, Verdict};
use proptest::prelude::*;
use proto::{Kind, Outcome};

use crate::{World, callback, load};

const EVERYTHING: &str = include_str!("../../fixtures/good/everything.yaml");

const TOKENS: &[&str] = &[
    "call.cli",
    "call.cookies",
    "call.memory",
    "call",
    ".a",
    "now",
    "env.X",
    "lists.a",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "?",
    ":",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'a'",
    "\"b\"",
    "r'\\d'",
    "b'c'",
    "0",
    "1",
    "9223372036854775807",
    "-1",
    "1.5e300",
    "0x7f",
    "7u",
    "true",
    "null",
    "has(",
    "size(",
    "string(",
    "int(",
    "double(",
    "bool(",
    "money(",
    "e164(",
    "country(",
    "prefix(",
    "percent(",
    "pick(",
    "{'a': 1}",
    "hours.open",
    ".contains(",
    ".startsWith(",
    ".matches(",
    ".exists(x,",
    ".all(x,",
    ".map(x,",
    "x",
    "type(",
    "dyn(",
    "optional.none()",
    ".?",
    "[?",
    "Foo{",
    "`a`",
    "//",
    "\n",
];

fn condition(expression: &str) -> Result<Policy, policy::PolicyErrors> {
    let quoted = serde_json::to_string(expression).expect("JSON");
    load(&format!("version: 1\nice:\n  - {{ name: a, when: {quoted}, deny: A }}\n  - {{ name: default, deny: B }}\n"))
}

/// Test threads have 2 MiB of stack, less than any thread a worker decides on.
#[test]
fn deep_expressions_are_refused_or_evaluated() {
    let repeated = |head: &str, part: &str, tail: &str, times: usize| format!("{head}{}{tail}", part.repeat(times));
    for times in [5, 20, 90, 240, 480, 5_000] {
        for expression in [
            repeated("1", "+1", " == 2", times),
            repeated("true", "&&true", "", times),
            repeated("true", "||true", "", times),
            repeated("call.cli == 'x'", " || call.cli == 'y'", "", times),
            repeated("", "!", "true", times),
            repeated("", "-", "1 == 1", times),
            repeated("", "(", "1", times),
            format!("{}1{} == 1", "(".repeat(times), ")".repeat(times)),
            format!("{}1{} == 1", "[".repeat(times), "]".repeat(times)),
            format!("{}1{} == 1", "{1:".repeat(times), "}".repeat(times)),
            repeated("call", ".cli", " == 1", times),
            repeated("call.memory", "['a']", " == 1", times),
            repeated("call.memory", "[0]", " == 1", times),
            repeated("", "true?", "true", times),
            repeated("", "true?true:", "true", times),
            repeated("", "size(", "1", times),
            format!("{}'a'{} == 'a'", "string(".repeat(times), ")".repeat(times)),
            repeated("'a'", ".contains('a')", "", times),
            repeated("", "has(call.", "cli", times),
        ] {
            if let Ok(policy) = condition(&expression) {
                World::new().decide(&policy, r#"{"event":"ice","callid":"c","cli":"z"}"#);
            }
        }
    }
}

#[test]
fn deep_and_wide_files_are_refused() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        "a: &a [x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]\n".to_owned(),
        "x".repeat((1 << 20) + 1),
        "version: 1\nversion: 1\n".to_owned(),
        "version: 1\n---\nversion: 1\n".to_owned(),
        "version: 1\n<<: { ice: [] }\n".to_owned(),
    ] {
        let errors = load(&text).expect_err("refused").to_string();
        assert!(errors.contains("test.yaml:"), "{errors}");
    }
}

/// Ten thousand rules, of which the last applies: decided, and explained in an event that a log can take.
#[test]
fn a_long_policy_stays_within_bounds() {
    let rules: String =
        (0..9_999).map(|n| format!("  - {{ name: r{n}, when: call.cli == '{n}', deny: A }}\n")).collect();
    let policy = load(&format!("version: 1\nice:\n{rules}  - {{ name: default, deny: B }}\n")).expect("policy");
    let decision = World::new().decide(&policy, r#"{"event":"ice","callid":"c","cli":"x"}"#);
    assert_eq!(decision.rule, "default");
    assert_eq!(decision.explanation.tried.len() + decision.explanation.unlisted, 10_000);
    assert!(serde_json::to_string(&decision.explanation).expect("JSON").len() < 64 << 10);
    let sentence = decision.explanation.sentence(Outcome::Refused, Some(&Reason::NOT_ALLOWLISTED));
    assert_eq!(sentence, "Refused with NOT_ALLOWLISTED: rule default, number 10000 of those tried, applies.");
}

#[test]
fn menus_cannot_multiply_without_bound() {
    let keys: String = (0..2_000).map(|n| format!("\"{n}\": value{n}, ")).collect();
    let rules: String =
        (0..5_000).map(|n| format!("  - {{ name: r{n}, when: \"true\", reply: {{ menu: main }} }}\n")).collect();
    let text = format!(
        "version: 1\nmenus: {{ main: {{ prompt: x, keys: {{ {keys} }} }} }}\nice:\n{rules}  - {{ name: default, deny: B }}\n"
    );
    let errors = load(&text).expect_err("refused").to_string();
    assert!(errors.contains("too many replies hold too large menus"), "{errors}");
}

#[test]
fn many_misspelt_names_are_reported_in_time() {
    let lists: String = (0..8_000).map(|n| format!("  list_number_{n}: []\n")).collect();
    let rules: String = (0..8_000)
        .map(|n| format!("  - {{ name: r{n}, when: call.cli in lists.lost_number_{n}, deny: A }}\n"))
        .collect();
    assert!(load(&format!("version: 1\nlists:\n{lists}ice:\n{rules}")).is_err());
}

#[test]
fn a_million_faults_are_counted_and_not_listed() {
    let text = "version: 1\n".to_owned() + &(0..5_000).map(|n| format!("k{n}: 1\n")).collect::<String>();
    let errors = load(&text).expect_err("refused");
    assert_eq!(errors.errors().len(), 100);
    assert!(errors.to_string().ends_with("… and 4900 more"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_loads_or_is_refused(text in "\\PC{0,200}") {
        let _ = load(&text);
    }

    #[test]
    fn any_bytes_load_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_condition_loads_or_is_refused(expression in "[a-c0-9 .,(){}\\[\\]?:!&|=<>+*/'\"\\\\-]{0,40}") {
        let _ = condition(&expression);
    }

    /// Pieces of the language in any order: what looks like an expression and is none, and some that are.
    #[test]
    fn any_tokens_load_or_are_refused_and_what_loads_decides(
        tokens in proptest::collection::vec(prop::sample::select(TOKENS), 0..12), cli in "\\PC{0,20}",
    ) {
        if let Ok(policy) = condition(&tokens.join(" ")) {
            let json = serde_json::json!({ "event": "ice", "callid": "c", "cli": cli, "cookies": [{ "key": "a", "value": cli }] });
            World::new().decide(&policy, &json.to_string());
        }
    }

    #[test]
    fn any_reply_text_loads_or_is_refused(text in "[a$ {}'\"é\\\\+.]{0,40}") {
        let quoted = serde_json::to_string(&text).expect("JSON");
        let _ = load(&format!("version: 1\nice:\n  - {{ name: a, deny: A, say: {quoted} }}\n"));
    }

    #[test]
    fn mutated_files_load_or_are_refused(
        at in 0..EVERYTHING.len(), len in 0_usize..12, insert in "[-\\[\\]{}:,'\"a1$ \n#&*]{0,4}",
    ) {
        let start = EVERYTHING.floor_char_boundary(at);
        let end = EVERYTHING.floor_char_boundary((at + len).min(EVERYTHING.len())).max(start);
        let text = format!("{}{insert}{}", &EVERYTHING[..start], &EVERYTHING[end..]);
        if let Err(errors) = load(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    /// Whatever a call was, its events have a name and at most what the rules put into them.
    #[test]
    fn every_end_of_a_call_makes_events(event in prop::sample::select(vec!["dice", "notify"]), text in "\\PC{0,80}", value in any::<i64>()) {
        let json = serde_json::json!({
            "event": event, "callid": "c", "result": text, "reason": text, "type": text, "from": text, "destination": text,
            "duration": value, "errorCode": value, "debit": { "amount": value, "currencyId": text },
        });
        let policy = load(EVERYTHING).expect("policy");
        let made = policy.emits(&World::new().facts(&callback(&json.to_string())));
        prop_assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Whatever Sinch, or somebody with its key, sends: there is an answer that may answer it.
    #[test]
    fn every_callback_gets_a_legal_answer(
        event in prop::sample::select(vec!["ice", "ace", "pie"]),
        custom in prop::sample::select(vec!["instructions", "mxp", "conf", "park", "menu", "pstn", "verbatim", "rich", "shadow", "ask", ""]),
        answer in prop::sample::select(vec!["hangup", "continue", "connectPstn"]),
        text in "\\PC{0,80}",
        value in any::<i64>(),
    ) {
        let json = serde_json::json!({
            "event": event, "callid": "c", "custom": custom, "cli": text, "user": text, "duration": value,
            "to": { "type": text, "endpoint": text }, "cookies": [{ "key": "name", "value": text }],
            "callHeaders": [{ "key": "number", "value": text }], "menuResult": { "type": text, "value": text },
        });
        let policy = load(EVERYTHING).expect("policy");
        let callback = callback(&json.to_string());
        let world = World::new();
        let facts = world.facts(&callback);
        let mut decision = policy.decide(&facts);
        while let Verdict::Ask { .. } = &decision.verdict {
            let svaml = serde_json::from_value(serde_json::json!({ "action": { "name": answer, "number": text } }));
            decision = policy.answered(&facts, decision, svaml.expect("SVAML"), Duration::ZERO);
        }
        let kind = callback.kind();
        prop_assert!(matches!(kind, Kind::Ice | Kind::Ace | Kind::Pie));
        prop_assert!(decision.granted(60).check(kind).is_ok(), "{:?}", decision);
    }
}

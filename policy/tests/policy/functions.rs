//! Our own functions of the expression language: numbers, countries, shares of the calls.

use expect_test::expect;
use policy::Policy;

use crate::{World, load};

/// What is said to each of these callers.
fn said<'c>(template: &str, callers: impl IntoIterator<Item = &'c str>) -> Vec<String> {
    let reply = format!("version: 1\nice: [{{ name: a, reply: {{ say: \"<${{{template}}}>\", hangup: true }} }}]\n");
    let policy = load(&reply).unwrap_or_else(|errors| panic!("{errors}"));
    let said = |cli| {
        let call = serde_json::json!({ "event": "ice", "callid": "c", "cli": cli }).to_string();
        let answer = World::new().decide(&policy, &call).granted(1).to_json();
        answer.split_once('<').and_then(|(_, rest)| rest.split_once('>')).expect("said").0.to_owned()
    };
    callers.into_iter().map(said).collect()
}

#[test]
fn numbers_prefixes_and_countries() {
    let callers = ["46 70-123 45 67", "+1 (416) 555-0100", "12125550100", "+441481123456", "private", "18005550100"];
    assert_eq!(
        said("e164(call.cli)", callers),
        ["+46701234567", "+14165550100", "+12125550100", "+441481123456", "", "+18005550100"]
    );
    assert_eq!(said("country(call.cli)", callers), ["SE", "CA", "US", "GG", "", ""]);
    assert_eq!(said("prefix(call.cli, '+4670')", callers), ["true", "false", "false", "false", "false", "false"]);
    assert_eq!(said("prefix(call.cli, '1')", callers), ["false", "true", "true", "false", "false", "true"]);
    let world =
        ["+77012345678", "+79012345678", "+3906698123", "+390612345678", "+18765550100", "+88216123456", "+5999123456"];
    assert_eq!(said("country(call.cli)", world), ["KZ", "RU", "VA", "IT", "JM", "", "CW"]);
}

#[test]
fn shares_are_even_and_always_the_same() {
    let callers: Vec<String> = (0..4_000).map(|caller| format!("caller {caller}")).collect();
    let callers = || callers.iter().map(String::as_str);
    let below = said("percent(call.cli)", callers())
        .iter()
        .filter(|percent| percent.parse::<u8>().expect("0 to 99") < 25)
        .count();
    assert!((900..1_100).contains(&below), "{below} of 4,000 are below 25");
    let picked = said("pick(call.cli, {'b': 1, 'a': 3, 'never': 0})", callers());
    let a = picked.iter().filter(|picked| *picked == "a").count();
    assert!((2_900..3_100).contains(&a), "{a} of 4,000 are a");
    assert!(!picked.iter().any(|picked| picked == "never"));
    assert_eq!(
        picked,
        said("pick(call.cli, {'never': 0, 'a': 3, 'b': 1})", callers()),
        "the order written does not matter"
    );
    // Other versions of callbus must draw the same lots.
    assert_eq!(said("percent(call.cli)", ["a", "b", "c"]), ["86", "50", "43"]);
}

#[test]
fn calls_of_functions_are_checked() {
    let error = |when: &str| {
        let when = serde_json::to_string(when).expect("JSON");
        let text = format!("version: 1\nice: [{{ name: a, when: {when}, deny: A }}, {{ name: b, deny: B }}]");
        let errors = Policy::load(&text, "a.yaml", &|_| Err(String::new())).expect_err("a bad condition");
        errors
            .errors()
            .iter()
            .map(|error| format!("{} ({})\n", error.what, error.hint.as_deref().unwrap_or_default()))
            .collect::<String>()
    };
    let all: String = [
        "call.cli.prefix('+46')",
        "prefix(call.cli)",
        "prefix(call.cli, call.user)",
        "prefix(call.cli, '+46 8')",
        "country() == 'SE'",
        "pick(call.id, {'a': 0}) == 'a'",
        "pick(call.id, {'a': -1, 'b': 2}) == 'a'",
        "pick(call.id, ['a', 'b']) == 'a'",
        "pick(call.id, {'a': call.version}) == 'a'",
        "pick(call.id, {}) == 'a'",
        "percentage(call.id) < 5",
    ]
    .into_iter()
    .map(error)
    .collect();
    expect![[r#"
        not how prefix is written (write prefix(call.cli, '+46'))
        not how prefix is written (write prefix(call.cli, '+46'))
        a prefix is constant text (write it between quotes)
        not a prefix of numbers (write '+46')
        not how country is written (write country(call.cli))
        not choices with weights (write {'a': 70, 'b': 30}: constant texts, whole numbers up to 1000000)
        not choices with weights (write {'a': 70, 'b': 30}: constant texts, whole numbers up to 1000000)
        pick wants choices with weights (write {'a': 70, 'b': 30})
        not choices with weights (write {'a': 70, 'b': 30}: constant texts, whole numbers up to 1000000)
        not choices with weights (write {'a': 70, 'b': 30}: constant texts, whole numbers up to 1000000)
        unknown function 'percentage' (did you mean percent?)
    "#]]
    .assert_eq(&all);
}

//! docs/policy.md says what is so: its policies load, its replies become the SVAML it shows, its facts and words exist.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use policy::{AppFacts, Facts, LiveLists, Policy, Reason};
use proto::signature::Verified;
use proto::{AppName, Callback, Kind, WalletId};

const PAGE: &str = include_str!("../../docs/policy.md");

/// What the page says its replies are read with; `pie` is left to the reply under test.
const AROUND: &str = r#"version: 1
defaults: { locale: en-US }
cli: { "+46": "+46850001111", default: private }
menus: { main: { prompt: "Press 1.", keys: { "1": one } } }
"#;

const CALL: &str =
    r#""callid":"c","timestamp":"2026-01-01T00:00:00Z","to":{"type":"number","endpoint":"+46701234567"}"#;

#[test]
fn every_policy_on_the_page_loads() {
    let loaded = load_blocks(PAGE).unwrap_or_else(|errors| panic!("docs/policy.md: {errors}"));
    assert!(loaded > 0, "the page shows no policy");
}

#[test]
fn the_schema_for_editors_is_that_of_the_loader() {
    let schema = serde_json::to_string_pretty(&policy::schema()).expect("JSON") + "\n";
    expect_test::expect_file!["../../docs/policy.schema.json"].assert_eq(&schema);
}

#[test]
fn a_broken_block_fails() {
    let broken = "Text.\n\n```yaml\nversion: 1\nice:\n  - { name: all, repy: { hangup: true } }\n```\n";
    let errors = load_blocks(broken).expect_err("a broken policy");
    assert!(errors.contains("did you mean reply?"), "{errors}");
    assert_eq!(load_blocks(&broken.replace("```yaml", "```yaml fragment")), Ok(0));
    load_blocks(&broken.replace("```yaml", "```yml")).expect_err("a block that would be passed over");
    load_blocks("```yaml\nversion: 1\n").expect_err("a block without end");
}

#[test]
fn replies_become_the_svaml_shown_in_the_events_named() {
    assert!(PAGE.contains(AROUND));
    let rows = rows(PAGE, "| reply | in | SVAML |");
    assert!(!rows.is_empty());
    for row in rows {
        let [reply, events, svaml] = row.as_slice() else { panic!("three cells: {row:?}") };
        let action = Policy::load(&with_reply("pie", reply), "row.yaml", &no_files).is_ok()
            || Policy::load(&with_reply("ice", reply), "row.yaml", &no_files).is_ok();
        let reply = if action { reply.clone() } else { format!("{reply}, hangup: true") };
        let mut legal = Vec::new();
        for event in ["ice", "ace", "pie"] {
            let Ok(policy) = Policy::load(&with_reply(event, &reply), "row.yaml", &no_files) else { continue };
            legal.push(event);
            let answer = answer(&policy, event);
            assert!(answer.contains(svaml.as_str()), "{reply}\nshown as {svaml}\nbecomes  {answer}");
        }
        assert_eq!(&legal.join(" "), events, "{reply}");
    }
}

#[test]
fn menu_templates_give_the_prompts_and_keys_shown() {
    let rows = rows(PAGE, "| menu | prompt | keys |");
    assert!(!rows.is_empty());
    for row in rows {
        let [menu, prompt, keys] = row.as_slice() else { panic!("three cells: {row:?}") };
        let text = format!(
            "version: 1\nmenus: {{ main: {menu} }}\nice: [{{ name: a, reply: {{ menu: main }} }}]\npie: [{{ name: b, reply: {{ hangup: true }} }}]"
        );
        let policy = Policy::load(&text, "row.yaml", &no_files).unwrap_or_else(|errors| panic!("{errors}"));
        let answer: serde_json::Value = serde_json::from_str(&answer(&policy, "ice")).expect("JSON");
        let main = &answer["action"]["menus"][0];
        assert_eq!(main["mainPrompt"], format!("#tts[{prompt}]"));
        let options = main["options"].as_array().cloned().unwrap_or_default();
        let option = |option: &serde_json::Value| {
            let action = option["action"].as_str().expect("action");
            let value = action.strip_prefix("return(").and_then(|rest| rest.strip_suffix(')')).expect("return");
            format!("{} {value}", option["dtmf"].as_str().expect("key"))
        };
        assert_eq!(options.iter().map(option).collect::<Vec<_>>().join(", "), *keys);
        assert_eq!(main["maxDigits"].is_number(), keys.is_empty());
    }
}

#[test]
fn functions_give_what_is_shown() {
    let rows = rows(PAGE, "| function | gives | example |");
    assert!(!rows.is_empty());
    for row in rows {
        let [call, _, example] = row.as_slice() else { panic!("three cells: {row:?}") };
        let reply = format!("hangup: true, say: \"${{{call}}}\"");
        let policy = Policy::load(&with_reply("ice", &reply), "row.yaml", &no_files).expect(call);
        let answer = answer(&policy, "ice");
        assert!(answer.contains(&format!("\"text\":\"{example}\"")), "{call}: {answer}");
    }
}

#[test]
fn facts_are_known_in_the_events_named() {
    let rows = rows(PAGE, "| fact | type | in | present |");
    assert!(!rows.is_empty());
    for row in rows {
        let [fact, _, events, _] = row.as_slice() else { panic!("four cells: {row:?}") };
        let known = |event: &&str| {
            let rules = match *event {
                "dice" | "notify" => format!("[{{ name: a, when: {fact} == {fact}, emit: a }}]"),
                _ => format!("[{{ name: a, when: {fact} == {fact}, deny: A }}, {{ name: b, deny: B }}]"),
            };
            let text = format!("version: 1\nhours: {{ NAME: {{ tz: UTC }} }}\n{event}: {rules}");
            Policy::load(&text, "row.yaml", &no_files).is_ok()
        };
        let known: Vec<&str> = ["ice", "ace", "pie", "dice", "notify"].into_iter().filter(known).collect();
        assert_eq!(&known.join(" "), events, "{fact}");
    }
}

#[test]
fn refusals_are_spoken_in_the_words_shown() {
    let policy = Policy::load("version: 1", "row.yaml", &no_files).expect("policy");
    let rows = rows(PAGE, "| code | when | words |");
    assert!(!rows.is_empty());
    for row in rows {
        let [code, _, words] = row.as_slice() else { panic!("three cells: {row:?}") };
        let spoken = policy.refusal(Kind::Ice, &Reason::new(code).expect("code")).to_json();
        assert!(spoken.contains(&format!("\"{words}\"")), "{code}: {spoken}");
    }
}

#[test]
fn the_listing_is_what_a_misspelt_policy_gives() {
    let misspelt = std::fs::read_to_string(examples().join("acme.yaml"))
        .expect("the example")
        .replace("call.to.type ==", "call.to.typ ==")
        .replace("in lists.click_to_call", "in lists.click_to_cal")
        .replace("== 'sales'", "== 'slaes'");
    let errors = Policy::load(&misspelt, "policy.yaml", &read_example).expect_err("misspelt").to_string();
    assert!(PAGE.contains(&errors), "the page shows another listing than\n{errors}");
}

/// Loads every `yaml` block and counts them. A `yaml fragment` is passed over, and what is neither that nor `text` is
/// refused, so that none is passed over by a misspelling.
fn load_blocks(page: &str) -> Result<usize, String> {
    let mut loaded = 0;
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let at = format!("block at line {}", index + 1);
        let mut text = String::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => text.extend([line, "\n"]),
                None => return Err(format!("{at} has no end")),
            }
        }
        match info {
            "yaml" => {
                Policy::load(&text, &at, &read_example).map_err(|errors| errors.to_string())?;
                loaded += 1;
            }
            "yaml fragment" | "text" => {}
            other => return Err(format!("{at}: write yaml, yaml fragment or text, not {other:?}")),
        }
    }
    Ok(loaded)
}

/// The cells of all tables with this header, without their back-quotes.
fn rows(page: &str, header: &str) -> Vec<Vec<String>> {
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let row = |line: &str| line.trim_matches('|').split(" | ").map(cell).collect();
    let tables = page.split(header).skip(1);
    tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')).map(row)).collect()
}

fn with_reply(event: &str, reply: &str) -> String {
    let end = if event == "pie" { "" } else { "pie: [{ name: end, reply: { hangup: true } }]\n" };
    format!("{AROUND}{event}: [{{ name: row, reply: {{ {reply} }} }}]\n{end}")
}

fn answer(policy: &Policy, event: &str) -> String {
    let body = Bytes::from(format!(r#"{{"event":"{event}",{CALL}}}"#));
    let facts = Facts {
        app: AppFacts { name: &AppName::new("acme").expect("name"), wallet: &WalletId::new("acme").expect("wallet") },
        callback: &Callback::parse(&Verified::unchecked(body)).expect("callback"),
        now: Timestamp::UNIX_EPOCH,
        memory: &BTreeMap::new(),
        wallet: None,
        price: None,
        env: &BTreeMap::new(),
        lists: &LiveLists::default(),
    };
    policy.decide(&facts).granted(1).to_json()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies")
}

/// The one list file that the page names.
fn read_example(name: &str) -> Result<String, String> {
    if name == "lists/blocked.txt" { Ok("# Nobody yet.\n".to_owned()) } else { no_files(name) }
}

fn no_files(name: &str) -> Result<String, String> {
    Err(format!("{name} does not exist"))
}

//! What is wrong with a file is said in full, in the order of its lines, with what to do about it.

use expect_test::{ExpectFile, expect, expect_file};
use policy::Policy;
use proto::Kind;

use crate::{load, load_file};

fn listing(name: &str, golden: ExpectFile) {
    let path = format!("{}/fixtures/bad/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("fixture");
    let errors = Policy::load(&text, name, &|_| Err("no such file".to_owned())).expect_err("a bad file");
    golden.assert_eq(&errors.to_string());
}

#[test]
fn bad_files_are_listed_fault_by_fault() {
    listing("names.yaml", expect_file!["../../fixtures/bad/names.txt"]);
    listing("replies.yaml", expect_file!["../../fixtures/bad/replies.txt"]);
    listing("shape.yaml", expect_file!["../../fixtures/bad/shape.txt"]);
    listing("yaml.yaml", expect_file!["../../fixtures/bad/yaml.txt"]);
    listing("menu_values.yaml", expect_file!["../../fixtures/bad/menu_values.txt"]);
    listing("no_pie.yaml", expect_file!["../../fixtures/bad/no_pie.txt"]);
}

#[test]
fn good_files_load() {
    load_file("fixtures/good/everything.yaml");
    let acme = load_file("../examples/policies/acme.yaml");
    assert_eq!(acme.revision().len(), 64);
    assert_eq!(acme.file_name(), "acme.yaml");
}

#[test]
fn the_smallest_policy_and_the_empty_file() {
    assert!(load("version: 1").is_ok());
    let errors = load("").expect_err("empty");
    expect![[r#"
        test.yaml:1:1: a policy wants a map of keys and values, not nothing
         1 | 
           | ^
    "#]]
    .assert_eq(&errors.to_string());
}

#[test]
fn the_revision_follows_content() {
    let policy = |text: &str, list: &'static str| {
        Policy::load(text, "a.yaml", &move |_| Ok(list.to_owned())).expect("policy").revision().to_owned()
    };
    let text = "version: 1\nlists: { a: { file: a.txt } }\n";
    assert_eq!(policy(text, "+46701234567"), policy(text, "+46701234567"));
    assert_ne!(policy(text, "+46701234567"), policy(text, "+46701234568"));
    assert_ne!(policy(text, "+46701234567"), policy(&format!("{text}# x"), "+46701234567"));
}

#[test]
fn needs_are_what_rules_name() {
    let needs = |rule: &str| {
        let policy =
            load(&format!("version: 1\nice:\n  - {rule}\n  - {{ name: default, deny: NO }}\n")).expect("policy");
        let needs = policy.needs(Kind::Ice);
        assert_eq!(policy.needs(Kind::Pie), policy::Needs::default());
        (needs.memory, needs.wallet, needs.price)
    };
    assert_eq!(needs("{ name: a, when: call.cli == '1', deny: A }"), (false, false, false));
    assert_eq!(needs("{ name: a, when: has(call.memory.x), deny: A }"), (true, false, false));
    assert_eq!(needs("{ name: a, when: wallet.available > 0, deny: A }"), (false, true, false));
    assert_eq!(needs("{ name: a, when: has(call.cli), deny: A, say: \"${price.perMinute}\" }"), (false, false, true));
    assert_eq!(
        needs("{ name: a, when: app.name == 'x', deny: A, remember: { x: \"${call.memory.y}\" } }"),
        (true, false, false)
    );
}

#[test]
fn a_policy_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policy>();
}

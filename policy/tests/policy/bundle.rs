//! A policy travels with its lists and stays the same policy.

use std::cell::Cell;

use expect_test::{Expect, expect};
use policy::{Bundle, Policy};

const TEXT: &str = r#"version: 1
lists: { staff: { file: lists/staff.txt }, again: { file: lists/staff.txt }, few: [alice] }
ice:
  - { name: staff, when: has(call.cli) && call.cli in lists.staff, reply: { hangup: true } }
  - { name: default, deny: NO }
"#;

#[test]
fn a_bundle_is_the_policy_it_was_read_from() {
    let reads = Cell::new(0);
    let read = |path: &str| {
        reads.set(reads.get() + 1);
        assert_eq!(path, "lists/staff.txt");
        Ok("+46701234567\n".to_owned())
    };
    let (bundle, policy) = Bundle::read(TEXT, "acme.yaml", &read).expect("policy");
    assert_eq!(reads.get(), 1);
    assert_eq!(policy.revision(), Policy::load(TEXT, "other.yaml", &read).expect("policy").revision());

    let stored = serde_json::to_string(&bundle).expect("JSON");
    let again: Bundle = serde_json::from_str(&stored).expect("a bundle");
    assert_eq!(again, bundle);
    let loaded = again.load().expect("policy");
    assert_eq!((loaded.revision(), loaded.file_name()), (policy.revision(), "acme.yaml"));

    let without = Bundle { files: std::collections::BTreeMap::new(), ..bundle };
    let errors = without.load().expect_err("a list is missing").to_string();
    assert!(errors.contains("cannot read the list 'lists/staff.txt': it is not in the bundle"), "{errors}");
    assert!(Bundle::read("version: 2", "a.yaml", &read).is_err());
}

#[test]
fn what_is_no_bundle_of_ours_is_refused() {
    let check = |json: &str, expected: Expect| {
        expected.assert_eq(&serde_json::from_str::<Bundle>(json).expect_err("refused").to_string());
    };
    check(
        r#"{"version":2,"sealed":true}"#,
        expect![
            "a policy bundle of version 2, and this callbus reads version 1: update it, or push the policy with it at line 1 column 12"
        ],
    );
    check(
        r#"{"version":1,"file_name":"a","text":"","filse":{}}"#,
        expect!["unknown field `filse`, expected one of `version`, `file_name`, `text`, `files` at line 1 column 46"],
    );
    check(r#"{"file_name":"a","text":""}"#, expect!["missing field `version` at line 1 column 27"]);
}

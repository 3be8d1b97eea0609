//! Lists that are edited while calls go on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::expect;
use policy::{LIST_ENTRY_MAX_BYTES, LiveList, LiveLists, Policy, check_entry};
use proptest::prelude::*;
use proto::{ListChanged, ListName};

use crate::{World, line, load};

const RULES: &str = r#"version: 1
lists: { blocked: { live: true }, staff: { live: true }, few: [alice] }
ice:
  - { name: blocked, when: has(call.cli) && call.cli in lists.blocked, deny: BLOCKED }
  - { name: default, reply: { hangup: true } }
"#;
const CALL: &str = r#"{"event":"ice","callid":"c","cli":"46701234567"}"#;

fn name(text: &str) -> ListName {
    ListName::new(text).expect("name")
}

fn change(cleared: bool, removed: &[&str], added: &[&str]) -> ListChanged {
    let own = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
    ListChanged { cleared, removed: own(removed), added: own(added), by: String::new() }
}

#[test]
fn an_edit_decides_the_next_call() {
    let policy = load(RULES).expect("policy");
    assert_eq!(policy.live_lists().map(ListName::as_str).collect::<Vec<_>>(), ["blocked", "staff"]);
    let world = World::new();
    let before = world.decide(&policy, CALL);
    assert_eq!(before.rule, "default");
    expect![[r#"[{"list":"blocked","revision":"0","value":"46701234567","member":false,"live":true}]"#]]
        .assert_eq(&serde_json::to_string(&before.explanation.lists).expect("JSON"));

    world.lists.apply(&name("blocked"), 42, &change(false, &[], &["+46 70 123 45 67"]));
    let after = world.decide(&policy, CALL);
    assert_eq!(after.rule, "blocked");
    expect![[r#"[{"list":"blocked","revision":"42","value":"46701234567","member":true,"live":true}]"#]]
        .assert_eq(&serde_json::to_string(&after.explanation.lists).expect("JSON"));

    world.lists.apply(&name("blocked"), 43, &change(false, &["46701234567"], &[]));
    assert_eq!(world.decide(&policy, CALL).rule, "default");
    assert_eq!(world.lists.revision(&name("blocked")), 43);
    assert_eq!(world.lists.revision(&name("staff")), 0);
}

#[test]
fn the_revision_of_a_policy_is_not_that_of_its_live_lists() {
    let (first, second) = (load(RULES).expect("policy"), load(RULES).expect("policy"));
    assert_eq!(first.revision(), second.revision());
    assert_ne!(
        first.revision(),
        load(&RULES.replace("staff: { live: true }", "staff: []")).expect("policy").revision()
    );
}

#[test]
fn what_cannot_be_on_a_list_is_refused_by_its_editor() {
    assert_eq!(check_entry(" +46 70-123 45 67 "), Ok("+46701234567".to_owned()));
    assert_eq!(check_entry(" Alice "), Ok("Alice".to_owned()));
    assert_eq!(check_entry("007"), Ok("007".to_owned()));
    for wrong in ["", " ", "a\nb", "0701234567", "(0)70 123 45 67", "0046701234567", "+0701234567"] {
        check_entry(wrong).expect_err(wrong);
    }
    check_entry(&"x".repeat(LIST_ENTRY_MAX_BYTES + 1)).expect_err("too long");
}

#[test]
fn bad_lists_are_said_to_be() {
    let text = r#"version: 1
lists:
  both: { file: a.txt, live: true }
  off: { live: false }
  none: {}
  local: ["0701234567", "08-123 456 78", "112", alice]
  file: { file: local.txt }
ice:
  - { name: all, reply: { hangup: true } }
tests:
  - { it: a, given: { event: ice, lists: { local: [], lokal: [] } }, expect: { rule: all } }
"#;
    let errors =
        Policy::load(text, "test.yaml", &|_| Ok("# ours\n+46701234567\n070 123 45 67 # Eve\n0812345678\n".to_owned()));
    expect![[r#"
        test.yaml:3:24: a list is in a file or live
         3 |   both: { file: a.txt, live: true }
           |                        ^ keep one of file and live

        test.yaml:4:16: live takes no other value
         4 |   off: { live: false }
           |                ^ write live: true

        test.yaml:5:9: a list wants a file, or to be live
         5 |   none: {}
           |         ^ write { file: lists/x.txt } or { live: true }

        test.yaml:6:11: the number '0701234567' has no country code
         6 |   local: ["0701234567", "08-123 456 78", "112", alice]
           |           ^ write it as +46701234567

        test.yaml:6:25: the number '08-123 456 78' has no country code
         6 |   local: ["0701234567", "08-123 456 78", "112", alice]
           |                         ^ write it as +46701234567

        test.yaml:7:17: line 3 of 'local.txt': the number '070 123 45 67' has no country code, nor have 1 more
         7 |   file: { file: local.txt }
           |                 ^ write it as +46701234567

        test.yaml:11:44: 'local' is not live: its entries are those of the policy
         11 |   - { it: a, given: { event: ice, lists: { local: [], lokal: [] } }, expect: { rule: all } }
            |                                            ^ only lists with live: true are given

        test.yaml:11:55: unknown list 'lokal'
         11 |   - { it: a, given: { event: ice, lists: { local: [], lokal: [] } }, expect: { rule: all } }
            |                                                       ^ did you mean local?
    "#]]
    .assert_eq(&errors.expect_err("bad lists").to_string());
}

#[test]
fn tests_of_a_policy_give_entries() {
    let test = |given: &str, expect: &str| {
        load(&format!(
            "{RULES}tests:\n  - {{ it: t, given: {{ event: ice, call: {{ cli: 46701234567 }}{given} }}, expect: {{ {expect} }} }}\n"
        ))
    };
    test(", lists: { blocked: [+46 70 123 45 67] }", "reason: BLOCKED").expect("on the list");
    test("", "rule: default").expect("an empty list");
    let errors =
        test(", lists: { blocked: [\"0701234567\"] }", "rule: default").expect_err("no country code").to_string();
    assert!(errors.contains("a number wants its country code"), "{errors}");
}

/// Somebody replaces the list again and again; who was on it all the time is never seen off it.
#[test]
fn an_edit_is_never_seen_half_done() {
    let (lists, policy, world, done) =
        (LiveLists::default(), load(RULES).expect("policy"), World::new(), AtomicBool::new(false));
    let others: Vec<String> = (0..2_000).map(|number| format!("+4610{number:07}")).collect();
    let with = |mine: &str| others.iter().cloned().chain([mine.to_owned()]).collect::<Vec<_>>();
    lists.apply(&name("blocked"), 1, &ListChanged { added: with("+46701234567"), ..ListChanged::default() });
    let world = World { lists: lists.clone(), ..world };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..50 {
                let (cleared, removed) = if round % 2 == 0 { (true, Vec::new()) } else { (false, with("46701234567")) };
                let changed = ListChanged { cleared, removed, added: with("+46 701234567"), by: String::new() };
                lists.apply(&name("blocked"), 1 + round, &changed);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut asked = 0;
        while !done.load(Ordering::Relaxed) || asked < 100 {
            assert_eq!(world.decide(&policy, CALL).rule, "blocked", "{}", line(&world.decide(&policy, CALL)));
            asked += 1;
        }
    });
    assert_eq!(lists.with(&name("blocked"), |list| list.map(LiveList::len)), Some(2_001));
}

fn changes() -> impl Strategy<Value = Vec<ListChanged>> {
    let entry = prop::sample::select(vec![
        "+46701234567",
        "46 70 123 45 67",
        "+46701234568",
        "alice",
        " alice ",
        "Alice",
        "",
        "x",
    ]);
    let entries = proptest::collection::vec(entry, 0..4);
    let changed = (prop::bool::weighted(0.2), entries.clone(), entries)
        .prop_map(|(cleared, removed, added)| change(cleared, &removed, &added));
    proptest::collection::vec(changed, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A list is its events in order, however often and however late some come again, in one step or many.
    #[test]
    fn a_list_is_the_fold_of_its_events(changes in changes(), again in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let mut model = BTreeSet::new();
        let (mut list, lists) = (LiveList::new(name("a")), LiveLists::default());
        for (index, changed) in changes.iter().enumerate() {
            if changed.cleared {
                model.clear();
            }
            let spelt = |entry: &String| check_entry(entry).ok();
            changed.removed.iter().filter_map(spelt).for_each(|entry| {
                model.remove(&entry);
            });
            model.extend(changed.added.iter().filter_map(spelt));
            let seq = 10 * (index as u64 + 1);
            list.apply(seq, changed);
            lists.apply(&name("a"), seq, changed);
            for late in &again {
                let late = late.index(index + 1);
                list.apply(10 * (late as u64 + 1), &changes[late]);
                lists.apply(&name("a"), 10 * (late as u64 + 1), &changes[late]);
            }
            prop_assert_eq!(list.revision, seq);
            prop_assert_eq!(list.entries().collect::<Vec<_>>(), model.iter().map(String::as_str).collect::<Vec<_>>());
            let shared = lists.with(&name("a"), |list| list.map(|list| (list.revision, list.entries().map(str::to_owned).collect::<BTreeSet<_>>())));
            prop_assert_eq!(shared, Some((seq, model.clone())));
        }
    }
}

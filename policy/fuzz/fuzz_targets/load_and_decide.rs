#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use policy::{AppFacts, Bundle, Facts, LiveLists, Outline, Policy, Recorded, Replayed, Verdict};
use proto::signature::Verified;
use proto::svaml::Action;
use proto::{AppName, Callback, ListChanged, Outcome, Svaml, WalletId};

const CALLS: [&str; 5] = [
    r#"{"event":"ice","callid":"c","cli":"46701234567","user":"eve","to":{"type":"did","endpoint":"+15612600684"}}"#,
    r#"{"event":"ace","callid":"c","amd":{"status":"machine"}}"#,
    r#"{"event":"pie","callid":"c","menuResult":{"menuId":"main","type":"sequence","value":"1234"}}"#,
    r#"{"event":"dice","callid":"c","result":"ANSWERED","reason":"CALLERHANGUP","duration":7,"from":"+46701234567"}"#,
    r#"{"event":"notify","callid":"c","type":"recording_available","destination":"s3://b/a.mp3"}"#,
];

fuzz_target!(|text: &str| {
    let read = |_: &str| Ok("+46701234567\n# nobody\n".to_owned());
    let (bundle, policy) = match Bundle::read(text, "fuzz.yaml", &read) {
        Ok(read) => read,
        Err(errors) => return drop(errors.to_string()),
    };
    assert_eq!(bundle.load().map(|again| again.revision().to_owned()), Ok(policy.revision().to_owned()));
    let (Ok(name), Ok(wallet)) = (AppName::new("acme"), WalletId::new("acme")) else { return };
    let lists = LiveLists::default();
    let changed = ListChanged { added: vec!["46701234567".to_owned()], ..ListChanged::default() };
    policy.live_lists().for_each(|list| lists.apply(list, 1, &changed));
    for call in CALLS {
        let Ok(callback) = Callback::parse(&Verified::unchecked(Bytes::from_static(call.as_bytes()))) else { continue };
        let facts = Facts {
            app: AppFacts { name: &name, wallet: &wallet },
            callback: &callback,
            now: Timestamp::UNIX_EPOCH,
            memory: &BTreeMap::new(),
            wallet: None,
            price: None,
            env: &BTreeMap::new(),
            lists: &lists,
        };
        if !callback.kind().wants_svaml() {
            policy.emits(&facts);
            continue;
        }
        decide(&policy, &facts);
    }
});

fn decide(policy: &Policy, facts: &Facts<'_>) {
    let mut decision = policy.decide(facts);
    let (past, wallet) = (&decision.explanation, decision.wallet.as_ref());
    let again = Recorded { callback: facts.callback, facts: &past.facts, lists: &past.lists, wallet };
    match policy.replay(&again, facts.lists) {
        Replayed::Decided(again) => assert_eq!(Outline::of(&again), Outline::of(&decision), "another decision"),
        Replayed::Unknown(_) => {}
    }
    assert!(!policy.shadow(facts, &decision).differs, "a policy differs from itself");
    // Every other ask is answered, with what may not answer an ICE.
    let mut asked = 0;
    while let Verdict::Ask { .. } = &decision.verdict {
        asked += 1;
        assert!(asked <= 3, "asks without end");
        decision = match asked % 2 {
            0 => policy.answered(facts, decision, Svaml::only(Action::Continue), Duration::ZERO),
            _ => policy.ask_failed(facts, decision, "no answer".to_owned(), Duration::ZERO),
        };
    }
    decision.explanation.sentence(Outcome::Answered, None);
    assert_eq!(decision.granted(60).check(facts.callback.kind()), Ok(()), "an answer Sinch refuses");
}

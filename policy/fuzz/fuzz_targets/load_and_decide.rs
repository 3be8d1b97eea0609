#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use policy::{AppFacts, Facts, LiveLists, Policy};
use proto::signature::Verified;
use proto::{AppName, Callback, WalletId};

const CALLS: [&str; 3] = [
    r#"{"event":"ice","callid":"c","cli":"46701234567","user":"eve","to":{"type":"did","endpoint":"+15612600684"}}"#,
    r#"{"event":"ace","callid":"c","amd":{"status":"machine"}}"#,
    r#"{"event":"pie","callid":"c","menuResult":{"menuId":"main","type":"sequence","value":"1234"}}"#,
];

fuzz_target!(|text: &str| {
    let read = |_: &str| Ok("+46701234567\n# nobody\n".to_owned());
    let policy = match Policy::load(text, "fuzz.yaml", &read) {
        Ok(policy) => policy,
        Err(errors) => return drop(errors.to_string()),
    };
    let (Ok(name), Ok(wallet)) = (AppName::new("acme"), WalletId::new("acme")) else { return };
    for call in CALLS {
        let Ok(callback) = Callback::parse(&Verified::unchecked(Bytes::from_static(call.as_bytes()))) else { continue };
        let decision = policy.decide(&Facts {
            app: AppFacts { name: &name, wallet: &wallet },
            callback: &callback,
            now: Timestamp::UNIX_EPOCH,
            memory: &BTreeMap::new(),
            wallet: None,
            price: None,
            env: &BTreeMap::new(),
            lists: &LiveLists::default(),
        });
        assert_eq!(decision.granted(60).check(callback.kind()), Ok(()), "an answer Sinch refuses");
    }
});

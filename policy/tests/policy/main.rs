//! Policies as their users meet them: a file goes in, answers or error listings come out.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod ask;
mod bundle;
mod decide;
mod emit;
mod functions;
mod hostile;
mod hours;
mod live_lists;
mod load;
mod own_tests;
mod replay;
mod shadow;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use policy::{AppFacts, Decision, Facts, LiveLists, Policy, PolicyErrors, PriceFacts, WalletFacts};
use proto::signature::Verified;
use proto::{AppName, Callback, WalletId};

/// Loads a policy that has no files of its own.
fn load(text: &str) -> Result<Policy, PolicyErrors> {
    Policy::load(text, "test.yaml", &|path| Err(format!("{path} does not exist")))
}

/// Loads a policy file of this repository, with its lists.
fn load_file(path: &str) -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let folder = path.parent().expect("folder");
    let text = std::fs::read_to_string(&path).expect("policy file");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
    Policy::load(&text, "acme.yaml", &read).unwrap_or_else(|errors| panic!("{errors}"))
}

fn callback(json: &str) -> Callback {
    Callback::parse(&Verified::unchecked(Bytes::copy_from_slice(json.as_bytes()))).expect("a callback")
}

/// Everything a worker would gather for a callback.
struct World {
    app: AppName,
    now: Timestamp,
    wallet: WalletId,
    memory: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    credit: Option<WalletFacts>,
    price: Option<PriceFacts>,
    lists: LiveLists,
}

impl World {
    fn new() -> Self {
        Self {
            app: AppName::new("acme").expect("name"),
            now: Timestamp::from_second(1_700_000_000).expect("time"),
            wallet: WalletId::new("acme-main").expect("wallet"),
            memory: BTreeMap::new(),
            env: BTreeMap::new(),
            credit: None,
            price: None,
            lists: LiveLists::default(),
        }
    }

    fn facts<'a>(&'a self, callback: &'a Callback) -> Facts<'a> {
        Facts {
            app: AppFacts { name: &self.app, wallet: &self.wallet },
            callback,
            now: self.now,
            memory: &self.memory,
            wallet: self.credit.clone(),
            price: self.price.clone(),
            env: &self.env,
            lists: &self.lists,
        }
    }

    fn decide(&self, policy: &Policy, json: &str) -> Decision {
        policy.decide(&self.facts(&callback(json)))
    }
}

/// `rule | verdict | SVAML`, one line.
fn line(decision: &Decision) -> String {
    use policy::Verdict;
    let (verdict, svaml) = match &decision.verdict {
        Verdict::Answer(svaml) => ("answer".to_owned(), svaml),
        Verdict::Reserve { svaml, number, cap_secs } => (format!("reserve {number} {cap_secs}s"), svaml),
        Verdict::Ask { ask, reserve } => {
            let reserve = if *reserve { ", reserve" } else { "" };
            return format!("{} | ask {} {:?}{reserve}", decision.rule, ask.to, ask.timeout);
        }
        Verdict::Deny { reason, svaml } => (format!("deny {reason}"), svaml),
    };
    format!("{} | {verdict} | {}", decision.rule, svaml.to_json())
}

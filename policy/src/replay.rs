//! A recorded call, decided again by another policy. Nothing is fetched and nothing is done: what was not recorded is
//! unknown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proto::callback::Details;
use proto::{AppName, Callback, WalletId};
use serde_json::{Map, Value as Json};

use crate::decision::{Decision, Verdict};
use crate::explanation::Membership;
use crate::expression::Expression;
use crate::facts::{AppFacts, Facts, PriceFacts, WalletFacts};
use crate::list::Source;
use crate::live_list::LiveLists;
use crate::policy::Policy;
use crate::scene::{Scene, Trail};
use crate::template::Template;

/// A decision as the log has it.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// What was decided about.
    pub callback: &'a Callback,
    /// [`crate::Explanation::facts`]: those there were.
    pub facts: &'a Map<String, Json>,
    /// [`crate::Explanation::lists`]: what lists answered.
    pub lists: &'a [Membership],
    /// Who was to pay: the wallet whose balance the facts tell.
    pub wallet: Option<&'a WalletId>,
}

/// What a policy makes of a recorded call.
#[derive(Debug, Clone, PartialEq)]
pub enum Replayed {
    /// What it would have decided.
    Decided(Box<Decision>),
    /// It looks at what was not recorded: `call.memory`, `wallet`, `price`, `env.REGION`, the answer of somebody else.
    Unknown(Vec<String>),
}

impl Policy {
    /// Decides a recorded call again, from the facts it was decided by. Live lists answer as they did then where they were
    /// asked the same, else as they are now.
    ///
    /// Only what the rules tried look at can be unknown: a rule further down does not matter.
    pub fn replay(&self, recorded: &Recorded<'_>, lists: &LiveLists) -> Replayed {
        let facts = recorded.facts;
        let (Some((name, wallet)), Some(now)) = (app(facts), now(facts)) else {
            return Replayed::Unknown(vec!["app".to_owned(), "now".to_owned()]);
        };
        let memory = facts.get("call").and_then(|call| call.get("memory"));
        let (memory, env) = (texts(memory), texts(facts.get("env")));
        let facts = Facts {
            app: AppFacts { name: &name, wallet: &wallet },
            callback: recorded.callback,
            now,
            memory: &memory,
            wallet: facts.get("wallet").and_then(wallet_facts),
            price: facts.get("price").and_then(price_facts),
            env: &env,
            lists,
        };
        let live = |answer: &&Membership| answer.live && matches!(self.lists.get(&answer.list), Some(Source::Live(_)));
        let known = recorded.lists.iter().filter(live).cloned().collect();
        let decision = Scene::new(self, &facts, known).decide(0, Trail::default());
        let unknown = self.unknown(recorded, &decision);
        if unknown.is_empty() { Replayed::Decided(Box::new(decision)) } else { Replayed::Unknown(unknown) }
    }

    /// What the rules up to the one that decided look at and nobody recorded.
    fn unknown(&self, recorded: &Recorded<'_>, decision: &Decision) -> Vec<String> {
        let (facts, needs) = (recorded.facts, self.needs(recorded.callback.kind()));
        let rules = self.rules.of(recorded.callback.kind());
        let tried = rules.iter().position(|rule| *rule.name == *decision.rule).map_or(rules.len(), |at| at + 1);
        let (tried, last) = (&rules[..tried], tried.checked_sub(1).and_then(|last| rules.get(last)));
        let conditions = tried.iter().filter_map(|rule| rule.when.as_ref());
        let of_last = last.into_iter().flat_map(|rule| rule.expressions());
        let payer = self.wallet.iter().flat_map(Template::expressions);
        let expressions: Vec<&Expression> = conditions.chain(of_last).chain(payer).collect();
        // Reading is asked last: there may be many rules.
        let reads = |name: &str| expressions.iter().any(|expression| expression.reads_under(name));
        let mut unknown = BTreeSet::new();
        let memory = facts.get("call").and_then(|call| call.get("memory"));
        if needs.memory && memory.is_none() && reads("call.memory") {
            unknown.insert("call.memory".to_owned());
        }
        let same_wallet = facts.contains_key("wallet") && recorded.wallet == decision.wallet.as_ref();
        if needs.wallet && !same_wallet && reads("wallet") {
            unknown.insert("wallet".to_owned());
        }
        // Only what a call comes in for has a price.
        let comes_in = matches!(recorded.callback.details, Details::Ice(_));
        if needs.price && comes_in && !facts.contains_key("price") && reads("price") {
            unknown.insert("price".to_owned());
        }
        let env = facts.get("env").and_then(Json::as_object);
        let named = expressions.iter().flat_map(|expression| expression.reads.iter());
        unknown.extend(
            named
                .filter(|read| {
                    read.strip_prefix("env.").is_some_and(|name| env.is_none_or(|env| !env.contains_key(name)))
                })
                .cloned(),
        );
        if let Verdict::Ask { ask, .. } = &decision.verdict {
            unknown.insert(format!("the answer of {}", ask.to));
        }
        unknown.into_iter().collect()
    }
}

fn app(facts: &Map<String, Json>) -> Option<(AppName, WalletId)> {
    let app = facts.get("app")?;
    Some((AppName::new(app.get("name")?.as_str()?).ok()?, WalletId::new(app.get("wallet")?.as_str()?).ok()?))
}

fn now(facts: &Map<String, Json>) -> Option<Timestamp> {
    Timestamp::from_second(facts.get("now")?.as_i64()?).ok()
}

fn wallet_facts(wallet: &Json) -> Option<WalletFacts> {
    let available_micros = wallet.get("available")?.as_i64()?;
    Some(WalletFacts { available_micros, currency: text(wallet, "currency") })
}

fn price_facts(price: &Json) -> Option<PriceFacts> {
    Some(PriceFacts {
        destination: text(price, "destination"),
        prefix: text(price, "prefix"),
        per_minute_micros: price.get("perMinute")?.as_i64()?,
        connect_fee_micros: price.get("connectFee")?.as_i64()?,
        currency: text(price, "currency"),
    })
}

fn text(record: &Json, field: &str) -> String {
    record.get(field).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn texts(map: Option<&Json>) -> BTreeMap<String, String> {
    let entries = map.and_then(Json::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

//! What a test of the file gives: a callback and all that a worker would gather for it, under the names of the facts.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proto::signature::Verified;
use proto::{AppName, Callback, Kind, ListChanged, Svaml, WalletId};
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json, json};

use crate::decision::{CALL_MAX_SECS, Decision, Verdict};
use crate::errors::{Findings, PolicyErrors, quoted};
use crate::facts::{AppFacts, Facts, PriceFacts, WalletFacts, micros};
use crate::list::{Lists, Source};
use crate::live_list::{LiveLists, check_entry};
use crate::names::Scope;
use crate::policy::Policy;
use crate::reader::Reader;
use crate::reply::constant;
use crate::yaml::{Entry, Node, Shape};

pub(crate) const KEYS: &[&str] = &["event", "call", "menu", "app", "wallet", "price", "now", "env", "lists", "answer"];
pub(crate) const APP_KEYS: &[&str] = &["name", "wallet"];
pub(crate) const WALLET_KEYS: &[&str] = &["available", "currency", "rate"];
pub(crate) const PRICE_KEYS: &[&str] = &["destination", "prefix", "perMinute", "connectFee", "currency"];

/// What may be given.
pub(crate) const EVENTS: [&str; 5] = ["ice", "ace", "pie", "dice", "notify"];

/// What a test that gives no `now` is decided at: the first second of the year 2000.
const NOW: Timestamp = Timestamp::constant(946_684_800, 0);

/// The facts of one test.
#[derive(Debug)]
pub(crate) struct Given {
    app: AppName,
    app_wallet: WalletId,
    callback: Callback,
    now: Timestamp,
    memory: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    wallet: Option<WalletFacts>,
    rate: Option<Rate>,
    price: Option<PriceFacts>,
    lists: LiveLists,
    answer: Option<Answer>,
}

/// What comes of asking elsewhere.
#[derive(Debug)]
enum Answer {
    Svaml(Box<Svaml>),
    Fails,
}

/// What so many seconds cost: enough to tell how long a wallet lasts.
#[derive(Debug, Clone, Copy)]
struct Rate {
    micros: i64,
    secs: u32,
}

/// Decides what is written like the `given` of a test, as YAML or JSON: `{ event: ice, call: { cli: "+46701234567" } }`.
///
/// # Errors
/// What is wrong with it. DICE and notify are not decided.
pub fn decide_given(policy: &Policy, given: &str) -> Result<Decision, PolicyErrors> {
    let mut findings = Findings::new("given", given);
    let Some(node) = Node::parse(given, &mut findings) else { return Err(findings.finish()) };
    let mut reader = Reader::new(findings);
    reader.defined.lists = Lists::clone(&policy.lists);
    let given = Given::read(&mut reader, &node);
    match given.filter(|_| reader.findings.count() == 0) {
        Some(given) if given.kind().wants_svaml() => return Ok(given.decide(policy)),
        Some(given) => {
            let what = format!("{} is not decided, it only makes events", given.kind());
            reader.findings.wrong_hint(node.at, what, "give ice, ace or pie");
        }
        None => {}
    }
    Err(reader.findings.finish())
}

impl Given {
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.map(node, "given", KEYS);
        let (callback, memory) = callback(reader, node)?;
        let (app, app_wallet) = app(reader, node)?;
        let (wallet, rate) = match node.get("wallet") {
            Some(entry) => wallet(reader, &entry.value)?,
            None => (None, None),
        };
        Some(Self {
            app,
            app_wallet,
            callback,
            now: now(reader, node)?,
            memory,
            env: node.get("env").map(|entry| texts(reader, &entry.value, "env")).unwrap_or_default(),
            wallet,
            rate,
            price: node.get("price").map(|entry| price(reader, &entry.value)),
            answer: match node.get("answer") {
                Some(entry) => Some(Answer::read(reader, &entry.value)?),
                None => None,
            },
            lists: node.get("lists").map(|entry| lists(reader, &entry.value)).unwrap_or_default(),
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.callback.kind()
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            app: AppFacts { name: &self.app, wallet: &self.app_wallet },
            callback: &self.callback,
            now: self.now,
            memory: &self.memory,
            wallet: self.wallet.clone(),
            price: self.price.clone(),
            env: &self.env,
            lists: &self.lists,
        }
    }

    /// What the policy decides, once whom it asks has answered as the test says.
    pub(crate) fn decide(&self, policy: &Policy) -> Decision {
        let facts = self.facts();
        let mut decision = policy.decide(&facts);
        while let (Verdict::Ask { .. }, Some(answer)) = (&decision.verdict, &self.answer) {
            decision = match answer {
                Answer::Svaml(svaml) => policy.answered(&facts, decision, Svaml::clone(svaml), Duration::ZERO),
                Answer::Fails => policy.ask_failed(&facts, decision, "no answer".to_owned(), Duration::ZERO),
            };
        }
        decision
    }

    /// How long the wallet lasts; as long as a call may, where the test does not say.
    pub(crate) fn affordable_secs(&self) -> u32 {
        let (Some(wallet), Some(rate)) = (&self.wallet, self.rate) else { return CALL_MAX_SECS };
        let steps = wallet.available_micros.max(0) / rate.micros;
        u32::try_from(steps.saturating_mul(i64::from(rate.secs))).unwrap_or(CALL_MAX_SECS)
    }
}

impl Answer {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        if node.scalar().is_some_and(|scalar| scalar.text == "fails") {
            return Some(Self::Fails);
        }
        let svaml = serde_json::from_value(to_json(node));
        if let Err(error) = &svaml {
            let what = format!("an answer is SVAML, or fails: {error}");
            reader.findings.wrong_hint(node.at, what, "write { action: { name: hangup } }");
        }
        svaml.ok().map(Box::new).map(Self::Svaml)
    }
}

/// The callback as Sinch would send it, and what earlier rules would have remembered. Names are those of the facts.
fn callback(reader: &mut Reader<'_>, given: &Node) -> Option<(Callback, BTreeMap<String, String>)> {
    let Some(event) = given.get("event") else {
        reader.findings.wrong_hint(given.at, "no event is given", "add event: ice, ace, pie, dice or notify");
        return None;
    };
    let word = reader.text(&event.value, "event")?;
    let Some(scope) = Kind::parse(word).and_then(Scope::of) else {
        reader.findings.unknown(event.value.at, "event", word, EVENTS);
        return None;
    };
    let (mut body, mut memory) = (Map::new(), BTreeMap::new());
    body.insert("callid".to_owned(), json!("test"));
    if let Some(call) = given.get("call") {
        for entry in reader.any_map(&call.value, "call") {
            names(reader, scope, &mut vec!["call", &entry.key], entry);
            match entry.key.as_str() {
                "memory" => memory = texts(reader, &entry.value, "memory"),
                "cookies" | "callHeaders" => {
                    let pair = |(key, value): (String, String)| json!({ "key": key, "value": value });
                    let pairs = texts(reader, &entry.value, &entry.key).into_iter().map(pair).collect();
                    body.insert(entry.key.clone(), Json::Array(pairs));
                }
                "id" => {
                    body.insert("callid".to_owned(), to_json(&entry.value));
                }
                _ => {
                    body.insert(entry.key.clone(), to_json(&entry.value));
                }
            }
        }
    }
    if let Some(menu) = given.get("menu") {
        let mut result = Map::new();
        for entry in reader.any_map(&menu.value, "menu") {
            names(reader, scope, &mut vec!["menu", &entry.key], entry);
            let field = if entry.key == "id" { "menuId" } else { &entry.key };
            result.insert(field.to_owned(), to_json(&entry.value));
        }
        body.insert("menuResult".to_owned(), Json::Object(result));
    }
    body.insert("event".to_owned(), json!(word));
    let body = Verified::unchecked(Bytes::from(Json::Object(body).to_string()));
    match Callback::parse(&body) {
        Ok(callback) => Some((callback, memory)),
        Err(error) => {
            reader.findings.wrong(given.at, format!("not a callback: {error}"));
            None
        }
    }
}

/// Checks that an expression could read what is given.
fn names<'n>(reader: &mut Reader<'_>, scope: Scope, path: &mut Vec<&'n str>, entry: &'n Entry) {
    if let Err(unknown) = scope.check(path, &reader.defined) {
        reader.findings.push(entry.at, unknown.what, Some(unknown.hint));
        return;
    }
    for below in entry.value.entries().unwrap_or_default() {
        path.push(&below.key);
        names(reader, scope, path, below);
        path.pop();
    }
}

fn app(reader: &mut Reader<'_>, given: &Node) -> Option<(AppName, WalletId)> {
    let (mut name, mut wallet) = ("test", "test");
    if let Some(entry) = given.get("app") {
        for entry in reader.map(&entry.value, "app", APP_KEYS) {
            let text = reader.text(&entry.value, "app")?;
            if entry.key == "name" { name = text } else { wallet = text }
        }
    }
    match (AppName::new(name), WalletId::new(wallet)) {
        (Ok(name), Ok(wallet)) => Some((name, wallet)),
        (Err(error), _) | (_, Err(error)) => {
            reader.findings.wrong(given.at, error.to_string());
            None
        }
    }
}

fn now(reader: &mut Reader<'_>, given: &Node) -> Option<Timestamp> {
    let Some(entry) = given.get("now") else { return Some(NOW) };
    let now = reader.text(&entry.value, "now")?.parse().ok();
    if now.is_none() {
        reader.findings.wrong_hint(entry.value.at, "not an instant", "write \"2026-11-20T17:30:00+01:00\"");
    }
    now
}

fn wallet(reader: &mut Reader<'_>, node: &Node) -> Option<(Option<WalletFacts>, Option<Rate>)> {
    let (mut facts, mut rate) = (WalletFacts { available_micros: 0, currency: String::new() }, None);
    for entry in reader.map(node, "wallet", WALLET_KEYS) {
        match entry.key.as_str() {
            "available" => facts.available_micros = amount(reader, &entry.value, "available")?,
            "currency" => facts.currency = reader.text(&entry.value, "currency")?.to_owned(),
            "rate" => {
                let text = reader.text(&entry.value, "rate")?;
                rate = text.split_once('/').and_then(|(price, secs)| {
                    let micros = Decimal::from_str(price).ok().and_then(micros).filter(|micros| *micros > 0)?;
                    Some(Rate { micros, secs: secs.parse().ok().filter(|secs| *secs > 0)? })
                });
                if rate.is_none() {
                    let hint = "write \"0.02/60\": the price, and the seconds it buys";
                    reader.findings.wrong_hint(entry.value.at, "not a rate", hint);
                }
            }
            _ => {}
        }
    }
    Some((Some(facts), rate))
}

fn price(reader: &mut Reader<'_>, node: &Node) -> PriceFacts {
    let mut facts = PriceFacts {
        destination: String::new(),
        prefix: String::new(),
        per_minute_micros: 0,
        connect_fee_micros: 0,
        currency: String::new(),
    };
    for entry in reader.map(node, "price", PRICE_KEYS) {
        let text = reader.text(&entry.value, "price").unwrap_or_default().to_owned();
        match entry.key.as_str() {
            "destination" => facts.destination = text,
            "prefix" => facts.prefix = text,
            "currency" => facts.currency = text,
            "perMinute" => facts.per_minute_micros = amount(reader, &entry.value, "perMinute").unwrap_or_default(),
            "connectFee" => facts.connect_fee_micros = amount(reader, &entry.value, "connectFee").unwrap_or_default(),
            _ => {}
        }
    }
    facts
}

fn amount(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<i64> {
    let amount = Decimal::from_str(reader.text(node, what)?).ok().and_then(micros);
    if amount.is_none() {
        reader.findings.wrong_hint(node.at, format!("{what} wants an amount"), "write \"1.90\", at most six decimals");
    }
    amount
}

/// Entries of live lists. What stands in the policy or its files is on a list anyway.
fn lists(reader: &mut Reader<'_>, node: &Node) -> LiveLists {
    let lists = LiveLists::default();
    for entry in reader.any_map(node, "lists") {
        let name = match reader.defined.lists.get(&entry.key) {
            Some(Source::Live(name)) => name.clone(),
            Some(Source::Fixed(_)) => {
                let what = format!("{} is not live: its entries are those of the policy", quoted(&entry.key));
                reader.findings.wrong_hint(entry.at, what, "only lists with live: true are given");
                continue;
            }
            None => {
                let known: Vec<String> = reader.defined.lists.keys().cloned().collect();
                reader.findings.unknown(entry.at, "list", &entry.key, known.iter().map(String::as_str));
                continue;
            }
        };
        let added = reader.list(&entry.value, "a list").iter().filter_map(|node| {
            let entry = check_entry(reader.text(node, "a list")?);
            entry.map_err(|error| reader.findings.wrong(node.at, error)).ok()
        });
        let changed = ListChanged { added: added.collect(), ..ListChanged::default() };
        lists.apply(&name, 1, &changed);
    }
    lists
}

fn texts(reader: &mut Reader<'_>, node: &Node, what: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for entry in reader.any_map(node, what) {
        texts.extend(reader.text(&entry.value, what).map(|text| (entry.key.clone(), text.to_owned())));
    }
    texts
}

pub(crate) fn to_json(node: &Node) -> Json {
    match &node.shape {
        Shape::Null => Json::Null,
        Shape::Scalar(scalar) => match constant(&scalar.text).filter(|_| scalar.plain) {
            Some(constant) => constant,
            None => Json::from(scalar.text.as_str()),
        },
        Shape::List(nodes) => nodes.iter().map(to_json).collect(),
        Shape::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.value))).collect())
        }
    }
}

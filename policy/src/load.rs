//! From the text of a policy file to a policy, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::{Kind, WalletId};

use crate::ask::AskTo;
use crate::cli::CliMap;
use crate::emit::EmitRule;
use crate::errors::{Findings, PolicyErrors, nearest};
use crate::expression::Expression;
use crate::functions;
use crate::hash::Hash;
use crate::hours::Hours;
use crate::list::Source;
use crate::menu::Menus;
use crate::names::Scope;
use crate::policy::{Needs, OnError, Policy, Rules};
use crate::reader::Reader;
use crate::reason::Reason;
use crate::reply::Reply;
use crate::rule::{MenuValue, Rule, SPOKEN_MAX_CHARS, Then, mode};
use crate::template::Template;
use crate::test_case::TestCase;
use crate::variables::Reads;
use crate::yaml::Node;

/// Largest policy file, in bytes.
const FILE_MAX_BYTES: usize = 1 << 20;

/// Events that have rules.
const KINDS: [Kind; 5] = [Kind::Ice, Kind::Ace, Kind::Pie, Kind::Dice, Kind::Notify];

/// In the order of the page.
pub(crate) const KEYS: &[&str] = &[
    "version", "mode", "defaults", "wallet", "lists", "hours", "cli", "menus", "ice", "ace", "pie", "dice", "notify",
    "tests",
];

pub(crate) const DEFAULTS_KEYS: &[&str] = &["locale", "on_error", "say"];

impl Policy {
    /// Reads and checks a policy file. `read_file` gives the text of a list file by the path written in the policy.
    ///
    /// ```
    /// use policy::Policy;
    /// let no_files = |_: &str| Err("no files here".to_owned());
    /// let policy = Policy::load("version: 1\nice:\n  - { name: all, reply: { hangup: true } }\n", "acme.yaml", &no_files);
    /// assert_eq!(policy.unwrap().revision().len(), 64);
    ///
    /// let errors = Policy::load("version: 1\nice:\n  - { name: all, repy: { hangup: true } }\n", "acme.yaml", &no_files);
    /// assert!(errors.unwrap_err().to_string().contains("did you mean reply?"));
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong, each with its line; a policy that loads cannot fail for a reason that stands in the file.
    pub fn load(
        text: &str,
        file_name: &str,
        read_file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Self, PolicyErrors> {
        let mut findings = Findings::new(file_name, text);
        if text.len() > FILE_MAX_BYTES {
            findings.wrong(0, "a policy file holds at most 1 MiB: put long lists into files of their own");
            return Err(findings.finish());
        }
        let Some(root) = Node::parse(text, &mut findings) else { return Err(findings.finish()) };
        let mut hash = Hash::new();
        hash.part(text.as_bytes());
        let mut reader = Reader::new(findings);
        let policy = read(&mut reader, &root, file_name, hash, read_file);
        if let Some((policy, tests)) = policy.as_ref().filter(|_| reader.findings.count() == 0) {
            tests.iter().for_each(|test| test.run(policy, &mut reader.findings));
        }
        match policy {
            Some((policy, _)) if reader.findings.count() == 0 => Ok(policy),
            Some(_) | None => Err(reader.findings.finish()),
        }
    }
}

fn read(
    reader: &mut Reader<'_>,
    root: &Node,
    file_name: &str,
    mut hash: Hash,
    read_file: &dyn Fn(&str) -> Result<String, String>,
) -> Option<(Policy, Vec<TestCase>)> {
    reader.map(root, "a policy", KEYS);
    root.entries()?;
    version(reader, root);
    let defaults = root.get("defaults").map(|entry| Defaults::read(reader, &entry.value)).unwrap_or_default();
    reader.locale.clone_from(&defaults.locale);
    if let Some(entry) = root.get("lists") {
        for entry in reader.any_map(&entry.value, "lists") {
            let list = Source::read(reader, entry, &mut hash, read_file);
            reader.defined.lists.extend(list.map(|list| (entry.key.clone(), list)));
        }
    }
    if let Some(entry) = root.get("hours") {
        reader.defined.hours = Hours::read(reader, &entry.value);
    }
    if let Some(entry) = root.get("menus") {
        reader.menus = Menus::read(reader, &entry.value);
    }
    let cli = root.get("cli").map(|entry| CliMap::read(reader, &entry.value));
    reader.has_cli = cli.is_some();
    let wallet = root.get("wallet").and_then(|entry| wallet(reader, &entry.value));
    let mut values = Vec::new();
    let mut rules = |reader: &mut Reader<'_>, kind: Kind| {
        root.get(kind.as_str()).map(|entry| Rule::list(reader, &entry.value, kind, &mut values)).unwrap_or_default()
    };
    let (ice, ace, pie) = (rules(reader, Kind::Ice), rules(reader, Kind::Ace), rules(reader, Kind::Pie));
    let emits = |reader: &mut Reader<'_>, kind: Kind, scope: Scope| {
        root.get(kind.as_str()).map(|entry| EmitRule::list(reader, &entry.value, kind, scope)).unwrap_or_default()
    };
    let dice = emits(reader, Kind::Dice, Scope::Dice);
    let notify = emits(reader, Kind::Notify, Scope::Notify);
    let rules = Rules { ice, ace, pie, dice, notify };
    menu_values(reader, root, &values);
    let menus = menu_replies(reader);
    let tests = root.get("tests").map(|entry| TestCase::list(reader, &entry.value)).unwrap_or_default();
    let env = functions::environment()
        .map_err(|error| reader.findings.wrong(0, format!("the expression language cannot be set up: {error}")))
        .ok()?;
    let mut hours = std::mem::take(&mut reader.defined.hours);
    hours.keep(&names_under("hours.", &rules, wallet.as_ref()));
    let policy = Policy {
        revision: hash.hex(),
        file_name: file_name.to_owned(),
        test_count: tests.len(),
        shadow: root.get("mode").is_some_and(|entry| mode(reader, &entry.value)),
        on_error: defaults.on_error,
        locale: defaults.locale,
        say: defaults.say,
        reads: reads(&rules, wallet.as_ref()),
        env_names: names_under("env.", &rules, wallet.as_ref()),
        hours,
        needs: KINDS.map(|kind| needs(&rules, kind, wallet.as_ref())),
        wallet,
        lists: Arc::new(std::mem::take(&mut reader.defined.lists)),
        cli: cli.unwrap_or_default(),
        rules,
        menus,
        env: Arc::new(env),
    };
    Some((policy, tests))
}

/// An answer that leads into each menu, for whoever is called to hear it. A menu with which no answer could be made is not
/// among them: that no rule leads there is no fault of the file.
fn menu_replies(reader: &mut Reader<'_>) -> BTreeMap<String, Reply> {
    let (found, bytes) = (reader.findings.count(), std::mem::take(&mut reader.menu_bytes));
    let mut replies = BTreeMap::new();
    for (id, at) in reader.menus.places() {
        let node = Node::map(at, vec![("menu", Node::text(at, id.as_str()))]);
        replies.extend(Reply::read(reader, &node, Kind::Ace, Scope::Ace).map(|reply| (id, reply)));
    }
    reader.findings.forget_from(found);
    reader.menu_bytes = bytes;
    replies
}

fn version(reader: &mut Reader<'_>, root: &Node) {
    match root.get("version") {
        Some(entry) if entry.value.scalar().is_some_and(|scalar| scalar.text == "1") => {}
        Some(entry) => reader.findings.wrong(entry.value.at, "this callbus reads version 1 of policy files"),
        None => reader.findings.wrong_hint(root.at, "the policy has no version", "begin with version: 1"),
    }
}

fn wallet(reader: &mut Reader<'_>, node: &Node) -> Option<Template> {
    let template = reader.template(node, "wallet", Scope::Wallet)?;
    if let Err(error) = WalletId::new(template.sample()) {
        reader.findings.wrong(node.at, error.to_string());
    }
    Some(template)
}

#[derive(Default)]
struct Defaults {
    locale: Option<String>,
    on_error: OnError,
    say: BTreeMap<Reason, String>,
}

impl Defaults {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Self {
        let mut defaults = Self::default();
        for entry in reader.map(node, "defaults", DEFAULTS_KEYS) {
            match entry.key.as_str() {
                "locale" => defaults.locale = reader.text(&entry.value, "locale").map(str::to_owned),
                "on_error" => match reader.text(&entry.value, "on_error") {
                    Some("deny") | None => {}
                    Some("next") => defaults.on_error = OnError::Next,
                    Some(_) => reader.findings.wrong(entry.value.at, "on_error is deny or next"),
                },
                "say" => {
                    for text in reader.any_map(&entry.value, "say") {
                        let spoken = reader.text(&text.value, "say").map(str::to_owned);
                        match (Reason::new(&text.key), spoken) {
                            (Ok(reason), Some(spoken)) if (1..=SPOKEN_MAX_CHARS).contains(&spoken.chars().count()) => {
                                defaults.say.insert(reason, spoken);
                            }
                            (Ok(_), Some(_)) => {
                                reader
                                    .findings
                                    .wrong(text.value.at, format!("1 to {SPOKEN_MAX_CHARS} characters are spoken"));
                            }
                            (Ok(_), None) => {}
                            (Err(error), _) => reader.findings.wrong(text.at, error.to_string()),
                        }
                    }
                }
                _ => {}
            }
        }
        defaults
    }
}

/// What keys return and what pie rules ask for must meet; a typing error would otherwise send callers to the default.
fn menu_values(reader: &mut Reader<'_>, root: &Node, values: &[MenuValue]) {
    let returned: BTreeSet<&str> = reader.menus.returns().map(|(text, _)| text.as_str()).collect();
    let taken: BTreeSet<&str> = values.iter().map(|value| value.text.as_str()).collect();
    let mut wrong = Vec::new();
    if root.get("pie").is_none()
        && let Some((text, at)) = reader.menus.returns().next()
    {
        let what = format!("no pie rule takes {}", crate::errors::quoted(text));
        wrong.push((*at, what, "add pie: with a rule for it, or a default".to_owned()));
    }
    let orphans: Vec<&str> = returned.difference(&taken).copied().collect();
    for value in values.iter().filter(|value| !returned.contains(value.text.as_str())) {
        if let Some(near) = nearest(&value.text, &orphans) {
            let what = format!("no menu returns {}", crate::errors::quoted(&value.text));
            wrong.push((value.at, what, format!("did you mean '{near}'?")));
        }
    }
    for (at, what, hint) in wrong {
        reader.findings.wrong_hint(at, what, hint);
    }
}

fn needs(rules: &Rules, kind: Kind, wallet: Option<&Template>) -> Needs {
    // Who pays is worked out where somebody may have to.
    let wallet = wallet.filter(|_| kind.wants_svaml());
    let expressions = || rules.expressions(kind).chain(wallet.into_iter().flat_map(Template::expressions));
    let named = |name: &str| expressions().any(|expression: &Expression| expression.reads_under(name));
    // A program on the bus is told what rules could have read, as far as it costs nobody a refusal.
    let foreign =
        rules.of(kind).iter().any(|rule| matches!(&rule.then, Then::Ask { ask, .. } if ask.to == AskTo::Nats));
    Needs { memory: foreign || named("call.memory"), wallet: named("wallet"), price: foreign || named("price") }
}

/// What expressions name under a prefix.
fn names_under(prefix: &str, rules: &Rules, wallet: Option<&Template>) -> Vec<String> {
    let names: BTreeSet<&str> = named(rules, wallet).filter_map(|read| read.strip_prefix(prefix)).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn reads(rules: &Rules, wallet: Option<&Template>) -> Reads {
    let mut reads = Reads::new();
    for read in named(rules, wallet) {
        let (root, field) = read.split_once('.').unwrap_or((read, ""));
        let fields = reads.entry(root.to_owned()).or_default();
        // A name may hold dots itself: env['A.B'].
        fields.extend([field, field.split('.').next().unwrap_or_default()].map(str::to_owned));
    }
    // Asked through its own value.
    reads.remove("lists");
    reads
}

/// Dotted names in all expressions.
fn named<'a>(rules: &'a Rules, wallet: Option<&'a Template>) -> impl Iterator<Item = &'a str> {
    let of_rules = KINDS.into_iter().flat_map(|kind| rules.expressions(kind));
    let expressions = of_rules.chain(wallet.into_iter().flat_map(Template::expressions));
    expressions.flat_map(|expression| expression.reads.iter().map(String::as_str))
}

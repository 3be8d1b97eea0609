//! Rules: a condition and what follows from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::Kind;
use proto::svaml::Action;

use crate::ask::{Ask, OnAskError};
use crate::expression::Expression;
use crate::names::Scope;
use crate::reader::{Reader, within};
use crate::reason::Reason;
use crate::reply::Reply;
use crate::template::Template;
use crate::yaml::{Entry, Node};

pub(crate) const KEYS: &[&str] = &["name", "when", "reply", "deny", "ask", "say", "reserve", "remember", "mode"];

/// Rules of one event.
const RULES_MAX: usize = 10_000;
/// Faults after which the rest of the rules is not read: finding what was meant takes time.
const FAULTS_MAX: usize = 500;
/// Values that one rule remembers, or puts into an event.
const VALUES_MAX: usize = 32;
/// What Sinch speaks at once.
pub(crate) const SPOKEN_MAX_CHARS: usize = 600;
const NAME_MAX_CHARS: usize = 64;

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    /// Absent: the rule always applies.
    pub(crate) when: Option<Expression>,
    pub(crate) then: Then,
    pub(crate) remember: Vec<(String, Template)>,
    /// Where it would apply, that is noted and the next rules are tried.
    pub(crate) shadow: bool,
}

/// What follows.
#[derive(Debug)]
pub(crate) enum Then {
    Answer(Reply),
    /// Rate the number, hold the credit, cap the call.
    Reserve(Reply),
    Deny {
        reason: Reason,
        say: Option<Template>,
    },
    Ask {
        ask: Ask,
        /// An answer that connects a phone call is rated, held and capped.
        reserve: bool,
    },
}

/// A text that a rule compares `menu.value` with, and its place in the file.
pub(crate) struct MenuValue {
    pub(crate) text: String,
    pub(crate) at: usize,
}

impl Rule {
    /// Reads the rules of one event.
    pub(crate) fn list(reader: &mut Reader<'_>, node: &Node, kind: Kind, values: &mut Vec<MenuValue>) -> Vec<Self> {
        let nodes = reader.list(node, kind.as_str());
        if nodes.is_empty() || nodes.len() > RULES_MAX {
            if node.nodes().is_some() {
                reader.findings.wrong(node.at, format!("{kind} wants 1 to {RULES_MAX} rules"));
            }
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            if reader.findings.count() > FAULTS_MAX {
                break;
            }
            let last = index + 1 == nodes.len();
            match (node.get("when"), last) {
                (None, false) if node.entries().is_some() && !goes_on(node) => {
                    reader.findings.wrong_hint(
                        node.at,
                        "the rules after this one never apply",
                        "add when:, or move it to the end",
                    );
                }
                (Some(when), true) => {
                    let hint = "add { name: default, … } without when: as the last one";
                    reader.findings.wrong_hint(
                        when.at,
                        format!("the last rule of {kind} must apply to all that is left"),
                        hint,
                    );
                }
                (None | Some(_), _) => {}
            }
            if let Some(name) = node.get("name").and_then(|entry| entry.value.scalar())
                && !names.insert(name.text.as_str())
            {
                reader
                    .findings
                    .wrong(node.at, format!("two rules of {kind} are called {}", crate::errors::quoted(&name.text)));
            }
            if let Some(mode) = node.get("mode")
                && last
            {
                let hint = "remove mode, or add a last rule that decides";
                reader.findings.wrong_hint(mode.at, format!("the last rule of {kind} must decide"), hint);
            }
            let rule = Self::read(reader, node, kind, values);
            if let Some(Self { then: Then::Ask { ask, .. }, .. }) = &rule
                && last
                && ask.on_error == OnAskError::Next
            {
                let hint = "write on_error: deny, or add a rule for when there is no answer";
                reader.findings.wrong_hint(node.at, "no rule comes after this one", hint);
            }
            rules.extend(rule);
        }
        rules
    }

    fn read(reader: &mut Reader<'_>, node: &Node, kind: Kind, values: &mut Vec<MenuValue>) -> Option<Self> {
        let scope = Scope::of(kind)?;
        reader.map(node, "a rule", KEYS);
        node.entries()?;
        let name = name(reader, node);
        let when = match node.get("when") {
            Some(entry) => {
                let expression = reader.expression(&entry.value, "when", scope);
                let compared = expression.iter().flat_map(|expression| &expression.menu_values);
                values
                    .extend(compared.map(|(text, at)| MenuValue { text: text.clone(), at: within(&entry.value, *at) }));
                Some(expression)
            }
            None => None,
        };
        let remember = match node.get("remember") {
            Some(entry) => named_texts(reader, entry, "remember", scope),
            None => Some(Vec::new()),
        };
        let then = then(reader, node, kind, scope);
        let shadow = node.get("mode").is_some_and(|entry| mode(reader, &entry.value));
        let when = match when {
            Some(expression) => Some(expression?),
            None => None,
        };
        Some(Self { name: Arc::from(name?), when, then: then?, remember: remember?, shadow })
    }

    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        let templates: Vec<&Template> = match &self.then {
            Then::Answer(reply) | Then::Reserve(reply) => reply.templates(),
            Then::Deny { say, .. } => say.iter().collect(),
            Then::Ask { .. } => Vec::new(),
        };
        let remembered = self.remember.iter().map(|(_, template)| template);
        let in_templates = templates.into_iter().chain(remembered).flat_map(Template::expressions);
        self.when.iter().chain(in_templates).collect()
    }
}

/// Whether a rule, or a file, only says what it would do.
pub(crate) fn mode(reader: &mut Reader<'_>, node: &Node) -> bool {
    let shadow = reader.text(node, "mode") == Some("shadow");
    if !shadow && node.scalar().is_some() {
        reader.findings.wrong_hint(node.at, "mode is shadow", "remove it, and it decides");
    }
    shadow
}

/// Rules after this one are tried even where it applies.
fn goes_on(node: &Node) -> bool {
    if node.get("mode").is_some() {
        return true;
    }
    let on_error = node.get("ask").and_then(|ask| ask.value.get("on_error"));
    on_error.and_then(|entry| entry.value.scalar()).is_some_and(|scalar| scalar.text == "next")
}

pub(crate) fn name<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Option<&'n str> {
    let Some(entry) = node.get("name") else {
        reader.findings.wrong_hint(node.at, "the rule has no name", "add name: it is what callbus call why shows");
        return None;
    };
    let name = reader.text(&entry.value, "name")?;
    let printable = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if !printable || name.chars().count() > NAME_MAX_CHARS {
        reader.findings.wrong(entry.value.at, format!("a name has 1 to {NAME_MAX_CHARS} visible characters"));
    }
    Some(name)
}

fn then(reader: &mut Reader<'_>, node: &Node, kind: Kind, scope: Scope) -> Option<Then> {
    let reserve = node.get("reserve");
    let reserves = reserve.and_then(|entry| reader.bool(&entry.value, "reserve")).unwrap_or(false);
    if let (Some(say), None) = (node.get("say"), node.get("deny")) {
        reader.findings.wrong_hint(say.at, "say belongs to deny here", "write it inside the reply");
    }
    let follows: Vec<&Entry> = ["reply", "deny", "ask"].into_iter().filter_map(|key| node.get(key)).collect();
    match (follows.as_slice(), follows.first().map(|entry| entry.key.as_str())) {
        ([ask], Some("ask")) => {
            let ask = Ask::read(reader, &ask.value)?;
            if let Some(entry) = reserve.filter(|_| reserves && kind == Kind::Ace) {
                reader.findings.wrong_hint(entry.at, "a call that was answered connects to no other", "remove reserve");
            }
            Some(Then::Ask { ask, reserve: reserves })
        }
        ([reply], Some("reply")) => {
            let reply = Reply::read(reader, &reply.value, kind, scope)?;
            let Some(entry) = reserve.filter(|_| reserves) else { return Some(Then::Answer(reply)) };
            may_reserve(reader, entry.at, &reply, kind)?;
            Some(Then::Reserve(reply))
        }
        ([deny], _) => {
            if let Some(entry) = reserve.filter(|_| reserves) {
                reader.findings.wrong(entry.at, "a rule that denies reserves nothing");
            }
            let code = reader.text(&deny.value, "deny")?;
            let reason = Reason::new(code);
            if let Err(error) = &reason {
                reader.findings.wrong(deny.value.at, error.to_string());
            }
            let say = match node.get("say") {
                Some(_) if kind == Kind::Ace => {
                    reader.findings.wrong(deny.at, "a call that was answered is ended without a word: remove say");
                    None
                }
                Some(entry) => Some(spoken(reader, &entry.value, scope)?),
                None => None,
            };
            Some(Then::Deny { reason: reason.ok()?, say })
        }
        ([_, second, ..], _) => {
            let hint = "keep one of reply, deny and ask";
            reader.findings.wrong_hint(second.at, "a rule replies, denies or asks", hint);
            None
        }
        ([], _) => {
            reader.findings.wrong_hint(node.at, "the rule does nothing", "add reply:, deny: or ask:");
            None
        }
    }
}

fn spoken(reader: &mut Reader<'_>, node: &Node, scope: Scope) -> Option<Template> {
    let template = reader.template(node, "say", scope)?;
    if !(1..=SPOKEN_MAX_CHARS).contains(&template.sample().chars().count()) {
        reader.findings.wrong(node.at, format!("1 to {SPOKEN_MAX_CHARS} characters are spoken"));
    }
    Some(template)
}

/// Only a phone call with its callbacks on can be capped and billed.
fn may_reserve(reader: &mut Reader<'_>, at: usize, reply: &Reply, kind: Kind) -> Option<()> {
    let (what, hint) = match &reply.sample.action {
        Action::ConnectPstn(connect) if connect.suppress_callbacks == Some(true) => {
            ("a call without callbacks cannot be billed", "remove suppress_callbacks")
        }
        Action::ConnectPstn(connect) if connect.number.is_none() && kind != Kind::Ice => {
            ("there is no dialled number here to rate", "write the number: connect_pstn: \"${call.memory.number}\"")
        }
        Action::ConnectPstn(_) => return Some(()),
        other @ (Action::Hangup
        | Action::Continue
        | Action::ConnectMxp(_)
        | Action::ConnectConf(_)
        | Action::ConnectSip(_)
        | Action::ConnectStream(_)
        | Action::RunMenu(_)
        | Action::Park(_)) => {
            let what = format!("{} can be neither capped nor billed, so nothing can be reserved for it", other.name());
            reader.findings.wrong_hint(at, what, "remove reserve, or use connect_pstn");
            return None;
        }
    };
    reader.findings.wrong_hint(at, what, hint);
    None
}

/// Texts to fill in, under names of the author's own.
pub(crate) fn named_texts(
    reader: &mut Reader<'_>,
    entry: &Entry,
    what: &str,
    scope: Scope,
) -> Option<Vec<(String, Template)>> {
    let entries = reader.any_map(&entry.value, what);
    if entries.len() > VALUES_MAX {
        reader.findings.wrong(entry.at, format!("{what} holds at most {VALUES_MAX} values"));
    }
    let mut texts = Vec::new();
    let mut whole = true;
    for entry in entries {
        let word = entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word || entry.key.is_empty() || entry.key.len() > NAME_MAX_CHARS {
            reader.findings.wrong_hint(entry.at, format!("not a name in {what}"), "use letters, digits and '_'");
        }
        match reader.template(&entry.value, what, scope) {
            Some(template) => texts.push((entry.key.clone(), template)),
            None => whole = false,
        }
    }
    whole.then_some(texts)
}

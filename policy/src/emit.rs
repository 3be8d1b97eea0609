//! Rules of dice and notify: named events of the policy's own, for whoever listens. Every rule that applies emits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::Kind;

use crate::errors::quoted;
use crate::expression::Expression;
use crate::facts::Facts;
use crate::names::Scope;
use crate::policy::Policy;
use crate::reader::Reader;
use crate::rule::{name, named_texts};
use crate::scene::holds;
use crate::template::Template;
use crate::variables::Variables;
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["name", "when", "emit", "data"];

/// Rules of one event: each may make one event of every call.
const RULES_MAX: usize = 64;
const NAME_MAX_CHARS: usize = 64;

/// An event that a rule makes of a DICE or a notify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    pub rule: Arc<str>,
    /// `call.lost`, `recording.ready`.
    pub name: Arc<str>,
    pub data: BTreeMap<String, String>,
}

/// A rule that makes no event because it cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {error}")]
pub struct EmitFailed {
    pub rule: Arc<str>,
    pub error: String,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct EmitRule {
    name: Arc<str>,
    /// Absent: the rule always applies.
    when: Option<Expression>,
    event: Arc<str>,
    data: Vec<(String, Template)>,
}

impl Policy {
    /// Whether [`Policy::emits`] could give anything for such an event.
    pub fn has_emits(&self, kind: Kind) -> bool {
        !self.rules.emitting(kind).is_empty()
    }

    /// The events that the rules make of a DICE or a notify, in the order of the file. A rule that fails makes none and
    /// keeps no other from doing so.
    pub fn emits(&self, facts: &Facts<'_>) -> Vec<Result<Emit, EmitFailed>> {
        let rules = self.rules.emitting(facts.callback.kind());
        if rules.is_empty() {
            return Vec::new();
        }
        let variables = Variables::new(self, facts, Vec::new());
        let emit = |rule: &EmitRule| {
            let made = rule.emit(&variables).map_err(|error| EmitFailed { rule: Arc::clone(&rule.name), error });
            made.transpose()
        };
        rules.iter().filter_map(emit).collect()
    }
}

impl EmitRule {
    /// Reads the rules of one event.
    pub(crate) fn list(reader: &mut Reader<'_>, node: &Node, kind: Kind, scope: Scope) -> Vec<Self> {
        let nodes = reader.list(node, kind.as_str());
        if nodes.len() > RULES_MAX {
            reader.findings.wrong(node.at, format!("{kind} has at most {RULES_MAX} rules"));
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let read = |node| {
            let rule = Self::read(reader, node, scope)?;
            if !names.insert(Arc::clone(&rule.name)) {
                reader.findings.wrong(node.at, format!("two rules of {kind} are called {}", quoted(&rule.name)));
            }
            Some(rule)
        };
        nodes.iter().filter_map(read).collect()
    }

    fn read(reader: &mut Reader<'_>, node: &Node, scope: Scope) -> Option<Self> {
        reader.map(node, "a rule that emits", KEYS);
        node.entries()?;
        let name = name(reader, node);
        let when = node.get("when").map(|entry| reader.expression(&entry.value, "when", scope));
        let event = event(reader, node);
        let data = match node.get("data") {
            Some(entry) => named_texts(reader, entry, "data", scope),
            None => Some(Vec::new()),
        };
        let when = match when {
            Some(expression) => Some(expression?),
            None => None,
        };
        Some(Self { name: name?.into(), when, event: event?.into(), data: data? })
    }

    fn emit(&self, variables: &Variables<'_>) -> Result<Option<Emit>, String> {
        if let Some(when) = &self.when
            && !holds(when, variables)?
        {
            return Ok(None);
        }
        let value = |(name, template): &(String, Template)| Ok((name.clone(), template.render(variables)?));
        let data = self.data.iter().map(value).collect::<Result<_, String>>()?;
        Ok(Some(Emit { rule: Arc::clone(&self.name), name: Arc::clone(&self.event), data }))
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let in_data = self.data.iter().flat_map(|(_, template)| template.expressions());
        self.when.iter().chain(in_data)
    }
}

fn event<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Option<&'n str> {
    let Some(entry) = node.get("emit") else {
        reader.findings.wrong_hint(node.at, "the rule emits nothing", "add emit: call.lost, or a name of your own");
        return None;
    };
    let name = reader.text(&entry.value, "emit")?;
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let words = name.split('.').all(|word| !word.is_empty() && word.bytes().all(letter));
    if words && name.len() <= NAME_MAX_CHARS {
        return Some(name);
    }
    let hint =
        format!("write words of a-z, 0-9 and '_' with dots between: call.lost, at most {NAME_MAX_CHARS} characters");
    reader.findings.wrong_hint(entry.value.at, "not a name for an event", hint);
    None
}

//! Replies: the short form of the policy file, or SVAML verbatim, both turned into one tree with texts to fill in.
//!
//! The short form is rewritten into SVAML's own shape, keeping the places; from there on there is only one road: parse
//! the templates, check a sample with [`Svaml::check`], fill in per call.

use std::collections::BTreeSet;

use proto::{Kind, Svaml};
use serde_json::{Map, Value as Json};

use crate::names::Scope;
use crate::reader::Reader;
use crate::short_form::rewrite;
use crate::template::Template;
use crate::variables::Variables;
use crate::yaml::{Entry, Node, Shape};

/// Written as the `cli` of a reply: the number of the policy's `cli` map that fits the number called.
pub(crate) const CLI_AUTO: &str = "auto";

/// An answer, ready but for its templates.
#[derive(Debug)]
pub(crate) struct Reply {
    tree: Tree,
    /// The finished answer, when nothing has to be filled in.
    ready: Option<Svaml>,
    /// The answer with samples for what is filled in later.
    pub(crate) sample: Svaml,
}

#[derive(Debug)]
enum Tree {
    Constant(Json),
    Text(Template),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Reply {
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, kind: Kind, scope: Scope) -> Option<Self> {
        let before = reader.findings.count();
        let verbatim = node.get("svaml");
        let svaml = match verbatim {
            Some(entry) => {
                reader.map(node, "a reply with svaml", &["svaml"]);
                entry.value.clone()
            }
            None => rewrite(reader, node)?,
        };
        let mut open = BTreeSet::new();
        let tree = Tree::read(reader, &svaml, scope, "", &mut open)?;
        let json = tree.sample();
        let sample: Svaml = match serde_json::from_value(json.clone()) {
            Ok(sample) => sample,
            Err(error) => {
                reader.findings.wrong(svaml.at, format!("not SVAML: {error}"));
                return None;
            }
        };
        if verbatim.is_some() {
            unknown_fields(reader, &svaml, &json, &serde_json::to_value(&sample).unwrap_or_default());
        }
        for problem in sample.check(kind).err().into_iter().flat_map(|problems| problems.0) {
            if !open.contains(&problem.at) {
                reader.findings.wrong(svaml.find(&problem.at).at, problem.what);
            }
        }
        let ready = open.is_empty().then(|| sample.clone());
        (reader.findings.count() == before).then_some(Self { tree, ready, sample })
    }

    pub(crate) fn templates(&self) -> Vec<&Template> {
        let mut templates = Vec::new();
        self.tree.templates(&mut templates);
        templates
    }

    /// Something is filled in per call, so the answer must be checked again.
    pub(crate) fn is_open(&self) -> bool {
        self.ready.is_none()
    }

    pub(crate) fn render(&self, variables: &Variables<'_>) -> Result<Svaml, String> {
        if let Some(ready) = &self.ready {
            return Ok(ready.clone());
        }
        let json = self.tree.render(variables)?;
        serde_json::from_value(json).map_err(|error| format!("the answer is not SVAML: {error}"))
    }
}

impl Tree {
    fn read(
        reader: &mut Reader<'_>,
        node: &Node,
        scope: Scope,
        path: &str,
        open: &mut BTreeSet<String>,
    ) -> Option<Self> {
        Some(match &node.shape {
            Shape::Null => Self::Constant(Json::Null),
            Shape::Scalar(scalar) => {
                if scalar.plain
                    && let Some(constant) = constant(&scalar.text)
                {
                    return Some(Self::Constant(constant));
                }
                let template = reader.template(node, "a reply", scope)?;
                match template.constant() {
                    Some(text) => Self::Constant(Json::from(text)),
                    None => {
                        open.insert(path.to_owned());
                        Self::Text(template)
                    }
                }
            }
            Shape::List(nodes) => {
                let read = |(index, node)| Self::read(reader, node, scope, &format!("{path}[{index}]"), open);
                let nodes: Vec<Option<Self>> = nodes.iter().enumerate().map(read).collect();
                Self::List(nodes.into_iter().collect::<Option<_>>()?)
            }
            Shape::Map(entries) => {
                let dot = if path.is_empty() { "" } else { "." };
                let read = |entry: &Entry| {
                    let tree = Self::read(reader, &entry.value, scope, &format!("{path}{dot}{}", entry.key), open);
                    tree.map(|tree| (entry.key.clone(), tree))
                };
                let entries: Vec<Option<(String, Self)>> = entries.iter().map(read).collect();
                Self::Map(entries.into_iter().collect::<Option<_>>()?)
            }
        })
    }

    fn sample(&self) -> Json {
        match self {
            Self::Constant(json) => json.clone(),
            Self::Text(template) => Json::from(template.sample()),
            Self::List(trees) => trees.iter().map(Self::sample).collect(),
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(key, tree)| (key.clone(), tree.sample())).collect())
            }
        }
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Json, String> {
        Ok(match self {
            Self::Constant(json) => json.clone(),
            Self::Text(template) => Json::from(template.render(variables)?),
            Self::List(trees) => {
                Json::Array(trees.iter().map(|tree| tree.render(variables)).collect::<Result<_, _>>()?)
            }
            Self::Map(entries) => {
                let entry = |(key, tree): &(String, Self)| Ok((key.clone(), tree.render(variables)?));
                Json::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, String>>()?)
            }
        })
    }

    fn templates<'t>(&'t self, into: &mut Vec<&'t Template>) {
        match self {
            Self::Constant(_) => {}
            Self::Text(template) => into.push(template),
            Self::List(trees) => trees.iter().for_each(|tree| tree.templates(into)),
            Self::Map(entries) => entries.iter().for_each(|(_, tree)| tree.templates(into)),
        }
    }
}

/// A truth value or a number; anything else is text. A leading plus is part of a phone number.
pub(crate) fn constant(text: &str) -> Option<Json> {
    match text {
        "true" => Some(Json::Bool(true)),
        "false" => Some(Json::Bool(false)),
        text if text.starts_with('+') => None,
        text => text.parse::<i64>().ok().map(Json::from),
    }
}

/// SVAML is read leniently, so a misspelt field of our own file would vanish: what did not come back was not understood.
fn unknown_fields(reader: &mut Reader<'_>, node: &Node, written: &Json, understood: &Json) {
    match (written, understood) {
        (Json::Object(written), Json::Object(understood)) => {
            for entry in node.entries().unwrap_or_default() {
                let Some(value) = written.get(&entry.key) else { continue };
                match understood.get(&entry.key) {
                    Some(understood) => unknown_fields(reader, &entry.value, value, understood),
                    None if value.is_null() || value.as_array().is_some_and(Vec::is_empty) => {}
                    None => reader.findings.wrong_hint(
                        entry.at,
                        format!("SVAML has no field {} here", crate::errors::quoted(&entry.key)),
                        "fields are spelt as in Sinch's reference, such as maxDuration",
                    ),
                }
            }
        }
        (Json::Array(written), Json::Array(understood)) => {
            for ((node, written), understood) in node.nodes().unwrap_or_default().iter().zip(written).zip(understood) {
                unknown_fields(reader, node, written, understood);
            }
        }
        _ => {}
    }
}

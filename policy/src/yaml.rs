//! A policy file as a tree in which every node knows where it stands.
//!
//! Scalars stay text until somebody asks for a number or a truth value: nothing is inferred, so that an unquoted
//! `+15551111111` keeps its plus and `no` is Norway's ring tone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{MergeKeyPolicy, Spanned};

use crate::errors::Findings;

/// Nodes of a file; with its 1 MiB this is far beyond what people write.
const NODES_MAX: usize = 1_000_000;
/// Nesting of a file.
const DEPTH_MAX: usize = 24;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Byte offset in the file.
    pub(crate) at: usize,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so it may mean a number or a truth value.
    pub(crate) plain: bool,
    /// Where in the file the text stands letter for letter, if it does.
    pub(crate) verbatim_at: Option<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: usize,
    pub(crate) value: Node,
}

impl Node {
    /// Reads one YAML document; what is wrong with it goes to `findings`.
    pub(crate) fn parse(text: &str, findings: &mut Findings<'_>) -> Option<Self> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: 2 * NODES_MAX, max_depth: DEPTH_MAX },
            merge_keys: MergeKeyPolicy::AsOrdinary,
        };
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
            Ok(root) => Some(settle(root, text)),
            Err(error) => {
                let at = error.location().map_or(0, |at| offset(text, at.line(), at.column()));
                let what = error.without_snippet().render_with_options(serde_saphyr::RenderOptions::default());
                let what = what.lines().next().unwrap_or_default();
                let what = what.split(" at line ").next().unwrap_or(what).trim_start_matches("error: ");
                findings.push(at, format!("not readable as YAML: {what}"), yaml_hint(what));
                None
            }
        }
    }

    pub(crate) fn text(at: usize, text: impl Into<String>) -> Self {
        Self { at, shape: Shape::Scalar(Scalar { text: text.into(), plain: false, verbatim_at: None }) }
    }

    /// A number or a truth value.
    pub(crate) fn plain(at: usize, text: impl Into<String>) -> Self {
        Self { at, shape: Shape::Scalar(Scalar { text: text.into(), plain: true, verbatim_at: None }) }
    }

    pub(crate) fn list(at: usize, nodes: Vec<Self>) -> Self {
        Self { at, shape: Shape::List(nodes) }
    }

    pub(crate) fn map(at: usize, entries: Vec<(&str, Self)>) -> Self {
        let entry = |(key, value): (&str, Self)| Entry { key: key.to_owned(), at: value.at, value };
        Self { at, shape: Shape::Map(entries.into_iter().map(entry).collect()) }
    }

    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.shape {
            Shape::Scalar(scalar) => Some(scalar),
            Shape::Null | Shape::List(_) | Shape::Map(_) => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.shape {
            Shape::Map(entries) => Some(entries),
            Shape::Null | Shape::Scalar(_) | Shape::List(_) => None,
        }
    }

    pub(crate) fn nodes(&self) -> Option<&[Self]> {
        match &self.shape {
            Shape::List(nodes) => Some(nodes),
            Shape::Null | Shape::Scalar(_) | Shape::Map(_) => None,
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        self.scalar().filter(|scalar| scalar.plain).and_then(|scalar| scalar.text.parse().ok())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// The same text, as text even where it looks like a number.
    pub(crate) fn as_text(&self) -> Self {
        let mut node = self.clone();
        if let Shape::Scalar(scalar) = &mut node.shape {
            scalar.plain = false;
        }
        node
    }

    /// Where `action.menus[0].id` stands; the nearest node above it when it is not there.
    pub(crate) fn find(&self, path: &str) -> &Self {
        let mut node = self;
        for step in path.split(['.', '[']) {
            let below = match step.strip_suffix(']') {
                Some(index) => index.parse::<usize>().ok().and_then(|index| node.nodes()?.get(index)),
                None => node.get(step).map(|entry| &entry.value),
            };
            match below {
                Some(below) => node = below,
                None => return node,
            }
        }
        node
    }

    /// Bytes a copy takes, about.
    pub(crate) fn weight(&self) -> usize {
        let below: usize = match &self.shape {
            Shape::Null => 0,
            Shape::Scalar(scalar) => scalar.text.len(),
            Shape::List(nodes) => nodes.iter().map(Self::weight).sum(),
            Shape::Map(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.weight()).sum(),
        };
        below + std::mem::size_of::<Self>()
    }

    /// What a node is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match &self.shape {
            Shape::Null => "nothing",
            Shape::Scalar(_) => "a single value",
            Shape::List(_) => "a list",
            Shape::Map(_) => "a map",
        }
    }
}

/// Byte offset of a line and column, both from 1; the parser counts columns in characters.
fn offset(text: &str, line: u64, column: u64) -> usize {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let line_at: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(line_at..).unwrap_or_default();
    line_at + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

fn yaml_hint(what: &str) -> Option<String> {
    what.contains("mapping values").then(|| "text with ': ' or ' #' in it wants quotes".to_owned())
}

/// As the parser gives it, before the places are settled.
enum Raw {
    Null,
    /// A truth value or a number: the text is taken from the file.
    Inferred,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn settle(raw: Spanned<Raw>, text: &str) -> Node {
    let offset = |location: serde_saphyr::Location| {
        let at = location.span().byte_offset().and_then(|at| usize::try_from(at).ok());
        at.filter(|at| text.is_char_boundary(*at)).unwrap_or(0)
    };
    let (at, defined) = (offset(raw.referenced), offset(raw.defined));
    let len = raw.defined.span().byte_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    let source = text.get(defined..defined.saturating_add(len)).unwrap_or_default();
    let shape = match raw.value {
        Raw::Null => Shape::Null,
        Raw::Inferred => {
            let text = source.trim_end();
            Shape::Scalar(Scalar { text: text.to_owned(), plain: true, verbatim_at: Some(defined) })
        }
        Raw::Text(value) => {
            let quote = usize::from(text[defined..].starts_with(['"', '\'']));
            let verbatim = text[defined + quote..].starts_with(&value).then_some(defined + quote);
            Shape::Scalar(Scalar { text: value, plain: quote == 0, verbatim_at: verbatim })
        }
        Raw::List(nodes) => Shape::List(nodes.into_iter().map(|node| settle(node, text)).collect()),
        Raw::Map(entries) => Shape::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry { at: offset(key.referenced), key: key.value, value: settle(value, text) })
                .collect(),
        ),
    };
    Node { at, shape }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Inferred)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Inferred)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Inferred)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Inferred)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Inferred)
    }

    #[expect(clippy::disallowed_types, reason = "that it is a number is all that is kept of it")]
    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Inferred)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

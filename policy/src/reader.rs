//! Reading values from the tree: each reader says what it wanted when it gets something else.

use std::time::Duration;

use crate::errors::Findings;
use crate::expression::{Expression, Fault};
use crate::menu::Menus;
use crate::names::{Defined, Scope};
use crate::template::Template;
use crate::yaml::{Entry, Node, Shape};

/// The file being read, and what of it is already known to what comes later.
pub(crate) struct Reader<'a> {
    pub(crate) findings: Findings<'a>,
    pub(crate) defined: Defined,
    pub(crate) menus: Menus,
    /// Spoken language where a reply names none.
    pub(crate) locale: Option<String>,
    /// What the menus of all replies take, each reply holding its own.
    pub(crate) menu_bytes: usize,
    /// There is a `cli:` map for `cli: auto` to look into.
    pub(crate) has_cli: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(findings: Findings<'a>) -> Self {
        Self {
            findings,
            defined: Defined::default(),
            menus: Menus::default(),
            locale: None,
            menu_bytes: 0,
            has_cli: false,
        }
    }

    /// The entries of a map that has only known keys.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> &'n [Entry] {
        let entries = self.any_map(node, what);
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                self.findings.unknown(entry.at, &format!("key in {what}:"), &entry.key, known.iter().copied());
            }
        }
        entries
    }

    /// The entries of a map whose keys are the author's own.
    pub(crate) fn any_map<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        node.entries().unwrap_or_else(|| {
            self.findings.wrong(node.at, format!("{what} wants a map of keys and values, not {}", node.what()));
            &[]
        })
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        node.nodes().unwrap_or_else(|| {
            self.findings.wrong(node.at, format!("{what} wants a list, not {}", node.what()));
            &[]
        })
    }

    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.scalar().map(|scalar| scalar.text.as_str());
        if text.is_none() {
            self.findings.wrong(node.at, format!("{what} wants text, not {}", node.what()));
        }
        text
    }

    pub(crate) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        let truth = node.bool();
        if truth.is_none() {
            self.findings.wrong(node.at, format!("{what} wants true or false"));
        }
        truth
    }

    pub(crate) fn integer(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let number = node.scalar().and_then(|scalar| scalar.text.parse().ok()).filter(|number| range.contains(number));
        if number.is_none() {
            self.findings
                .wrong(node.at, format!("{what} wants a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// `7s`, `10m`, `1h` or whole seconds.
    pub(crate) fn seconds(&mut self, node: &Node, what: &str) -> Option<u32> {
        let secs = node.scalar().and_then(|scalar| seconds(&scalar.text));
        if secs.is_none() {
            self.findings.wrong_hint(node.at, format!("{what} wants a duration"), "write 7s, 10m, 1h or whole seconds");
        }
        secs
    }

    /// `800ms`, or as [`Reader::seconds`].
    pub(crate) fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let duration = node.scalar().and_then(|scalar| match scalar.text.strip_suffix("ms") {
            Some(millis) => whole(millis).map(|millis| Duration::from_millis(millis.into())),
            None => seconds(&scalar.text).map(|secs| Duration::from_secs(secs.into())),
        });
        if duration.is_none() {
            self.findings.wrong_hint(node.at, format!("{what} wants a duration"), "write 800ms, or 1s");
        }
        duration
    }

    pub(crate) fn expression(&mut self, node: &Node, what: &str, scope: Scope) -> Option<Expression> {
        let text = self.text(node, what)?;
        match Expression::parse(text, scope, &self.defined) {
            Ok(expression) => Some(expression),
            Err(faults) => self.faults(node, faults),
        }
    }

    pub(crate) fn template(&mut self, node: &Node, what: &str, scope: Scope) -> Option<Template> {
        let text = self.text(node, what)?;
        match Template::parse(text, scope, &self.defined) {
            Ok(template) => Some(template),
            Err(faults) => self.faults(node, faults),
        }
    }

    fn faults<T>(&mut self, node: &Node, faults: Vec<Fault>) -> Option<T> {
        for fault in faults {
            self.findings.push(within(node, fault.at), fault.what, fault.hint);
        }
        None
    }
}

/// The place in the file of a byte of a node's text; the node itself where quoting moved the text.
pub(crate) fn within(node: &Node, offset: usize) -> usize {
    node.scalar().and_then(|scalar| scalar.verbatim_at).map_or(node.at, |at| at + offset)
}

/// Words spoken by Sinch unless they already name a file or another kind of prompt.
pub(crate) fn prompt(node: &Node) -> Node {
    const OPEN: &str = "#tts[";
    let mut node = node.as_text();
    if let Shape::Scalar(scalar) = &mut node.shape
        && !scalar.text.starts_with('#')
        && !scalar.text.starts_with("https://")
        && !scalar.text.starts_with("http://")
    {
        scalar.text = format!("{OPEN}{}]", scalar.text);
        // Places inside the text are counted from its new beginning.
        scalar.verbatim_at = scalar.verbatim_at.and_then(|at| at.checked_sub(OPEN.len()));
    }
    node
}

fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3_600),
        _ => (text, 1),
    };
    whole(number)?.checked_mul(unit)
}

fn whole(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

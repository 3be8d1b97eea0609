//! Finds the places in a text.

use std::ops::Range;

use policy::suggestion;

use super::names::{NAMES, Name};
use super::{At, BadTemplate};

/// How places are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `{{caller}}`
    Doubled,
    /// Also `{caller}`, as templates of other systems have it.
    Single,
}

/// A place.
#[derive(Debug)]
pub(super) struct Piece {
    pub name: Name,
    pub at: Range<usize>,
}

/// All places, in order, and what to warn of.
pub(super) fn scan(text: &str, spelling: Spelling) -> Result<(Vec<Piece>, Vec<String>), BadTemplate> {
    let (mut pieces, mut warnings) = (Vec::new(), Vec::new());
    let mut from = 0;
    while let Some(found) = text[from..].find('{') {
        let start = from + found;
        if let Some(rest) = text[start..].strip_prefix("{{") {
            let Some(length) = rest.find("}}") else {
                return Err(BadTemplate::new(text, start, "{{ has no }}"));
            };
            let name = named(text, start, rest[..length].trim())?;
            from = start + 2 + length + 2;
            pieces.push(Piece { name, at: start..from });
            continue;
        }
        from = start + 1;
        let rest = &text[from..];
        let length = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        let inner = &rest[..length];
        if inner.is_empty() || !rest[length..].starts_with('}') {
            continue;
        }
        let place = At::of(text, start);
        match (spelling, Name::parse(inner)) {
            (Spelling::Single, _) => {
                let name = named(text, start, inner)?;
                warnings.push(format!("{place}: {{{inner}}} is the old spelling; write {{{{{inner}}}}}"));
                from += length + 1;
                pieces.push(Piece { name, at: start..from });
            }
            (Spelling::Doubled, Some(_)) => warnings.push(format!(
                "{place}: {{{inner}}} is sent as it is; for the value write {{{{{inner}}}}}, or allow the old spelling"
            )),
            (Spelling::Doubled, None) => {}
        }
    }
    Ok((pieces, warnings))
}

fn named(text: &str, start: usize, inner: &str) -> Result<Name, BadTemplate> {
    Name::parse(inner).ok_or_else(|| {
        let short: String = inner.chars().take(40).collect();
        BadTemplate::new(text, start, format!("there is no {short:?}; {}", suggestion(inner, NAMES)))
    })
}

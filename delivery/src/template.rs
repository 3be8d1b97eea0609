//! Templates: what a listener is sent, with places for what is known of the call. Pure.
//!
//! A template is compiled when it is saved, and what is put in cannot change what it is: a name stands only in a segment
//! of a path, the value of a query, the value of a header or a string of a JSON body, and its value is encoded for that
//! place. So nothing in a value reaches the host, another header, or another field. What is put in is not looked at again:
//! a value with `{{caller}}` in it stays as it is.

use std::fmt;

use outbound::{Url, check_url};

mod body;
mod names;
mod scan;
#[cfg(test)]
mod tests;
mod url;

pub(crate) use names::Scene;
pub(crate) use scan::Spelling;

use names::Name;
use scan::{Piece, scan};

/// What fits into memory many times over, and into any endpoint's patience.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024;

/// It is no template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct BadTemplate {
    pub at: At,
    pub what: String,
}

/// A place in the text of a template, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub line: usize,
    pub column: usize,
}

impl At {
    pub(crate) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl BadTemplate {
    fn new(text: &str, byte: usize, what: impl Into<String>) -> Self {
        Self { at: At::of(text, byte), what: what.into() }
    }
}

/// What is known of the call does not fit into its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{name} holds a line break or another control character, which a header cannot have")]
    Control { name: &'static str },
    #[error("a segment of its path would be {0:?}, which means another path")]
    Dots(String),
    #[error("its address would be {0}")]
    Url(String),
    #[error("its address would lead elsewhere")]
    Elsewhere,
}

/// Text with places in it, for one kind of place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Name),
}

impl Template {
    fn of(text: &str, pieces: &[Piece], warnings: Vec<String>) -> Self {
        let mut parts = Vec::new();
        let mut end = 0;
        for piece in pieces {
            parts.push(Part::Text(text[end..piece.at.start].to_owned()));
            parts.push(Part::Value(piece.name));
            end = piece.at.end;
        }
        parts.push(Part::Text(text[end..].to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Self { parts, warnings }
    }

    fn render(&self, mut value: impl FnMut(Name) -> Result<String, Unfit>) -> Result<String, Unfit> {
        let mut rendered = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Value(name) => rendered.push_str(&value(*name)?),
            }
        }
        Ok(rendered)
    }
}

/// An address with places in its path and its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    template: Template,
    /// With something harmless in the places: what may not change.
    frame: Url,
}

impl UrlTemplate {
    /// # Errors
    /// Says what is wrong, and where.
    pub fn compile(text: &str, spelling: Spelling) -> Result<Self, BadTemplate> {
        let (pieces, warnings) = scan(text, spelling)?;
        url::check_places(text, &pieces)?;
        let template = Template::of(text, &pieces, warnings);
        let sample = template.render(|_| Ok("x".to_owned())).unwrap_or_default();
        let bad = |what: String| BadTemplate::new(text, 0, what);
        url::check_segments(&sample).map_err(|error| bad(error.to_string()))?;
        let frame = check_url(&sample).map_err(|error| bad(error.to_string()))?;
        Ok(Self { template, frame })
    }

    /// What may not change: scheme, host and port, of an address that means nothing else.
    pub fn frame(&self) -> &Url {
        &self.frame
    }

    pub fn warnings(&self) -> &[String] {
        &self.template.warnings
    }

    /// # Errors
    /// When what is known of the call would make it another address.
    pub fn render(&self, scene: &Scene<'_>) -> Result<Url, Unfit> {
        let text = self.template.render(|name| Ok(url::encode(&scene.value(name))))?;
        url::check_segments(&text)?;
        let url = check_url(&text).map_err(|error| Unfit::Url(error.to_string()))?;
        // Nothing above lets it; should that be wrong, nothing is sent.
        if url.origin() != self.frame.origin() {
            return Err(Unfit::Elsewhere);
        }
        Ok(url)
    }
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate(Template);

impl HeaderTemplate {
    /// # Errors
    /// Says what is wrong, and where.
    pub fn compile(text: &str, spelling: Spelling) -> Result<Self, BadTemplate> {
        if let Some(at) = text.find(char::is_control) {
            return Err(BadTemplate::new(text, at, "a header has no line breaks and no control characters"));
        }
        let (pieces, warnings) = scan(text, spelling)?;
        Ok(Self(Template::of(text, &pieces, warnings)))
    }

    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// # Errors
    /// When a value cannot stand in a header.
    pub fn render(&self, scene: &Scene<'_>) -> Result<String, Unfit> {
        self.0.render(|name| {
            let value = scene.value(name);
            if value.chars().any(char::is_control) {
                return Err(Unfit::Control { name: name.as_str() });
            }
            Ok(value.into_owned())
        })
    }
}

/// A body: JSON, with places in its strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyTemplate(Template);

impl BodyTemplate {
    /// # Errors
    /// Says what is wrong, and where.
    pub fn compile(text: &str, spelling: Spelling) -> Result<Self, BadTemplate> {
        if text.len() > BODY_BYTES_MAX {
            return Err(BadTemplate::new(text, 0, format!("a body has at most {BODY_BYTES_MAX} bytes")));
        }
        let (pieces, warnings) = scan(text, spelling)?;
        body::check_places(text, &pieces)?;
        Ok(Self(Template::of(text, &pieces, warnings)))
    }

    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    pub fn render(&self, scene: &Scene<'_>) -> String {
        self.0.render(|name| Ok(body::encode(&scene.value(name)))).unwrap_or_default()
    }
}

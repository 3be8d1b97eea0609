//! Templates: text with `{{name}}` in it. What a name stands for is put in as it is and never read again, and what is
//! around it (JSON, a URL) is not text but a tree or a path, so that no value can break out of its place.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// All but what RFC 3986 calls unreserved.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What names stand for.
pub(super) type Values = BTreeMap<String, Value>;

/// A template that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name { name: String, base64: bool },
}

/// It is no template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadTemplate {
    #[error("a {{{{ has no }}}}")]
    Open,
    #[error("there is no {{{{{name}}}}}; {hint}")]
    Unknown { name: String, hint: String },
}

impl BadTemplate {
    /// What is wrong, as it stands there.
    pub(super) fn seen(&self) -> Option<&str> {
        match self {
            Self::Open => None,
            Self::Unknown { name, .. } => Some(name),
        }
    }
}

impl Template {
    /// # Errors
    /// When a name is none of `known`.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, BadTemplate> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (inside, after) = after.split_once("}}").ok_or(BadTemplate::Open)?;
            let inside = inside.trim();
            let (name, base64) = match inside.strip_suffix("|base64") {
                Some(name) => (name.trim_end(), true),
                None => (inside, false),
            };
            if !known.contains(&name) {
                return Err(BadTemplate::Unknown { name: inside.chars().take(80).collect(), hint: hint(name, known) });
            }
            parts.push(Part::Name { name: name.to_owned(), base64 });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In a place for a value: a name that stands alone keeps its type, and is `None` when it stands for nothing.
    pub(super) fn value(&self, values: &Values) -> Option<Value> {
        match self.0.as_slice() {
            [Part::Name { name, base64: false }] => values.get(name).cloned(),
            _ => Some(Value::String(self.text(values))),
        }
    }

    /// As text; what stands for nothing is empty.
    pub(super) fn text(&self, values: &Values) -> String {
        self.0.iter().map(|part| part.text(values).unwrap_or_default()).collect()
    }

    /// As part of a URL. `Err` names what stands for nothing: a path without it would be another one.
    pub(super) fn in_url(&self, values: &Values) -> Result<String, String> {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Name { name, .. } => {
                    let text = part.text(values).filter(|text| !text.is_empty()).ok_or_else(|| name.clone())?;
                    url.extend(in_url(&text));
                }
            }
        }
        Ok(url)
    }
}

impl Part {
    fn text(&self, values: &Values) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Name { name, base64 } => {
                let text = text_of(values.get(name)?);
                Some(if *base64 { STANDARD.encode(text) } else { text })
            }
        }
    }
}

/// Encodes a segment of a path, or a value of a query or a form.
pub(super) fn in_url(text: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(text, IN_URL)
}

/// A value as text: what is no text already is JSON.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// `did you mean x?`, or what there is.
pub(super) fn hint(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known)).min();
    match near {
        Some((distance, near)) if distance <= 1 + near.len() / 4 => format!("did you mean {{{{{near}}}}}?"),
        Some(_) | None => format!("there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> Values {
        [("call_id", json!("a/b?c={{app}}")), ("duration", json!(62)), ("user", json!("me:1"))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    fn parse(text: &str) -> Result<Template, BadTemplate> {
        Template::parse(text, &["call_id", "duration", "user", "app"])
    }

    #[test]
    fn a_value_stays_in_its_place() {
        let value = |text: &str| parse(text).expect("template").value(&values());
        assert_eq!(value("{{ duration }}"), Some(json!(62)));
        assert_eq!(value("{{duration}} s"), Some(json!("62 s")));
        assert_eq!(value("{{call_id}}"), Some(json!("a/b?c={{app}}")), "it is not read again");
        assert_eq!(value("Session {{user|base64}}"), Some(json!("Session bWU6MQ==")));
        assert_eq!((value("{{app}}"), value("x{{app}}"), value("")), (None, Some(json!("x")), Some(json!(""))));
        let url = |text: &str| parse(text).expect("template").in_url(&values());
        assert_eq!(url("/Task/{{call_id}}").as_deref(), Ok("/Task/a%2Fb%3Fc%3D%7B%7Bapp%7D%7D"));
        assert_eq!(url("/Task/{{app}}"), Err("app".to_owned()));
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_there_is() {
        assert_eq!(
            parse("{{cal_id}}").expect_err("unknown").to_string(),
            "there is no {{cal_id}}; did you mean {{call_id}}?"
        );
        assert_eq!(
            parse("{{weather}}").expect_err("unknown").to_string(),
            "there is no {{weather}}; there are call_id, duration, user, app"
        );
        assert_eq!(parse("{{call_id").expect_err("open").to_string(), "a {{ has no }}");
    }
}

//! Text with expressions in it: `Welcome back, ${call.memory.name}.`

use std::sync::Arc;

use cel::Value;

use crate::expression::{Expression, Fault};
use crate::names::{Defined, Scope};
use crate::variables::Variables;

/// Longest text a template may give, in bytes.
const RENDERED_MAX: usize = 4_096;

/// Text in which every `${…}` is replaced when a call is decided; `$${` writes `${` itself.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// The text is a prompt such as `#tts[…]`: what callers send must not open or close one.
    prompt: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Hole(Expression),
}

impl Template {
    pub(crate) fn parse(source: &str, scope: Scope, defined: &Defined) -> Result<Self, Vec<Fault>> {
        let (mut parts, mut faults, mut text) = (Vec::new(), Vec::new(), String::new());
        let mut rest = source;
        while let Some(dollar) = rest.find('$') {
            let (before, from) = rest.split_at(dollar);
            text.push_str(before);
            if let Some(after) = from.strip_prefix("$${") {
                text.push_str("${");
                rest = after;
            } else if let Some(inside) = from.strip_prefix("${") {
                let at = source.len() - inside.len();
                let Some(end) = closing_brace(inside) else {
                    faults.push(Fault {
                        at: at - 2,
                        what: "'${' is never closed".to_owned(),
                        hint: Some("add '}'".to_owned()),
                    });
                    rest = "";
                    break;
                };
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                match Expression::parse(&inside[..end], scope, defined) {
                    Ok(expression) => parts.push(Part::Hole(expression)),
                    Err(found) => faults.extend(found.into_iter().map(|fault| Fault { at: fault.at + at, ..fault })),
                }
                rest = &inside[end + 1..];
            } else {
                text.push('$');
                rest = &from[1..];
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if faults.is_empty() { Ok(Self { parts, prompt: source.starts_with('#') }) } else { Err(faults) }
    }

    /// The text, if there is nothing to fill in.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// With `x` in every hole: long enough to be there, short enough to break no limit by itself.
    pub(crate) fn sample(&self) -> String {
        self.parts.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { "x" }).collect()
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(expression) => Some(expression),
            Part::Text(_) => None,
        })
    }

    pub(crate) fn render(&self, variables: &Variables<'_>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(constant) => text.push_str(constant),
                Part::Hole(expression) => {
                    let filling = filling(expression.evaluate(variables)?)?;
                    if self.prompt {
                        text.extend(filling.chars().map(|c| if matches!(c, '[' | ']' | ';' | '#') { ' ' } else { c }));
                    } else {
                        text.push_str(&filling);
                    }
                }
            }
            if text.len() > RENDERED_MAX {
                return Err(format!("the text is longer than {RENDERED_MAX} bytes"));
            }
        }
        Ok(text)
    }
}

fn filling(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(Arc::unwrap_or_clone(text)),
        Value::Int(number) => Ok(number.to_string()),
        Value::UInt(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null
        | Value::List(_)
        | Value::Map(_)
        | Value::Function(..)
        | Value::Bytes(_)
        | Value::Opaque(_)
        | Value::Struct(_) => Err(format!("{} cannot stand in a text", value.type_of())),
    }
}

/// Where the expression ends: the first `}` outside quotes and inner braces.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

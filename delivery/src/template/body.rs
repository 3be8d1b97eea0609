//! Places in a JSON body.

use std::ops::Range;

use proto::event::json;
use serde::de::IgnoredAny;

use super::scan::Piece;
use super::{At, BadTemplate};

/// As it stands between the quotes of a JSON string.
pub(super) fn encode(value: &str) -> String {
    let quoted = json(&value);
    quoted[1..quoted.len() - 1].to_owned()
}

/// Refuses places outside strings, in keys, and what is no JSON.
pub(super) fn check_places(text: &str, pieces: &[Piece]) -> Result<(), BadTemplate> {
    let strings = strings(text);
    for piece in pieces {
        let found = strings.iter().find(|string| string.at.start <= piece.at.start && piece.at.end <= string.at.end);
        let wrong = |what: &str| Err(BadTemplate::new(text, piece.at.start, what));
        match found {
            Some(string) if string.is_key => return wrong("a key is not for placeholders; they stand in values"),
            Some(_) => {}
            None => return wrong("a placeholder stands in a string: write \"{{…}}\""),
        }
    }
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| BadTemplate {
        at: At { line: error.line().max(1), column: error.column().max(1) },
        what: format!("the body is no JSON: {error}"),
    })
}

struct Text {
    /// Between its quotes.
    at: Range<usize>,
    is_key: bool,
}

/// The strings of a JSON text; of what is none, something.
fn strings(text: &str) -> Vec<Text> {
    let bytes = text.as_bytes();
    let (mut strings, mut at) = (Vec::new(), 0);
    while let Some(quote) = text[at..].find('"') {
        let start = at + quote + 1;
        let mut end = start;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let end = end.min(bytes.len());
        at = (end + 1).min(bytes.len());
        let is_key = text.get(at..).is_some_and(|rest| rest.trim_start().starts_with(':'));
        strings.push(Text { at: start..end, is_key });
    }
    strings
}

//! Hides phone numbers in JSON before it leaves for a screen.

use proto::PhoneNumber;
use proto::phone::mask;
use serde_json::Value;

/// E.164 numbers have at least this many digits.
const DIGITS_MIN: usize = 7;

/// Masks every number in every string, object keys included (a policy's facts may have numbers as keys).
pub(crate) fn value(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(string) => *string = text(string),
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(fields) => {
            let masked = std::mem::take(fields).into_iter().map(|(key, mut field)| {
                self::value(&mut field);
                (text(&key), field)
            });
            *fields = masked.collect();
        }
    }
}

/// A number alone, with or without `+`, is masked; within other text only one with `+` or before `@`, since other runs
/// of digits are times and ids.
pub(crate) fn text(text: &str) -> String {
    if PhoneNumber::parse(text).is_ok() || is_bare_number(text) {
        return mask(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        let number = digits.len() >= DIGITS_MIN && (before.ends_with('+') || after.starts_with('@'));
        out.push_str(before);
        out.push_str(&if number { mask(digits) } else { digits.to_owned() });
        rest = after;
    }
    out + rest
}

fn is_bare_number(text: &str) -> bool {
    text.len() >= DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_hidden_and_nothing_else() {
        for (open, hidden) in [
            ("+46701234567", "+467••••••67"),
            ("46701234567", "4670•••••67"),
            ("+46 70-123 45 67", "+46 ••••••••••67"),
            ("sip:+46701234567@example.com", "sip:+4670•••••67@example.com"),
            ("46701234567@trunk", "4670•••••67@trunk"),
            ("2026-01-02T03:04:05.1234567Z", "2026-01-02T03:04:05.1234567Z"),
            ("d3ad-12345678-beef", "d3ad-12345678-beef"),
            ("alice", "alice"),
            ("0.0165", "0.0165"),
        ] {
            assert_eq!(text(open), hidden, "{open}");
        }
    }

    #[test]
    fn everywhere_in_json() {
        let mut json = serde_json::json!({ "to": { "endpoint": "+15612600684" }, "+15612600684": [1, "15612600684"] });
        value(&mut json);
        assert!(!json.to_string().contains("15612600684"), "{json}");
    }
}

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
    // What an address asks for may be a number or a token, whatever it looks like.
    if let Some((address, _)) =
        text.split_once('?').filter(|_| text.starts_with("https://") || text.starts_with("http://"))
    {
        return format!("{}?…", numbers(address));
    }
    numbers(text)
}

fn numbers(text: &str) -> String {
    if PhoneNumber::parse(text).is_ok() || is_bare_number(text) {
        return mask(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(start) = text[done..].find(|c: char| c.is_ascii_digit()).map(|at| done + at) {
        let (before, from) = text.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        let number = digits.len() >= DIGITS_MIN && (is_plus(before) || after.starts_with('@'));
        out.push_str(&text[done..start]);
        out.push_str(&if number { mask(digits) } else { digits.to_owned() });
        done = start + end;
    }
    out + &text[done..]
}

/// Also as it is written in an address.
fn is_plus(before: &str) -> bool {
    before.ends_with('+') || before.ends_with("%2B") || before.ends_with("%2b")
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
            ("https://example.com/%2B46701234567/x", "https://example.com/%2B4670•••••67/x"),
            ("https://example.com/hook?key=abc&to=46701234567", "https://example.com/hook?…"),
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

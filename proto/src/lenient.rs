//! Reading what Sinch sends: any casing, numbers for text, text for numbers, nulls, and shapes nobody announced.
//! A field that cannot be read is absent; the raw body is in the log all the same.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object that is absent when its value is of another shape, instead of failing the callback. (Serde would read a
/// list as an object too, by position.)
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    Ok(if raw.starts_with('{') { serde_json::from_str(raw).ok() } else { None })
}

/// Text, also when it was sent as a number or a boolean.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    Ok(match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).ok(),
        Some(b'n' | b'{' | b'[') | None => None,
        Some(_) => Some(raw.to_owned()),
    })
}

/// A decimal from the very characters of the JSON, never through a float.
pub(crate) fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let text = text(deserializer)?;
    Ok(text.and_then(|text| Decimal::from_str(&text).or_else(|_| Decimal::from_scientific(&text)).ok()))
}

/// A whole number of seconds or a code.
pub(crate) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    use rust_decimal::prelude::ToPrimitive;
    Ok(decimal(deserializer)?.filter(|n| !n.is_sign_negative()).and_then(|n| n.ceil().to_u32()))
}

/// A list in which unreadable entries are left out.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    Ok(entries.into_iter().filter_map(|entry| serde_json::from_str(entry.get()).ok()).collect())
}

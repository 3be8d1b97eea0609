//! Values as the tables keep them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text from outside is cut here: an index of PostgreSQL takes no more than 2,700 bytes.
const TEXT_CHARS_MAX: usize = 500;

/// A time to the microsecond, in UTC: as text it sorts as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "Timestamp")]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    /// Finer than a microsecond nothing is kept, so that both engines keep the same.
    fn from(time: Timestamp) -> Self {
        Self(Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self)
    }
}

/// Text that both engines take: no NUL, and not longer than an index can hold.
pub(crate) fn text(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()
}

/// A number in E.164 form, whichever way the platform wrote it; anything else as it is.
pub(crate) fn number(given: &str) -> String {
    proto::PhoneNumber::parse_lenient(given).map_or_else(|_| text(given), |number| number.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_text() {
        let time = |text: &str| Time::from(text.parse::<Timestamp>().unwrap()).to_string();
        assert_eq!(time("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05.000000Z");
        assert_eq!(time("2026-01-02T03:04:05.123456789Z"), "2026-01-02T03:04:05.123456Z");
    }

    #[test]
    fn hostile_text_is_tamed() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert_eq!(text(&"x".repeat(100_000)).len(), TEXT_CHARS_MAX);
        assert_eq!(number("46701234567"), "+46701234567");
        assert_eq!(number("private"), "private");
    }
}

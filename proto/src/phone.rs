//! E.164 numbers.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number in E.164 form: `+`, then 7 to 15 digits, the first not 0.
///
/// ```
/// use proto::PhoneNumber;
/// assert_eq!(PhoneNumber::parse("+46 70-123 45 67").unwrap().as_str(), "+46701234567");
/// assert!(PhoneNumber::parse("0701234567").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PhoneNumber(String);

/// Text that is not an E.164 number. The text itself stays out of the message: it may be somebody's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an E.164 number: write '+', the country code and the number, 7 to 15 digits in all")]
pub struct NotE164;

impl PhoneNumber {
    /// Accepts what people write between the digits: blanks, dots, dashes, round brackets.
    ///
    /// # Errors
    /// When what remains is not `+` and 7 to 15 digits.
    pub fn parse(text: &str) -> Result<Self, NotE164> {
        let digits = text.trim().strip_prefix('+').ok_or(NotE164)?;
        Self::from_digits(digits)
    }

    /// Sinch sends numbers with and without `+`; both mean E.164.
    ///
    /// # Errors
    /// As [`PhoneNumber::parse`].
    pub fn parse_lenient(text: &str) -> Result<Self, NotE164> {
        let text = text.trim();
        Self::from_digits(text.strip_prefix('+').unwrap_or(text))
    }

    fn from_digits(text: &str) -> Result<Self, NotE164> {
        let mut number = String::with_capacity(16);
        number.push('+');
        for c in text.chars() {
            match c {
                '0'..='9' if number.len() < 16 => number.push(c),
                ' ' | '-' | '.' | '(' | ')' => {}
                _ => return Err(NotE164),
            }
        }
        if number.len() >= 8 && !number.starts_with("+0") { Ok(Self(number)) } else { Err(NotE164) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits without `+`, as rate decks write prefixes.
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    /// The form for logs and screens: the first four characters and the last two.
    pub fn masked(&self) -> String {
        mask(&self.0)
    }
}

/// Hides the middle of anything that may be a phone number, a user name or `private`.
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() < 8 {
        return "•".repeat(chars.len());
    }
    let (head, tail) = (&chars[..4], &chars[chars.len() - 2..]);
    let hidden = "•".repeat(chars.len() - 6);
    head.iter().collect::<String>() + &hidden + &tail.iter().collect::<String>()
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Debug output ends in logs, so it is masked.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = NotE164;
    fn try_from(text: String) -> Result<Self, NotE164> {
        Self::parse(&text)
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> String {
        number.0
    }
}

//! Amounts: whole numbers of a small unit, never floats.

use std::borrow::Cow;
use std::fmt;
use std::iter;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A decimal with `PLACES` decimals, kept as a whole number of its smallest unit.
///
/// It lies within ±(2^53 − 1) smallest units, since admission may live where numbers are doubles; the constructors are
/// the only doors. As text, and so in JSON, it is a plain decimal: `"1.9"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fixed<const PLACES: usize>(i64);

/// An amount of money: whole micro-units, 1e-6 of the currency. A wallet's ledger is made of these.
///
/// ```
/// use money::Micros;
/// let amount = Micros::parse("1.90").unwrap();
/// assert_eq!(amount.get(), 1_900_000);
/// assert_eq!(amount.to_string(), "1.9");
/// assert!(Micros::parse("0.0000001").is_err(), "a seventh decimal is refused, not rounded");
/// ```
pub type Micros = Fixed<6>;

/// A price per rate unit: whole nano-units, 1e-9 of the currency. Prices of a second are finer than money itself.
pub type Nanos = Fixed<9>;

/// The result does not fit: an amount beyond ±(2^53 − 1) of its smallest unit, or a time beyond 2^32 − 1 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the result is too large: amounts end at 9007199254.740991, times at 4294967295 seconds")]
pub struct Overflow;

/// Text that is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    #[error("not a plain decimal number such as 1.25")]
    NotDecimal,
    #[error("more than {0} decimals")]
    TooManyDecimals(usize),
    #[error("beyond ±(2^53 - 1) of the smallest unit")]
    TooLarge,
}

impl<const PLACES: usize> Fixed<PLACES> {
    pub const ZERO: Self = Self(0);
    /// 2^53 − 1 of the smallest unit; the least is its negative.
    pub const MAX: Self = Self((1 << 53) - 1);
    pub const MIN: Self = Self(-Self::MAX.0);

    /// From a whole number of the smallest unit.
    ///
    /// # Errors
    /// When it lies beyond [`Fixed::MAX`] or [`Fixed::MIN`].
    pub fn new(smallest_units: i64) -> Result<Self, Overflow> {
        if (Self::MIN.0..=Self::MAX.0).contains(&smallest_units) { Ok(Self(smallest_units)) } else { Err(Overflow) }
    }

    /// The whole number of the smallest unit.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads a plain decimal: digits, perhaps a `-` before and a `.` with decimals after. No exponent, no rounding.
    ///
    /// # Errors
    /// When it is not that, has more decimals than the type, or is too large.
    pub fn parse(text: &str) -> Result<Self, BadAmount> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        for part in [whole, fraction] {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(BadAmount::NotDecimal);
            }
        }
        let missing = PLACES.checked_sub(fraction.len()).ok_or(BadAmount::TooManyDecimals(PLACES))?;
        let value = whole
            .bytes()
            .chain(fraction.bytes())
            .chain(iter::repeat_n(b'0', missing))
            .try_fold(0_i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit.saturating_sub(b'0'))))
            .ok_or(BadAmount::TooLarge)?;
        Self::new(if negative { value.saturating_neg() } else { value }).map_err(|Overflow| BadAmount::TooLarge)
    }

    /// # Errors
    /// When the sum lies beyond the limits.
    pub fn checked_add(self, other: Self) -> Result<Self, Overflow> {
        Self::new(self.0.saturating_add(other.0))
    }

    /// # Errors
    /// When the difference lies beyond the limits.
    pub fn checked_sub(self, other: Self) -> Result<Self, Overflow> {
        Self::new(self.0.saturating_sub(other.0))
    }

    /// The sum, or the nearest limit: for balances that are only compared.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// The difference, or the nearest limit: for balances that are only compared.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Minus this. Never too large, since the limits mirror each other.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// The shortest plain decimal: `1.9`, `0`, `-0.000001`.
impl<const PLACES: usize> fmt::Display for Fixed<PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0>width$}", self.0.unsigned_abs(), width = PLACES.saturating_add(1));
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(PLACES));
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.is_negative() { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        f.pad(&format!("{sign}{whole}{point}{fraction}"))
    }
}

impl<const PLACES: usize> fmt::Debug for Fixed<PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As a string: a JSON number would pass through a float in too many readers.
impl<const PLACES: usize> Serialize for Fixed<PLACES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<const PLACES: usize> JsonSchema for Fixed<PLACES> {
    fn schema_name() -> Cow<'static, str> {
        format!("Decimal{PLACES}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": format!("A plain decimal with at most {PLACES} decimals, as text: a JSON number would pass through a float."),
            "type": "string",
            "pattern": format!("^-?[0-9]+(\\.[0-9]{{1,{PLACES}}})?$"),
        })
    }
}

impl<'de, const PLACES: usize> Deserialize<'de> for Fixed<PLACES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| serde::de::Error::custom(format_args!("the amount {text:?} is {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_plain_decimals() {
        for (text, micros, shortest) in [
            ("0", 0, "0"),
            ("-0.00", 0, "0"),
            ("1.90", 1_900_000, "1.9"),
            ("007", 7_000_000, "7"),
            ("-0.000001", -1, "-0.000001"),
            ("9007199254.740991", (1 << 53) - 1, "9007199254.740991"),
            ("-9007199254.740991", 1 - (1 << 53), "-9007199254.740991"),
        ] {
            let amount = Micros::parse(text).unwrap();
            assert_eq!((amount.get(), amount.to_string().as_str()), (micros, shortest), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "-", ".", "1.", ".5", "+1", "1e3", "1,5", " 1", "0x1", "--1", "1.2.3", "١", "NaN"] {
            assert_eq!(Micros::parse(text), Err(BadAmount::NotDecimal), "{text}");
        }
        assert_eq!(Micros::parse("0.0000001"), Err(BadAmount::TooManyDecimals(6)));
        assert_eq!(Micros::parse("0.0000000"), Err(BadAmount::TooManyDecimals(6)));
        for text in ["9007199254.740992", "-9007199254.740992", "99999999999999999999999999"] {
            assert_eq!(Micros::parse(text), Err(BadAmount::TooLarge), "{text}");
        }
    }

    #[test]
    fn json_is_a_string_and_only_a_string() {
        assert_eq!(serde_json::to_string(&Nanos::parse("0.000000001").unwrap()).unwrap(), r#""0.000000001""#);
        assert!(serde_json::from_str::<Micros>("1.5").is_err());
        let error = serde_json::from_str::<Micros>(r#""1e3""#).unwrap_err().to_string();
        assert!(error.starts_with(r#"the amount "1e3" is not a plain decimal"#), "{error}");
    }

    #[test]
    fn arithmetic_stops_at_the_limits() {
        let one = Micros::new(1).unwrap();
        assert_eq!(Micros::MAX.checked_add(one), Err(Overflow));
        assert_eq!(Micros::MIN.checked_sub(one), Err(Overflow));
        assert_eq!(Micros::MAX.saturating_add(one), Micros::MAX);
        assert_eq!(Micros::MIN.negated(), Micros::MAX);
        assert_eq!(Micros::new(i64::MIN), Err(Overflow));
    }
}

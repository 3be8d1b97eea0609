//! The one rounding a cost gets.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::{Micros, Overflow};

/// How, and at which decimal, the exact cost of a call becomes an amount. As text `up4`, `half_even2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^(up|down|half_up|half_even)[0-6]$"))]
pub struct Rounding {
    method: RoundingMethod,
    decimals: u8,
}

/// Which way. Costs are never negative, so up is away from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoundingMethod {
    Up,
    Down,
    /// To the nearest; the middle goes up.
    HalfUp,
    /// To the nearest; the middle goes to the even neighbour.
    HalfEven,
}

/// Text that is not a rounding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a rounding: write up, down, half_up or half_even and 0 to 6 decimals, such as up4")]
pub struct NotARounding;

impl Rounding {
    /// # Errors
    /// When `decimals` is more than 6, finer than the ledger.
    pub fn new(method: RoundingMethod, decimals: u8) -> Result<Self, NotARounding> {
        if decimals <= 6 { Ok(Self { method, decimals }) } else { Err(NotARounding) }
    }

    pub fn method(self) -> RoundingMethod {
        self.method
    }

    pub fn decimals(self) -> u8 {
        self.decimals
    }

    /// Rounds the fraction `numerator / denominator` of a nano-unit, neither of them negative.
    pub(crate) fn apply(self, numerator: i128, denominator: u32) -> Result<Micros, Overflow> {
        // 10^(9 - decimals) nano-units make one step of the last decimal that is kept.
        let step_nanos = 10_i128.pow(9_u32.saturating_sub(u32::from(self.decimals)));
        let step = step_nanos.checked_mul(i128::from(denominator)).ok_or(Overflow)?;
        let whole = numerator.checked_div(step).ok_or(Overflow)?;
        let rest = numerator.checked_rem(step).ok_or(Overflow)?;
        let twice = rest.checked_mul(2).ok_or(Overflow)?;
        let up = match self.method {
            RoundingMethod::Up => rest > 0,
            RoundingMethod::Down => false,
            RoundingMethod::HalfUp => twice >= step,
            RoundingMethod::HalfEven => twice > step || (twice == step && whole & 1 == 1),
        };
        let steps = whole.checked_add(i128::from(up)).ok_or(Overflow)?;
        let micros = steps.checked_mul(step_nanos).and_then(|nanos| nanos.checked_div(1000)).ok_or(Overflow)?;
        Micros::new(i64::try_from(micros).map_err(|_| Overflow)?)
    }
}

/// Up at 4 decimals, the rule of a deck that names none.
impl Default for Rounding {
    fn default() -> Self {
        Self { method: RoundingMethod::Up, decimals: 4 }
    }
}

impl RoundingMethod {
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::HalfUp, Self::HalfEven];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::HalfUp => "half_up",
            Self::HalfEven => "half_even",
        }
    }
}

impl FromStr for Rounding {
    type Err = NotARounding;
    fn from_str(text: &str) -> Result<Self, NotARounding> {
        let (method, decimals) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(NotARounding)?;
        let method = RoundingMethod::ALL.into_iter().find(|known| known.as_str() == method).ok_or(NotARounding)?;
        Self::new(method, decimals.parse().map_err(|_| NotARounding)?)
    }
}

impl TryFrom<String> for Rounding {
    type Error = NotARounding;
    fn try_from(text: String) -> Result<Self, NotARounding> {
        text.parse()
    }
}

impl From<Rounding> for String {
    fn from(rounding: Rounding) -> String {
        rounding.to_string()
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.method.as_str(), self.decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_the_exact_fraction_once() {
        for (rule, numerator, denominator, micros) in [
            ("up6", 1, 3, 1),
            ("up6", 0, 3, 0),
            ("down6", 2999, 3, 0),
            ("down0", 2_999_999_999, 1, 2_000_000),
            ("up0", 2_000_000_001, 1, 3_000_000),
            ("half_up2", 14_999_999, 1, 10_000),
            ("half_up2", 15_000_000, 1, 20_000),
            ("half_even2", 15_000_000, 1, 20_000),
            ("half_even2", 25_000_000, 1, 20_000),
            ("half_even2", 75_000_001, 3, 30_000),
        ] {
            let rounding: Rounding = rule.parse().unwrap();
            assert_eq!(
                rounding.apply(numerator, denominator).unwrap().get(),
                micros,
                "{rule} {numerator}/{denominator}"
            );
            assert_eq!(rounding.to_string(), rule);
        }
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "4", "up", "up7", "up-1", "UP4", "half4", "up44", "up4 ", "up４"] {
            assert_eq!(text.parse::<Rounding>(), Err(NotARounding), "{text}");
        }
    }
}

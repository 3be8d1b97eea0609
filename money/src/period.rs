//! Periods: prices by weekday, date and time of day.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Micros;
use crate::price::Tier;

/// A part of the calendar with terms of its own. It begins at `from` on each of its days and is valid to midnight; of
/// several, the one with the highest weight is in force, then the one that began last, then the first in the price.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// 1 is Monday.
    #[serde(default, skip_serializing_if = "Among::is_any")]
    pub weekdays: Among<7>,
    #[serde(default, skip_serializing_if = "Among::is_any")]
    pub months: Among<12>,
    #[serde(default, skip_serializing_if = "Among::is_any")]
    pub month_days: Among<31>,
    /// Of the clock in the price's time zone; whole seconds.
    pub from: Time,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight: i32,
    pub connect_fee: Micros,
    pub tiers: Vec<Tier>,
}

impl Period {
    /// Whether it begins on the day of this clock.
    pub(crate) fn is_on(&self, clock: DateTime) -> bool {
        self.weekdays.has(clock.weekday().to_monday_one_offset())
            && self.months.has(clock.month())
            && self.month_days.has(clock.day())
    }

    /// Whether it is a period of the same time, in whatever terms.
    pub(crate) fn same_time(&self, other: &Self) -> bool {
        let time = |period: &Self| (period.weekdays, period.months, period.month_days, period.from, period.weight);
        time(self) == time(other)
    }

    /// Whether there may be a time at which neither comes before the other.
    pub(crate) fn clashes(&self, other: &Self) -> bool {
        (self.from, self.weight) == (other.from, other.weight)
            && self.weekdays.meets(other.weekdays)
            && self.months.meets(other.months)
            && self.month_days.meets(other.month_days)
    }
}

/// When it is in force, for people: `weekdays 1;2;3;4;5 from 18:00:00`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("weekdays", self.weekdays.to_string()),
            ("months", self.months.to_string()),
            ("month days", self.month_days.to_string()),
        ];
        for (name, numbers) in parts.iter().filter(|(_, numbers)| !numbers.is_empty()) {
            write!(f, "{name} {numbers} ")?;
        }
        write!(f, "from {}", self.from)
    }
}

/// Some of the numbers 1 to `MAX`; all of them when none is named. As text `1-5;7`, in JSON a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
#[schemars(inline)]
pub struct Among<const MAX: u8>(u32);

/// Text or numbers that are not a part of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not numbers from 1 to {0}, such as 1-5;7")]
pub struct NotAmong(u8);

impl<const MAX: u8> Among<MAX> {
    pub fn is_any(&self) -> bool {
        self.0 == 0
    }

    fn has(self, number: i8) -> bool {
        self.is_any() || u32::try_from(number).is_ok_and(|number| self.0.checked_shr(number).unwrap_or(0) & 1 == 1)
    }

    fn meets(self, other: Self) -> bool {
        self.is_any() || other.is_any() || self.0 & other.0 != 0
    }

    fn with(self, number: u8) -> Result<Self, NotAmong> {
        let bit = (1..=MAX).contains(&number).then(|| 1_u32.checked_shl(number.into())).flatten();
        Ok(Self(self.0 | bit.ok_or(NotAmong(MAX))?))
    }

    fn numbers(self) -> impl Iterator<Item = u8> {
        (1..=MAX).filter(move |number| self.0.checked_shr((*number).into()).unwrap_or(0) & 1 == 1)
    }
}

impl<const MAX: u8> FromStr for Among<MAX> {
    type Err = NotAmong;
    fn from_str(text: &str) -> Result<Self, NotAmong> {
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| NotAmong(MAX));
        let parts = text.split(';').filter(|_| !text.is_empty());
        parts.into_iter().try_fold(Self::default(), |set, part| match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(NotAmong(MAX));
                }
                (first..=last).try_fold(set, Self::with)
            }
            None => set.with(number(part)?),
        })
    }
}

impl<const MAX: u8> TryFrom<Vec<u8>> for Among<MAX> {
    type Error = NotAmong;
    fn try_from(numbers: Vec<u8>) -> Result<Self, NotAmong> {
        numbers.into_iter().try_fold(Self::default(), Self::with)
    }
}

impl<const MAX: u8> From<Among<MAX>> for Vec<u8> {
    fn from(set: Among<MAX>) -> Self {
        set.numbers().collect()
    }
}

impl<const MAX: u8> fmt::Display for Among<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.numbers().map(|number| number.to_string()).collect::<Vec<_>>().join(";"))
    }
}

impl<const MAX: u8> fmt::Debug for Among<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(weight: &i32) -> bool {
    *weight == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_text_and_as_lists() {
        let days: Among<7> = "1-3;6".parse().unwrap();
        assert_eq!((days.to_string().as_str(), Vec::from(days)), ("1;2;3;6", vec![1, 2, 3, 6]));
        assert!(!days.has(5) && days.has(6) && "".parse::<Among<7>>().unwrap().has(5));
        assert_eq!(serde_json::from_str::<Among<7>>("[6,1,2,3]").unwrap(), days);
        for text in ["0", "8", "3-1", "1;", "a", "-1", "1-8"] {
            assert_eq!(text.parse::<Among<7>>(), Err(NotAmong(7)), "{text}");
        }
        assert_eq!("31".parse::<Among<31>>().unwrap().to_string(), "31");
    }
}

//! Explaining a cost: the same sum as [`cost`](crate::cost()), step by step.

use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;

use crate::amount::{Micros, Overflow};
use crate::price::{Price, Tier};
use crate::rate::{CannotRate, Cost, Runs, Used, connect_fee, cost, total};

/// How a cost came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Of the period in force at the answer.
    pub connect_fee: Micros,
    /// What time was charged, in order; none for a call that costs nothing.
    pub steps: Vec<Step>,
    /// Connect fee and steps together, before the one rounding.
    pub exact: Exact,
    /// After rounding, `min_cost` and `max_cost`.
    pub cost: Cost,
}

/// Increments one after another at the same terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which of the price's periods; none where none is in force.
    pub period: Option<usize>,
    pub tier: Tier,
    /// Counted from the answer.
    pub from_secs: u32,
    pub billed_secs: u32,
    /// With the tier's own fee.
    pub amount: Exact,
}

/// An amount before it is rounded: a fraction of nano-units. As text a decimal, with `…` where it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exact {
    numerator: i128,
    denominator: u32,
}

/// The cost with all that leads to it. The list of steps grows with the changes of period in the call: bound the
/// duration.
///
/// # Errors
/// As [`cost`](crate::cost()).
pub fn explain(price: &Price, duration_secs: u32, answered_at: Timestamp) -> Result<Explained, CannotRate> {
    let denominator = price.common_unit_secs();
    let cost = cost(price, duration_secs, answered_at)?;
    let connect_fee = connect_fee(price, answered_at)?;
    let mut steps: Vec<Step> = Vec::new();
    if duration_secs == 0 || duration_secs <= price.rows().no_charge_secs {
        return Ok(Explained { connect_fee, steps, exact: Exact { numerator: 0, denominator }, cost });
    }
    let mut all = Used::default();
    for run in Runs::of(price, duration_secs, answered_at) {
        let run = run?;
        let mut used = Used::default();
        used.add(price, &run)?;
        all.add(price, &run)?;
        match steps.last_mut() {
            Some(step) if !run.takes_over => {
                step.billed_secs = step.billed_secs.checked_add(run.billed_secs).ok_or(Overflow)?;
                step.amount.numerator = step.amount.numerator.checked_add(used.numerator).ok_or(Overflow)?;
            }
            Some(_) | None => steps.push(Step {
                period: run.period,
                tier: run.tier,
                from_secs: run.from_secs.checked_add(price.rows().included_secs).ok_or(Overflow)?,
                billed_secs: run.billed_secs,
                amount: Exact { numerator: used.numerator, denominator },
            }),
        }
    }
    let exact = Exact { numerator: total(price, all.numerator, answered_at)?, denominator };
    Ok(Explained { connect_fee, steps, exact, cost })
}

impl Exact {
    /// Both are far below 2^96, so the products fit.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        let (mine, theirs) = self.over_common(other);
        mine.cmp(&theirs)
    }

    /// By how much this is above `other`; `None` when that is 0.
    pub(crate) fn hundredths_of_percent_above(self, other: Self) -> Option<i64> {
        let (mine, theirs) = self.over_common(other);
        let above = mine.checked_sub(theirs)?.checked_mul(10_000)?.checked_div(theirs)?;
        i64::try_from(above).ok()
    }

    fn over_common(self, other: Self) -> (i128, i128) {
        let mine = self.numerator.saturating_mul(other.denominator.into());
        (mine, other.numerator.saturating_mul(self.denominator.into()))
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denominator = i128::from(self.denominator.max(1));
        let nanos = self.numerator.checked_div(denominator).unwrap_or_default();
        let whole = nanos.checked_div(1_000_000_000).unwrap_or_default();
        let fraction = format!("{:09}", nanos.checked_rem(1_000_000_000).unwrap_or_default());
        if self.numerator.checked_rem(denominator) != Some(0) {
            return f.pad(&format!("{whole}.{fraction}…"));
        }
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        f.pad(&format!("{whole}{point}{fraction}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_decimals_that_may_go_on() {
        for (numerator, denominator, text) in
            [(0, 60, "0"), (90_000_000_000, 60, "1.5"), (1_000_000_000, 3, "0.333333333…"), (60, 60, "0.000000001")]
        {
            assert_eq!(Exact { numerator, denominator }.to_string(), text);
        }
    }
}

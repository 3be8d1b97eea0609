//! Rating: seconds to money.

use jiff::Timestamp;

use crate::amount::{Micros, Overflow};
use crate::price::{ConnectFeeMode, MaxCostStrategy, Price, Tier};

/// What a call of some length comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// In the price's currency, rounded by its rule.
    pub amount: Micros,
    /// The seconds paid for: every increment that was begun, whole.
    pub billed_secs: u32,
}

impl Cost {
    pub const ZERO: Self = Self { amount: Micros::ZERO, billed_secs: 0 };
}

/// Why a call has no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotRate {
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Only of a price made of nothing but periods; a price list has none of these.
    #[error("the price has no period in force at {0}")]
    NoPeriod(Timestamp),
}

/// The cost of a call that was answered at `answered_at` and lasted `duration_secs`.
///
/// Nothing for 0 s. Otherwise the connect fee and every increment that was begun, each charged whole by the tier and the
/// period in force where it starts; the exact sum is rounded once, and then kept within `min_cost` and `max_cost`.
/// Never less for a longer call that is answered at the same time.
///
/// # Errors
/// When the cost or the billed time is beyond what can be stored, or the price has no period for some of the time.
///
/// ```
/// use money::{Price, cost};
/// let price: Price = serde_json::from_str(r#"{
///     "currency": "EUR", "connect_fee": "0", "rounding": "up5", "tiers": [
///         { "start_secs": 0, "rate": "0.015", "unit_secs": 60, "increment_secs": 60 },
///         { "start_secs": 60, "rate": "0.015", "unit_secs": 60, "increment_secs": 6 }
///     ] }"#).unwrap();
/// let answered_at = "2026-01-02T12:00:00Z".parse().unwrap();
/// let cost = cost(&price, 61, answered_at).unwrap();
/// assert_eq!((cost.amount.to_string().as_str(), cost.billed_secs), ("0.0165", 66));
/// ```
pub fn cost(price: &Price, duration_secs: u32, answered_at: Timestamp) -> Result<Cost, CannotRate> {
    if duration_secs == 0 || duration_secs <= price.rows().no_charge_secs {
        return Ok(Cost::ZERO);
    }
    let mut used = Used::default();
    for run in Runs::of(price, duration_secs, answered_at) {
        used.add(price, &run?)?;
    }
    let sum = total(price, used.numerator, answered_at)?;
    let rounded = price.rounding().apply(sum, price.common_unit_secs())?;
    Ok(Cost { amount: limited(price, rounded), billed_secs: used.billed_secs })
}

/// What the first minute costs to a caller who is answered at `answered_at`: its time alone, without connect fee,
/// limits, and seconds that cost nothing.
///
/// # Errors
/// As [`cost`].
pub fn first_minute(price: &Price, answered_at: Timestamp) -> Result<Micros, CannotRate> {
    let mut used = Used::default();
    for run in Runs::counted_from(price, 60, answered_at.as_second()) {
        used.add(price, &run?)?;
    }
    Ok(price.rounding().apply(used.numerator, price.common_unit_secs())?)
}

/// The connect fee of a call that is answered at `answered_at`.
///
/// # Errors
/// When the price has no period then.
pub fn connect_fee(price: &Price, answered_at: Timestamp) -> Result<Micros, CannotRate> {
    match price.in_force(answered_at.as_second())?.period {
        Some(index) => Ok(price.rows().periods.get(index).map_or(price.connect_fee(), |period| period.connect_fee)),
        None => Ok(price.connect_fee()),
    }
}

/// Connect fee and time together, in nano-units over the price's common rate unit.
pub(crate) fn total(price: &Price, numerator: i128, answered_at: Timestamp) -> Result<i128, CannotRate> {
    let fee = fraction(price, connect_fee(price, answered_at)?)?;
    Ok(match price.rows().connect_fee_mode {
        ConnectFeeMode::Add => fee.checked_add(numerator).ok_or(Overflow)?,
        ConnectFeeMode::Minimum => fee.max(numerator),
    })
}

/// Within `min_cost` and `max_cost`. They bound the rounded cost, so that no rounding leads beyond them.
pub(crate) fn limited(price: &Price, rounded: Micros) -> Micros {
    let floored = rounded.max(price.rows().min_cost);
    match price.rows().max_cost {
        Some(max) if max.strategy == MaxCostStrategy::Free => floored.min(max.amount),
        Some(_) | None => floored,
    }
}

/// An amount in nano-units over the price's common rate unit.
fn fraction(price: &Price, amount: Micros) -> Result<i128, Overflow> {
    let nanos = i128::from(amount.get()).checked_mul(1000).ok_or(Overflow)?;
    nanos.checked_mul(price.common_unit_secs().into()).ok_or(Overflow)
}

/// Time charged so far: whole numbers all the way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// In nano-units over the price's common rate unit.
    pub numerator: i128,
    pub billed_secs: u32,
}

impl Used {
    pub(crate) fn add(&mut self, price: &Price, run: &Run) -> Result<(), Overflow> {
        let per_unit = price.common_unit_secs().checked_div(run.tier.unit_secs).ok_or(Overflow)?;
        let charge = i128::from(run.tier.rate.get())
            .checked_mul(run.billed_secs.into())
            .and_then(|product| product.checked_mul(per_unit.into()))
            .ok_or(Overflow)?;
        let fee = if run.takes_over { fraction(price, run.tier.fee)? } else { 0 };
        self.numerator = self.numerator.checked_add(charge).and_then(|sum| sum.checked_add(fee)).ok_or(Overflow)?;
        self.billed_secs = self.billed_secs.checked_add(run.billed_secs).ok_or(Overflow)?;
        Ok(())
    }
}

/// Increments one after another at the same tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Which period; none where none is in force.
    pub period: Option<usize>,
    pub tier: Tier,
    /// Counted from the first second that is charged.
    pub from_secs: u32,
    pub billed_secs: u32,
    /// The run before was at another tier, or there was none.
    pub takes_over: bool,
}

/// A call's increments in runs: one for each tier and each stretch in which the same period stays in force.
#[derive(Debug)]
pub(crate) struct Runs<'a> {
    price: &'a Price,
    /// The first second that is charged, since 1970.
    begins_at: i64,
    duration_secs: u32,
    at_secs: u32,
    last: Option<(Option<usize>, u32)>,
}

impl<'a> Runs<'a> {
    /// A period begins at a whole second of the clock, so what an increment begins in follows from the whole second.
    pub(crate) fn of(price: &'a Price, duration_secs: u32, answered_at: Timestamp) -> Self {
        let included_secs = price.rows().included_secs;
        let begins_at = answered_at.as_second().saturating_add(included_secs.into());
        Self::counted_from(price, duration_secs.saturating_sub(included_secs), begins_at)
    }

    fn counted_from(price: &'a Price, duration_secs: u32, begins_at: i64) -> Self {
        Self { price, begins_at, duration_secs, at_secs: 0, last: None }
    }

    fn run(&mut self) -> Result<Run, CannotRate> {
        let from_secs = self.at_secs;
        let in_force = self.price.in_force(self.begins_at.saturating_add(from_secs.into()))?;
        let tiers = in_force.tiers;
        let begun = tiers.partition_point(|tier| tier.start_secs <= from_secs);
        let tier = *begun.checked_sub(1).and_then(|index| tiers.get(index)).ok_or(Overflow)?;
        let mut end_secs = tiers.get(begun).map_or(self.duration_secs, |next| next.start_secs.min(self.duration_secs));
        if let Some(until) = in_force.until {
            let until_secs = u32::try_from(until.saturating_sub(self.begins_at)).unwrap_or(u32::MAX);
            end_secs = end_secs.min(until_secs);
        }
        let used_secs = end_secs.saturating_sub(from_secs).max(1);
        let billed_secs = used_secs.checked_next_multiple_of(tier.increment_secs).ok_or(Overflow)?;
        self.at_secs = from_secs.checked_add(billed_secs).ok_or(Overflow)?;
        let now = Some((in_force.period, tier.start_secs));
        let takes_over = self.last != now;
        self.last = now;
        Ok(Run { period: in_force.period, tier, from_secs, billed_secs, takes_over })
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run, CannotRate>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.at_secs >= self.duration_secs {
            return None;
        }
        let run = self.run();
        if run.is_err() {
            self.at_secs = self.duration_secs;
        }
        Some(run)
    }
}

/// What holds at one second, and how long it surely does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InForce<'a> {
    pub period: Option<usize>,
    pub tiers: &'a [Tier],
    /// Seconds since 1970; none means for ever.
    pub until: Option<i64>,
}

impl Price {
    /// The terms in force at a second since 1970: of the periods that have begun on that day, the one with the highest
    /// weight, then the latest.
    pub(crate) fn in_force(&self, second: i64) -> Result<InForce<'_>, CannotRate> {
        let rows = self.rows();
        if rows.periods.is_empty() {
            return Ok(InForce { period: None, tiers: &rows.tiers, until: None });
        }
        let at = Timestamp::from_second(second).map_err(|_| Overflow)?;
        let clock = rows.time_zone.clock(at);
        let passed = seconds_of(clock.time());
        let mut next = 86_400;
        let mut best = None;
        for (index, period) in rows.periods.iter().enumerate().filter(|(_, period)| period.is_on(clock)) {
            let from = seconds_of(period.from);
            let rank = (period.weight, from);
            if from > passed {
                next = next.min(from);
            } else if best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, index));
            }
        }
        let period = best.map(|(_, index)| index);
        let tiers = match period.and_then(|index| rows.periods.get(index)) {
            Some(period) => &period.tiers,
            None if rows.tiers.is_empty() => return Err(CannotRate::NoPeriod(at)),
            None => &rows.tiers,
        };
        // Until the clock shows the next beginning or midnight, unless it is put forward or back before.
        let until = second.saturating_add(next.saturating_sub(passed));
        let changed = rows.time_zone.next_change(at).map_or(i64::MAX, Timestamp::as_second);
        Ok(InForce { period, tiers, until: Some(until.min(changed)) })
    }
}

fn seconds_of(time: jiff::civil::Time) -> i64 {
    let whole = |part: i8, secs: i64| i64::from(part).saturating_mul(secs);
    whole(time.hour(), 3600).saturating_add(whole(time.minute(), 60)).saturating_add(time.second().into())
}

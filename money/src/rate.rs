//! Rating: seconds to money.

use crate::amount::{Micros, Overflow};
use crate::price::Price;

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

/// The cost of a call that lasted `duration_secs` from its answer (money.md, *Rating rules* 1 to 4).
///
/// Nothing for 0 s. Otherwise the connect fee and every increment that was begun, each charged whole at the tier in
/// force where it starts; the exact sum is rounded once. Never less for a longer call.
///
/// # Errors
/// When the cost or the billed time is beyond what can be stored.
///
/// ```
/// use money::{Price, cost};
/// let price: Price = serde_json::from_str(r#"{
///     "currency": "EUR", "connect_fee": "0", "rounding": "up5", "tiers": [
///         { "start_secs": 0, "rate": "0.015", "unit_secs": 60, "increment_secs": 60 },
///         { "start_secs": 60, "rate": "0.015", "unit_secs": 60, "increment_secs": 6 }
///     ] }"#).unwrap();
/// let cost = cost(&price, 61).unwrap();
/// assert_eq!((cost.amount.to_string().as_str(), cost.billed_secs), ("0.0165", 66));
/// ```
pub fn cost(price: &Price, duration_secs: u32) -> Result<Cost, Overflow> {
    if duration_secs == 0 {
        return Ok(Cost::ZERO);
    }
    // The sum in nano-units over the tiers' common rate unit: whole numbers all the way.
    let denominator = price.common_unit_secs();
    let connect_fee = i128::from(price.connect_fee().get()).checked_mul(1000).ok_or(Overflow)?;
    let mut numerator = connect_fee.checked_mul(i128::from(denominator)).ok_or(Overflow)?;
    let mut billed_secs = 0;
    let mut tiers = price.tiers().iter().peekable();
    while let Some(tier) = tiers.next() {
        let end_secs = tiers.peek().map_or(duration_secs, |next| next.start_secs.min(duration_secs));
        let Some(used_secs) = end_secs.checked_sub(tier.start_secs) else { break };
        let begun_secs = used_secs.checked_next_multiple_of(tier.increment_secs).ok_or(Overflow)?;
        let per_unit = denominator.checked_div(tier.unit_secs).ok_or(Overflow)?;
        let charge = i128::from(tier.rate.get())
            .checked_mul(i128::from(begun_secs))
            .and_then(|product| product.checked_mul(i128::from(per_unit)))
            .ok_or(Overflow)?;
        numerator = numerator.checked_add(charge).ok_or(Overflow)?;
        billed_secs = begun_secs.checked_add(billed_secs).ok_or(Overflow)?;
    }
    Ok(Cost { amount: price.rounding().apply(numerator, denominator)?, billed_secs })
}

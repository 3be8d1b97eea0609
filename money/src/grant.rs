//! Granting: money to seconds, the exact inverse of rating.

use crate::amount::Micros;
use crate::price::Price;
use crate::rate::cost;

/// How long a call may last, and what to hold for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// At least 1.
    pub secs: u32,
    /// The cost of exactly `secs`.
    pub hold: Micros,
}

/// The largest whole number of seconds, not above `cap_secs`, whose rounded cost fits `available` (money.md, *Rating
/// rules* 7); `None` when not even the first increment fits, or the cap is 0.
///
/// A cost too large to be stored fits nothing, so there is no overflow to report.
///
/// ```
/// use money::{Micros, Price, grant};
/// let price: Price = serde_json::from_str(r#"{
///     "currency": "EUR", "connect_fee": "0.2", "rounding": "up4",
///     "tiers": [{ "start_secs": 0, "rate": "0.1", "unit_secs": 60, "increment_secs": 60 }] }"#).unwrap();
/// let granted = grant(&price, Micros::parse("0.45").unwrap(), 3600).unwrap();
/// assert_eq!((granted.secs, granted.hold.to_string().as_str()), (120, "0.4"));
/// assert_eq!(grant(&price, Micros::parse("0.2").unwrap(), 3600), None);
/// ```
pub fn grant(price: &Price, available: Micros, cap_secs: u32) -> Option<Grant> {
    let affordable = |secs: u32| {
        let hold = cost(price, secs).ok()?.amount;
        (hold <= available).then_some(Grant { secs, hold })
    };
    if let Some(whole) = affordable(cap_secs) {
        return (cap_secs > 0).then_some(whole);
    }
    // Cost never falls with time, so a binary search finds the edge: `too_long` does not fit, `best` does.
    let (mut best, mut too_long) = (None, cap_secs);
    loop {
        let longest = best.map_or(0, |grant: Grant| grant.secs);
        let middle = longest.midpoint(too_long);
        if middle == longest {
            return best;
        }
        match affordable(middle) {
            Some(grant) => best = Some(grant),
            None => too_long = middle,
        }
    }
}

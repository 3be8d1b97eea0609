//! Granting: money to seconds, the exact inverse of rating.

use jiff::Timestamp;

use crate::amount::Micros;
use crate::price::{MaxCostStrategy, Price};
use crate::rate::{Runs, cost};

/// How long a call may last, and what to hold for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// At least 1.
    pub secs: u32,
    /// The cost of exactly `secs`; where the time of the answer matters, the largest one.
    pub hold: Micros,
}

/// Longest ringing that is looked at, second by second; no platform rings for an hour.
pub const RING_SECS_MAX: u32 = 3600;

/// When the call may be answered: any second from `from`, for `ring_secs` more, at most [`RING_SECS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub from: Timestamp,
    pub ring_secs: u32,
}

impl Answer {
    /// Answered at exactly this time.
    pub fn at(time: Timestamp) -> Self {
        Self { from: time, ring_secs: 0 }
    }
}

/// The largest whole number of seconds, not above `cap_secs`, whose rounded cost fits `available` and the price's
/// `max_cost` that disconnects; `None` when not even the seconds that are included, or
/// without them the first increment, fit, or the cap is 0.
///
/// A dearer period may begin while the call rings, so it must fit for every second at which it may be answered.
///
/// A cost too large to be stored fits nothing, so there is no overflow to report.
///
/// ```
/// use money::{Answer, Micros, Price, grant};
/// let price: Price = serde_json::from_str(r#"{
///     "currency": "EUR", "connect_fee": "0.2", "rounding": "up4",
///     "tiers": [{ "start_secs": 0, "rate": "0.1", "unit_secs": 60, "increment_secs": 60 }] }"#).unwrap();
/// let answer = Answer::at("2026-01-02T12:00:00Z".parse().unwrap());
/// let granted = grant(&price, Micros::parse("0.45").unwrap(), 3600, answer).unwrap();
/// assert_eq!((granted.secs, granted.hold.to_string().as_str()), (120, "0.4"));
/// assert_eq!(grant(&price, Micros::parse("0.2").unwrap(), 3600, answer), None);
/// ```
pub fn grant(price: &Price, available: Micros, cap_secs: u32, answer: Answer) -> Option<Grant> {
    let limit = match price.rows().max_cost {
        Some(max) if max.strategy == MaxCostStrategy::Disconnect => available.min(max.amount),
        Some(_) | None => available,
    };
    let seconds = answer_seconds(price, cap_secs, answer);
    let mut granted = Grant { secs: cap_secs, hold: Micros::ZERO };
    for answered_at in seconds.clone() {
        granted.secs = longest(price, limit, granted.secs, answered_at)?;
    }
    for answered_at in seconds {
        granted.hold = granted.hold.max(cost(price, granted.secs, answered_at).ok()?.amount);
    }
    Some(granted)
}

/// The shortest call worth granting, whatever it costs: when that does not fit, no call does. `None` when the price lets
/// nobody call.
pub fn least(price: &Price, cap_secs: u32, answer: Answer) -> Option<Grant> {
    let first_secs = answer_seconds(price, cap_secs, answer).filter_map(|at| first_secs(price, at)).max()?;
    grant(price, Micros::MAX, cap_secs.min(first_secs), answer)
}

/// The longest call that is answered just then and fits.
fn longest(price: &Price, limit: Micros, cap_secs: u32, answered_at: Timestamp) -> Option<u32> {
    let fits = |secs: u32| cost(price, secs, answered_at).is_ok_and(|cost| cost.amount <= limit);
    if cap_secs == 0 || !fits(first_secs(price, answered_at)?.min(cap_secs)) {
        return None;
    }
    if fits(cap_secs) {
        return Some(cap_secs);
    }
    // Cost never falls with time, so a binary search finds the edge: `too_long` does not fit, `fitting` does.
    let (mut fitting, mut too_long) = (0_u32, cap_secs);
    loop {
        let middle = fitting.midpoint(too_long);
        if middle == fitting {
            return Some(fitting);
        }
        if fits(middle) {
            fitting = middle;
        } else {
            too_long = middle;
        }
    }
}

/// The least that is worth a call.
fn first_secs(price: &Price, answered_at: Timestamp) -> Option<u32> {
    match price.rows().included_secs {
        0 => Some(Runs::of(price, 1, answered_at).next()?.ok()?.billed_secs),
        included_secs => Some(included_secs),
    }
}

/// The seconds at which an answer may make a difference: only the first, unless another period may begin.
fn answer_seconds(price: &Price, cap_secs: u32, answer: Answer) -> impl Iterator<Item = Timestamp> + Clone {
    let Answer { from, ring_secs } = answer;
    let ring_secs = ring_secs.min(RING_SECS_MAX);
    let spared_secs = i64::from(price.rows().included_secs).saturating_add(cap_secs.into());
    let until = price.in_force(from.as_second()).map_or(Some(i64::MIN), |in_force| in_force.until);
    let latest = from.as_second().saturating_add(ring_secs.into());
    let same = until.is_none_or(|until| latest.saturating_add(spared_secs) < until);
    let last = if same { 0 } else { ring_secs };
    (0..=last).filter_map(move |secs| Timestamp::from_second(from.as_second().saturating_add(secs.into())).ok())
}

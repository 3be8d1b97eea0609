//! A price: the rows that say what a second costs, kept in every hold so that a call is charged as it was admitted.

use jiff::civil::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::{Micros, Nanos};
use crate::currency::Currency;
use crate::period::Period;
use crate::rounding::Rounding;
use crate::zone::Zone;

/// Most tiers a price may have.
pub const TIERS_MAX: usize = 32;

/// Most periods a price may have.
pub const PERIODS_MAX: usize = 64;

/// What a call to one destination costs. Checked when made, so rating cannot meet a bad one.
///
/// An unknown field is refused: an older version that ignored a newer term of the price would charge wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "PriceRows", into = "PriceRows")]
pub struct Price {
    rows: PriceRows,
    /// Least common multiple of the tiers' rate units: the denominator of every exact cost.
    common_unit_secs: u32,
}

/// The terms of a price before they are checked: the shape in events and files. It may gain optional fields; what is
/// there keeps its meaning for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Price")]
pub struct PriceRows {
    pub currency: Currency,
    /// Charged once when the call is answered and lasts longer than 0 s. Periods have their own.
    pub connect_fee: Micros,
    #[serde(default, skip_serializing_if = "ConnectFeeMode::is_add")]
    pub connect_fee_mode: ConnectFeeMode,
    /// In order of their start, the first at 0; in force where no period is. None only where periods stand alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    pub rounding: Rounding,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub periods: Vec<Period>,
    /// Whose clock the periods go by.
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    pub time_zone: Zone,
    /// No call that is charged costs less.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_cost: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<MaxCost>,
    /// The first seconds are in the connect fee: time is charged, and cut into increments, from then on.
    #[serde(default, skip_serializing_if = "is_none")]
    pub included_secs: u32,
    /// A call this short costs nothing, not even the connect fee. A longer one is charged from its first second.
    #[serde(default, skip_serializing_if = "is_none")]
    pub no_charge_secs: u32,
}

/// What the connect fee does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectFeeMode {
    /// It is added to the cost of the time.
    #[default]
    Add,
    /// It is the least that the time costs.
    Minimum,
}

/// Where the cost of a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxCost {
    pub amount: Micros,
    pub strategy: MaxCostStrategy,
}

/// What happens at the highest cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaxCostStrategy {
    /// The call goes on for nothing.
    Free,
    /// No more time is granted than costs this; a call that lasts longer all the same is charged for it.
    Disconnect,
}

/// The price from one second of the call on: `rate` per `unit_secs`, charged in whole increments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Seconds since the answer at which the tier begins; 0 for the first.
    pub start_secs: u32,
    pub rate: Nanos,
    /// The seconds that `rate` pays for; not 0.
    pub unit_secs: u32,
    /// The seconds that are charged whole once begun; not 0.
    pub increment_secs: u32,
    /// Charged each time the tier takes over, from another one or at the beginning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fee: Micros,
}

/// A price that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrice {
    #[error("the connect fee {0} is negative")]
    ConnectFee(Micros),
    #[error("the fee {0} of a tier is negative")]
    TierFee(Micros),
    #[error("the min_cost {0} is negative")]
    MinCost(Micros),
    #[error("the max_cost {0} is negative")]
    MaxCost(Micros),
    #[error("the min_cost {min} is above the max_cost {max}")]
    MinAboveMax { min: Micros, max: Micros },
    #[error("a price has at most {PERIODS_MAX} periods, not {0}")]
    PeriodCount(usize),
    #[error("the period from {0} does not begin at a whole second")]
    PeriodFrom(Time),
    #[error("a price has 1 to {TIERS_MAX} tiers, not {0}")]
    TierCount(usize),
    #[error("the first tier starts at {0} s, not at 0")]
    FirstTier(u32),
    #[error("the tier at {0} s does not start after the one before it")]
    Order(u32),
    #[error("the rate {rate} of the tier at {start_secs} s is negative")]
    Rate { start_secs: u32, rate: Nanos },
    #[error("the rate unit of the tier at {0} s is 0 s")]
    Unit(u32),
    #[error("the increment of the tier at {0} s is 0 s")]
    Increment(u32),
    #[error("the tier at {start_secs} s ends at {end_secs} s, within one of its increments of {increment_secs} s")]
    Boundary { start_secs: u32, end_secs: u32, increment_secs: u32 },
    #[error("the rate units of the tiers have no common multiple below 2^32 s")]
    Units,
}

impl Price {
    /// A price without periods and limits.
    ///
    /// # Errors
    /// The first rule that is broken, as with [`Price::check`].
    pub fn new(
        currency: Currency,
        connect_fee: Micros,
        tiers: Vec<Tier>,
        rounding: Rounding,
    ) -> Result<Self, BadPrice> {
        Self::check(PriceRows::plain(currency, connect_fee, tiers, rounding))
    }

    /// Tiers come in order of their start. Every tier but the last spans a whole number of its increments, so that an
    /// increment crosses into the next tier only after a change of period.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(rows: PriceRows) -> Result<Self, BadPrice> {
        if rows.min_cost.is_negative() {
            return Err(BadPrice::MinCost(rows.min_cost));
        }
        if let Some(max) = rows.max_cost.map(|max| max.amount) {
            if max.is_negative() {
                return Err(BadPrice::MaxCost(max));
            }
            if rows.min_cost > max {
                return Err(BadPrice::MinAboveMax { min: rows.min_cost, max });
            }
        }
        if rows.periods.len() > PERIODS_MAX {
            return Err(BadPrice::PeriodCount(rows.periods.len()));
        }
        let alone = rows.tiers.is_empty() && !rows.periods.is_empty();
        let mut common_unit_secs = if alone { 1 } else { check_terms(rows.connect_fee, &rows.tiers, 1)? };
        for period in &rows.periods {
            if period.from.subsec_nanosecond() != 0 {
                return Err(BadPrice::PeriodFrom(period.from));
            }
            common_unit_secs = check_terms(period.connect_fee, &period.tiers, common_unit_secs)?;
        }
        Ok(Self { rows, common_unit_secs })
    }

    pub fn rows(&self) -> &PriceRows {
        &self.rows
    }

    pub fn currency(&self) -> Currency {
        self.rows.currency
    }

    /// Charged once when the call is answered and lasts longer than 0 s, where no period is in force.
    pub fn connect_fee(&self) -> Micros {
        self.rows.connect_fee
    }

    /// In order of their start, the first at 0; in force where no period is.
    pub fn tiers(&self) -> &[Tier] {
        &self.rows.tiers
    }

    pub fn rounding(&self) -> Rounding {
        self.rows.rounding
    }

    /// Whether the same call may cost differently at another time.
    pub fn has_periods(&self) -> bool {
        !self.rows.periods.is_empty()
    }

    pub(crate) fn common_unit_secs(&self) -> u32 {
        self.common_unit_secs
    }
}

impl PriceRows {
    /// Without periods and limits.
    pub fn plain(currency: Currency, connect_fee: Micros, tiers: Vec<Tier>, rounding: Rounding) -> Self {
        Self {
            currency,
            connect_fee,
            connect_fee_mode: ConnectFeeMode::Add,
            tiers,
            rounding,
            periods: Vec::new(),
            time_zone: Zone::default(),
            min_cost: Micros::ZERO,
            max_cost: None,
            included_secs: 0,
            no_charge_secs: 0,
        }
    }
}

impl ConnectFeeMode {
    fn is_add(&self) -> bool {
        *self == Self::Add
    }
}

/// Checks a fee and its tiers; answers the common multiple of `common_unit_secs` and their rate units.
fn check_terms(connect_fee: Micros, tiers: &[Tier], common_unit_secs: u32) -> Result<u32, BadPrice> {
    if connect_fee.is_negative() {
        return Err(BadPrice::ConnectFee(connect_fee));
    }
    if tiers.is_empty() || tiers.len() > TIERS_MAX {
        return Err(BadPrice::TierCount(tiers.len()));
    }
    let mut common_unit_secs = common_unit_secs;
    for (index, tier) in tiers.iter().enumerate() {
        if index == 0 && tier.start_secs != 0 {
            return Err(BadPrice::FirstTier(tier.start_secs));
        }
        tier.check(tiers.get(index.saturating_add(1)))?;
        common_unit_secs = least_common_multiple(common_unit_secs, tier.unit_secs).ok_or(BadPrice::Units)?;
    }
    Ok(common_unit_secs)
}

impl Tier {
    fn check(&self, next: Option<&Self>) -> Result<(), BadPrice> {
        let Self { start_secs, rate, unit_secs, increment_secs, fee } = *self;
        if fee.is_negative() {
            return Err(BadPrice::TierFee(fee));
        }
        if rate.is_negative() {
            return Err(BadPrice::Rate { start_secs, rate });
        }
        if unit_secs == 0 {
            return Err(BadPrice::Unit(start_secs));
        }
        if increment_secs == 0 {
            return Err(BadPrice::Increment(start_secs));
        }
        let Some(end_secs) = next.map(|next| next.start_secs) else { return Ok(()) };
        match end_secs.checked_sub(start_secs) {
            None | Some(0) => Err(BadPrice::Order(end_secs)),
            Some(span) if !span.is_multiple_of(increment_secs) => {
                Err(BadPrice::Boundary { start_secs, end_secs, increment_secs })
            }
            Some(_) => Ok(()),
        }
    }
}

fn least_common_multiple(a: u32, b: u32) -> Option<u32> {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor.checked_rem(rest)?);
    }
    a.checked_div(divisor)?.checked_mul(b)
}

impl TryFrom<PriceRows> for Price {
    type Error = BadPrice;
    fn try_from(rows: PriceRows) -> Result<Self, BadPrice> {
        Self::check(rows)
    }
}

impl From<Price> for PriceRows {
    fn from(price: Price) -> Self {
        price.rows
    }
}

fn is_zero(amount: &Micros) -> bool {
    *amount == Micros::ZERO
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_none(secs: &u32) -> bool {
    *secs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(start_secs: u32, increment_secs: u32) -> Tier {
        Tier { start_secs, rate: Nanos::parse("0.01").unwrap(), unit_secs: 60, increment_secs, fee: Micros::ZERO }
    }

    fn check(tiers: Vec<Tier>) -> Result<Price, BadPrice> {
        Price::new("EUR".parse().unwrap(), Micros::ZERO, tiers, Rounding::default())
    }

    #[test]
    fn names_the_broken_rule() {
        let negative = Tier { rate: Nanos::parse("-1").unwrap(), ..tier(0, 1) };
        for (tiers, expected) in [
            (vec![], BadPrice::TierCount(0)),
            (vec![tier(0, 1); 33], BadPrice::TierCount(33)),
            (vec![tier(60, 60)], BadPrice::FirstTier(60)),
            (vec![tier(0, 60), tier(60, 1), tier(60, 1)], BadPrice::Order(60)),
            (vec![tier(0, 60), tier(120, 1), tier(60, 1)], BadPrice::Order(60)),
            (vec![tier(0, 0)], BadPrice::Increment(0)),
            (vec![Tier { unit_secs: 0, ..tier(0, 1) }], BadPrice::Unit(0)),
            (vec![negative], BadPrice::Rate { start_secs: 0, rate: negative.rate }),
            (vec![tier(0, 60), tier(90, 6)], BadPrice::Boundary { start_secs: 0, end_secs: 90, increment_secs: 60 }),
            (vec![Tier { unit_secs: u32::MAX, ..tier(0, 1) }, Tier { unit_secs: 2, ..tier(1, 1) }], BadPrice::Units),
        ] {
            assert_eq!(check(tiers), Err(expected));
        }
        assert!(check(vec![tier(0, 30), tier(30, 60), tier(90, 7)]).is_ok());
    }

    #[test]
    fn json_is_checked_too_and_unknown_terms_are_refused() {
        let good = r#"{"currency":"EUR","connect_fee":"0.2","tiers":[{"start_secs":0,"rate":"0.1","unit_secs":60,"increment_secs":6}],"rounding":"up4"}"#;
        let price: Price = serde_json::from_str(good).unwrap();
        assert_eq!(serde_json::to_string(&price).unwrap(), good);
        assert!(serde_json::from_str::<Price>(&good.replace("\"increment_secs\":6", "\"increment_secs\":0")).is_err());
        assert!(serde_json::from_str::<Price>(&good.replace("up4\"", "up4\",\"min_price\":\"1\"")).is_err());
    }
}

//! A price as rating samples write it: `start_s`, `unit_s`, `increment_s`, and the ways other systems cut time.
//!
//! Whatever another system calls it, it becomes a [`Price`] and is rated like any other.

use jiff::civil::Time;
use serde::Deserialize;

use crate::amount::{Micros, Nanos};
use crate::currency::{Currency, NotACurrency};
use crate::period::{Among, Period};
use crate::price::{BadPrice, ConnectFeeMode, MaxCost, Price, PriceRows, Tier};
use crate::rounding::{NotARounding, Rounding, RoundingMethod};
use crate::zone::Zone;

/// The terms of a sample. One that is unknown is refused: without it the price would be another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    connect_fee: Option<Micros>,
    connect_fee_mode: Option<ConnectFeeMode>,
    tiers: Option<Vec<SpecTier>>,
    periods: Option<Vec<SpecPeriod>>,
    segments: Option<Vec<Segment>>,
    rounding: Option<SpecRounding>,
    min_cost: Option<Micros>,
    max_cost: Option<MaxCost>,
    included_s: Option<u32>,
    no_charge_s: Option<u32>,
    block_model: Option<BlockModel>,
    /// The first block, where the increment says only how it goes on.
    initial_s: Option<u32>,
    #[serde(alias = "timezone")]
    time_zone: Option<Zone>,
    currency: Option<Currency>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecTier {
    start_s: u32,
    rate: Nanos,
    unit_s: u32,
    increment_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecPeriod {
    connect_fee: Option<Micros>,
    tiers: Vec<SpecTier>,
    from: Option<Time>,
    weekdays: Option<Among<7>>,
    months: Option<Among<12>>,
    month_days: Option<Among<31>>,
    weight: Option<i32>,
}

/// A stretch of the call with a rate and a fee of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Segment {
    fixed_fee: Option<Micros>,
    rate: Nanos,
    unit_s: u32,
    increment_s: u32,
    seconds: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecRounding {
    method: String,
    decimals: u8,
}

/// How a call's time becomes blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BlockModel {
    /// After the first block, one increment after another.
    FirstNext,
    /// A call longer than the first block is charged for the next whole multiple of the increment, counted from its
    /// beginning.
    TotalMultiple,
}

/// A sample that is no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    #[error("rounding: {0}")]
    Rounding(#[from] NotARounding),
    #[error("currency: {0}")]
    Currency(#[from] NotACurrency),
    #[error("segments stand alone, without tiers, periods, initial_s and block_model")]
    Segments,
    #[error("the segments last longer than 4294967295 seconds")]
    SegmentsTooLong,
    #[error("initial_s must be at least 1, and no longer than the first tier")]
    Initial,
    #[error(transparent)]
    Price(#[from] BadPrice),
}

impl TryFrom<Spec> for Price {
    type Error = BadSpec;
    fn try_from(spec: Spec) -> Result<Self, BadSpec> {
        let rounding = spec.rounding.clone().map_or(Ok(Rounding::default()), Rounding::try_from)?;
        let currency = spec.currency.map_or_else(|| "XXX".parse(), Ok)?;
        let connect_fee = spec.connect_fee.unwrap_or_default();
        let mut rows = PriceRows::plain(currency, connect_fee, spec.base_tiers()?, rounding);
        for period in spec.periods.iter().flatten() {
            rows.periods.push(Period {
                weekdays: period.weekdays.unwrap_or_default(),
                months: period.months.unwrap_or_default(),
                month_days: period.month_days.unwrap_or_default(),
                from: period.from.unwrap_or_default(),
                weight: period.weight.unwrap_or_default(),
                connect_fee: period.connect_fee.unwrap_or(connect_fee),
                tiers: spec.blocks(&period.tiers)?,
            });
        }
        rows.connect_fee_mode = spec.connect_fee_mode.unwrap_or_default();
        rows.min_cost = spec.min_cost.unwrap_or_default();
        rows.max_cost = spec.max_cost;
        rows.included_secs = spec.included_s.unwrap_or_default();
        rows.no_charge_secs = spec.no_charge_s.unwrap_or_default();
        rows.time_zone = spec.time_zone.unwrap_or_default();
        Ok(Self::check(rows)?)
    }
}

impl Spec {
    fn base_tiers(&self) -> Result<Vec<Tier>, BadSpec> {
        let Some(segments) = &self.segments else {
            let tiers = self.tiers.as_deref().unwrap_or_default();
            return if tiers.is_empty() { Ok(Vec::new()) } else { self.blocks(tiers) };
        };
        let others = self.tiers.is_some() || self.periods.is_some();
        if others || self.initial_s.is_some() || self.block_model.is_some() {
            return Err(BadSpec::Segments);
        }
        let mut start_secs: u32 = 0;
        let tiers = segments.iter().enumerate().map(|(index, segment)| {
            let tier = Tier {
                start_secs,
                rate: segment.rate,
                unit_secs: segment.unit_s,
                increment_secs: segment.increment_s,
                fee: segment.fixed_fee.unwrap_or_default(),
            };
            match start_secs.checked_add(segment.seconds) {
                Some(next) => start_secs = next,
                // The last one goes on for ever anyway.
                None if index.saturating_add(1) == segments.len() => {}
                None => return Err(BadSpec::SegmentsTooLong),
            }
            Ok(tier)
        });
        tiers.collect()
    }

    /// The tiers, with the first block in front of them.
    fn blocks(&self, tiers: &[SpecTier]) -> Result<Vec<Tier>, BadSpec> {
        let mut blocks: Vec<Tier> = tiers.iter().map(SpecTier::tier).collect();
        let (Some(initial_secs), Some(&first)) = (self.initial_s, blocks.first()) else { return Ok(blocks) };
        let end_secs = blocks.get(1).map_or(u32::MAX, |next| next.start_secs);
        let mut front = vec![Tier { increment_secs: initial_secs, ..first }];
        let goes_on = match self.block_model {
            Some(BlockModel::TotalMultiple) => {
                // One short block leads from the first to the next whole multiple of the increment.
                let after =
                    initial_secs.checked_add(1).and_then(|secs| secs.checked_next_multiple_of(first.increment_secs));
                let multiple = after.ok_or(BadSpec::Initial)?;
                if multiple <= end_secs {
                    let increment_secs = multiple.saturating_sub(initial_secs);
                    front.push(Tier { start_secs: initial_secs, increment_secs, fee: Micros::ZERO, ..first });
                }
                multiple
            }
            Some(BlockModel::FirstNext) | None => initial_secs,
        };
        if initial_secs == 0 || goes_on > end_secs {
            return Err(BadSpec::Initial);
        }
        if goes_on < end_secs {
            front.push(Tier { start_secs: goes_on, fee: Micros::ZERO, ..first });
        }
        front.extend(blocks.drain(1..));
        Ok(front)
    }
}

impl SpecTier {
    fn tier(&self) -> Tier {
        let Self { start_s, rate, unit_s, increment_s } = *self;
        Tier { start_secs: start_s, rate, unit_secs: unit_s, increment_secs: increment_s, fee: Micros::ZERO }
    }
}

impl TryFrom<SpecRounding> for Rounding {
    type Error = NotARounding;
    fn try_from(rounding: SpecRounding) -> Result<Self, NotARounding> {
        let method = RoundingMethod::ALL.into_iter().find(|method| method.as_str() == rounding.method);
        Self::new(method.ok_or(NotARounding)?, rounding.decimals)
    }
}

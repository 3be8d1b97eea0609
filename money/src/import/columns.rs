//! The columns of a price list, and what one line of it says.

use csv::{ByteRecord, StringRecord};

use super::Reason;
use crate::amount::{Fixed, Micros};
use crate::currency::Currency;
use crate::period::{Among, Period};
use crate::price::{ConnectFeeMode, MaxCost, MaxCostStrategy, Price, PriceRows, Tier};
use crate::rounding::Rounding;
use crate::zone::Zone;

/// In the order of the documentation.
pub(super) const COLUMNS: [&str; 20] = [
    "prefix",
    "destination",
    "connect_fee",
    "rate",
    "unit_s",
    "increments",
    "rounding",
    "currency",
    "start_s",
    "weekdays",
    "months",
    "month_days",
    "from",
    "weight",
    "time_zone",
    "connect_fee_mode",
    "min_cost",
    "max_cost",
    "included_s",
    "no_charge_s",
];

/// The terms of one line: of the whole call, and a tier or two of one period or of the time without.
pub(super) struct Terms {
    pub rows: PriceRows,
    pub tiers: Vec<Tier>,
    /// Its tiers are still empty.
    pub period: Option<Period>,
}

/// Where each column stands, if it does.
pub(super) struct Columns {
    pub count: usize,
    pub prefix: Column,
    pub destination: Column,
    connect_fee: Column,
    rate: Column,
    unit: Column,
    increments: Column,
    rounding: Column,
    currency: Column,
    start: Column,
    weekdays: Column,
    months: Column,
    month_days: Column,
    from: Column,
    weight: Column,
    time_zone: Column,
    connect_fee_mode: Column,
    min_cost: Column,
    max_cost: Column,
    included: Column,
    no_charge: Column,
}

pub(super) struct Column {
    name: &'static str,
    at: Option<usize>,
}

impl Column {
    /// The field, or what a missing or empty one means.
    pub(super) fn of<'a>(&self, record: &'a StringRecord, default: &'a str) -> &'a str {
        self.at.and_then(|index| record.get(index)).filter(|text| !text.is_empty()).unwrap_or(default)
    }

    fn amount<const PLACES: usize>(&self, record: &StringRecord, default: &str) -> Result<Fixed<PLACES>, Reason> {
        let text = self.of(record, default);
        Fixed::parse(text).map_err(|error| Reason::Amount { column: self.name, text: text.to_owned(), error })
    }

    fn seconds(&self, record: &StringRecord, default: &str) -> Result<u32, Reason> {
        let text = self.of(record, default);
        whole(text).ok_or_else(|| Reason::Seconds { column: self.name, text: text.to_owned() })
    }

    fn calendar<const MAX: u8>(&self, record: &StringRecord) -> Result<Among<MAX>, Reason> {
        let text = self.of(record, "");
        text.parse().map_err(|error| Reason::Calendar { column: self.name, text: text.to_owned(), error })
    }
}

impl Columns {
    pub(super) fn read(header: &ByteRecord) -> Result<Self, Reason> {
        let names = StringRecord::from_byte_record(header.clone()).map_err(|_| Reason::NotText)?;
        for (index, name) in names.iter().enumerate() {
            if !COLUMNS.contains(&name) {
                return Err(Reason::UnknownColumn(name.to_owned()));
            }
            if names.iter().take(index).any(|before| before == name) {
                return Err(Reason::RepeatedColumn(name.to_owned()));
            }
        }
        let optional = |name| Column { name, at: names.iter().position(|column| column == name) };
        let required = |name| match optional(name) {
            Column { at: None, .. } => Err(Reason::MissingColumn(name)),
            found @ Column { at: Some(_), .. } => Ok(found),
        };
        Ok(Self {
            count: names.len(),
            prefix: required("prefix")?,
            rate: required("rate")?,
            currency: required("currency")?,
            destination: optional("destination"),
            connect_fee: optional("connect_fee"),
            unit: optional("unit_s"),
            increments: optional("increments"),
            rounding: optional("rounding"),
            start: optional("start_s"),
            weekdays: optional("weekdays"),
            months: optional("months"),
            month_days: optional("month_days"),
            from: optional("from"),
            weight: optional("weight"),
            time_zone: optional("time_zone"),
            connect_fee_mode: optional("connect_fee_mode"),
            min_cost: optional("min_cost"),
            max_cost: optional("max_cost"),
            included: optional("included_s"),
            no_charge: optional("no_charge_s"),
        })
    }

    pub(super) fn terms(&self, record: &StringRecord, zone: &mut Zone) -> Result<Terms, Reason> {
        let connect_fee = self.connect_fee.amount(record, "0")?;
        let rate = self.rate.amount(record, "")?;
        let unit_secs = self.unit.seconds(record, "60")?;
        let text = self.increments.of(record, "1/1");
        let (first, next) = increments(text).ok_or_else(|| Reason::Increments(text.to_owned()))?;
        let text = self.rounding.of(record, "up4");
        let rounding = text.parse::<Rounding>();
        let rounding = rounding.map_err(|error| Reason::Rounding { text: text.to_owned(), error })?;
        let text = self.currency.of(record, "");
        let currency = text.parse::<Currency>();
        let currency = currency.map_err(|error| Reason::Currency { text: text.to_owned(), error })?;
        let start_secs = self.start.seconds(record, "0")?;
        let tier = Tier { start_secs, rate, unit_secs, increment_secs: first, fee: Micros::ZERO };
        let mut tiers = vec![tier];
        if next != first {
            let start_secs =
                start_secs.checked_add(first).ok_or_else(|| Reason::Increments(format!("{first}/{next}")))?;
            tiers.push(Tier { start_secs, increment_secs: next, ..tier });
        }
        // What is wrong with these tiers alone is wrong on this line.
        let alone = tiers.iter().map(|tier| Tier { start_secs: tier.start_secs.saturating_sub(start_secs), ..*tier });
        Price::new(currency, connect_fee, alone.collect(), rounding)?;
        let mut rows = PriceRows::plain(currency, connect_fee, Vec::new(), rounding);
        rows.connect_fee_mode = match self.connect_fee_mode.of(record, "add") {
            "add" => ConnectFeeMode::Add,
            "minimum" => ConnectFeeMode::Minimum,
            other => return Err(Reason::Mode(other.to_owned())),
        };
        rows.min_cost = self.min_cost.amount(record, "0")?;
        rows.max_cost = max_cost(self.max_cost.of(record, ""))?;
        rows.included_secs = self.included.seconds(record, "0")?;
        rows.no_charge_secs = self.no_charge.seconds(record, "0")?;
        let text = self.time_zone.of(record, "UTC");
        if text != zone.as_str() {
            *zone = text.parse().map_err(|error| Reason::Zone { text: text.to_owned(), error })?;
        }
        rows.time_zone = zone.clone();
        Ok(Terms { rows, tiers, period: self.period(record, connect_fee)? })
    }

    fn period(&self, record: &StringRecord, connect_fee: Micros) -> Result<Option<Period>, Reason> {
        let columns = [&self.weekdays, &self.months, &self.month_days, &self.from, &self.weight];
        if columns.iter().all(|column| column.of(record, "").is_empty()) {
            return Ok(None);
        }
        let from = self.from.of(record, "00:00");
        let weight = self.weight.of(record, "0");
        Ok(Some(Period {
            weekdays: self.weekdays.calendar(record)?,
            months: self.months.calendar(record)?,
            month_days: self.month_days.calendar(record)?,
            from: from.parse().map_err(|_| Reason::From(from.to_owned()))?,
            weight: weight.parse().map_err(|_| Reason::Weight(weight.to_owned()))?,
            connect_fee,
            tiers: Vec::new(),
        }))
    }
}

/// `2 free` or `2 disconnect`.
fn max_cost(text: &str) -> Result<Option<MaxCost>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || Reason::MaxCost(text.to_owned());
    let (amount, strategy) = text.split_once(' ').ok_or_else(bad)?;
    let strategy = match strategy.trim() {
        "free" => MaxCostStrategy::Free,
        "disconnect" => MaxCostStrategy::Disconnect,
        _ => return Err(bad()),
    };
    Ok(Some(MaxCost { amount: Micros::parse(amount).map_err(|_| bad())?, strategy }))
}

/// `60/6` is 60 seconds first, then 6 at a time.
fn increments(text: &str) -> Option<(u32, u32)> {
    let (first, next) = text.split_once('/')?;
    let (first, next) = (whole(first)?, whole(next)?);
    (first > 0 && next > 0).then_some((first, next))
}

fn whole(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

//! The columns of a price list, and what one line of it says.

use std::borrow::Cow;

use csv::StringRecord;
use jiff::Timestamp;

use super::decimal::{Decimals, Unread};
use super::format::{DeckFormat, Header};
use super::{Reason, Sheet, day};
use crate::amount::{Fixed, Micros};
use crate::currency::Currency;
use crate::period::{Among, Period};
use crate::price::{ConnectFeeMode, MaxCost, MaxCostStrategy, Price, PriceRows, Tier};
use crate::rounding::Rounding;
use crate::zone::Zone;

/// In the order of the documentation.
pub(crate) const COLUMNS: [&str; 20] = [
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

/// How many of them, from the first, most decks do with.
pub(crate) const COLUMNS_OF_MOST: usize = 8;

/// The terms of one line: of the whole call, and a tier or two of one period or of the time without.
pub(super) struct Terms {
    pub rows: PriceRows,
    pub tiers: Vec<Tier>,
    /// Its tiers are still empty.
    pub period: Option<Period>,
}

/// Where each column stands, if it does, and how the sheet writes what stands in them.
pub(super) struct Columns {
    pub count: usize,
    pub prefix: Column,
    destination: Column,
    country: Column,
    connect_fee: Column,
    rate: Column,
    rate_per_second: Column,
    unit: Column,
    increments: Column,
    first: Column,
    next: Column,
    rounding: Column,
    rounding_method: Column,
    rounding_decimals: Column,
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
    max_cost_amount: Column,
    max_cost_strategy: Column,
    included: Column,
    no_charge: Column,
    effective: Column,
    ends: Column,
    /// Columns whose rows are taken only when they say this.
    conditions: Vec<Condition>,
    /// Of a sheet whose lines do not say it.
    only_currency: Option<Currency>,
    in_force_at: Option<Timestamp>,
    decimals: Decimals,
    ours: bool,
}

/// A column that must say something, under the sheet's own name for it.
struct Condition {
    at: usize,
    heading: String,
    holds: Holds,
}

type Holds = fn(&str) -> bool;

pub(super) struct Column {
    name: &'static str,
    at: Option<usize>,
}

impl Column {
    /// The field, or what a missing or empty one means.
    pub(super) fn of<'a>(&self, record: &'a StringRecord, default: &'a str) -> &'a str {
        self.at.and_then(|index| record.get(index)).filter(|text| !text.is_empty()).unwrap_or(default)
    }

    fn amount<const PLACES: usize>(
        &self,
        record: &StringRecord,
        default: &str,
        decimals: Decimals,
    ) -> Result<Fixed<PLACES>, Reason> {
        let text = self.of(record, default);
        let column = self.name;
        let plain = decimals.plain(text).map_err(|unread| match unread {
            Unread::Otherwise => Reason::DecimalsOtherwise { column, text: text.to_owned() },
            Unread::Untold => Reason::DecimalsUntold { column, text: text.to_owned() },
        })?;
        Fixed::parse(&plain).map_err(|error| Reason::Amount { column, text: text.to_owned(), error })
    }

    fn seconds(&self, record: &StringRecord, default: &str) -> Result<u32, Reason> {
        let text = self.of(record, default);
        whole(text).ok_or_else(|| Reason::Seconds { column: self.name, text: text.to_owned() })
    }

    fn calendar<const MAX: u8>(&self, record: &StringRecord) -> Result<Among<MAX>, Reason> {
        let text = self.of(record, "");
        text.parse().map_err(|error| Reason::Calendar { column: self.name, text: text.to_owned(), error })
    }

    fn begins(&self, record: &StringRecord) -> Result<Option<Timestamp>, Reason> {
        match self.of(record, "") {
            "" => Ok(None),
            text => match day::begins(text) {
                Some(at) => Ok(Some(at)),
                None => Err(Reason::Day(text.to_owned())),
            },
        }
    }
}

impl Columns {
    pub(super) fn of(header: &Header, names: &StringRecord, sheet: &Sheet, decimals: Decimals) -> Result<Self, Reason> {
        let column = |name| Column { name, at: header.columns.iter().position(|column| *column == name) };
        let currency = column("currency");
        if let (Some(found), Some(expected)) = (header.currency, sheet.currency)
            && found != expected
        {
            return Err(Reason::OtherCurrency { found, expected });
        }
        let only_currency = header.currency.or(sheet.currency);
        if currency.at.is_none() && only_currency.is_none() {
            return Err(Reason::MissingColumn("currency"));
        }
        let conditions = header.columns.iter().zip(names).enumerate().filter_map(|(index, (column, name))| {
            Some(Condition { at: index, heading: name.to_owned(), holds: condition(column)? })
        });
        Ok(Self {
            count: header.columns.len(),
            conditions: conditions.collect(),
            prefix: column("prefix"),
            rate: column("rate"),
            rate_per_second: column("rate_s"),
            currency,
            destination: column("destination"),
            country: column("country"),
            connect_fee: column("connect_fee"),
            unit: column("unit_s"),
            increments: column("increments"),
            first: column("first_s"),
            next: column("next_s"),
            rounding: column("rounding"),
            rounding_method: column("rounding_method"),
            rounding_decimals: column("rounding_decimals"),
            start: column("start_s"),
            weekdays: column("weekdays"),
            months: column("months"),
            month_days: column("month_days"),
            from: column("from"),
            weight: column("weight"),
            time_zone: column("time_zone"),
            connect_fee_mode: column("connect_fee_mode"),
            min_cost: column("min_cost"),
            max_cost: column("max_cost"),
            max_cost_amount: column("max_cost_amount"),
            max_cost_strategy: column("max_cost_strategy"),
            included: column("included_s"),
            no_charge: column("no_charge_s"),
            effective: column("effective"),
            ends: column("ends"),
            only_currency,
            in_force_at: sheet.in_force_at,
            decimals,
            ours: header.format == DeckFormat::Callbus,
        })
    }

    /// Whether the row is for every call, and in force when the sheet is to be.
    pub(super) fn check(&self, record: &StringRecord) -> Result<(), Reason> {
        for Condition { at, heading, holds } in &self.conditions {
            let text = record.get(*at).unwrap_or_default();
            if !holds(&text.to_ascii_lowercase()) {
                return Err(Reason::Conditional { column: heading.clone(), text: text.to_owned() });
            }
        }
        let (begins, ends) = (self.effective.begins(record)?, self.ends.begins(record)?);
        let Some(at) = self.in_force_at else { return Ok(()) };
        match (begins, ends) {
            (Some(begins), _) if begins > at => Err(Reason::Later { begins, at }),
            (_, Some(ends)) if ends <= at => Err(Reason::Ended { ends, at }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// The name of the place, after its country where both stand there and one does not hold the other.
    pub(super) fn destination<'a>(&self, record: &'a StringRecord) -> Cow<'a, str> {
        match (self.country.of(record, ""), self.destination.of(record, "")) {
            (country, "") => country.into(),
            (country, destination) if destination.contains(country) => destination.into(),
            (country, destination) => format!("{country} {destination}").into(),
        }
    }

    pub(super) fn terms(&self, record: &StringRecord, zone: &mut Zone) -> Result<Terms, Reason> {
        let connect_fee = self.connect_fee.amount(record, "0", self.decimals)?;
        let (rate, unit) = match self.rate.at {
            Some(_) => (&self.rate, "60"),
            None => (&self.rate_per_second, "1"),
        };
        let rate = rate.amount(record, "", self.decimals)?;
        let unit_secs = self.unit.seconds(record, unit)?;
        let (first, next) = self.increments(record)?;
        let rounding = self.rounding(record)?;
        let currency = self.currency(record)?;
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
        rows.min_cost = self.min_cost.amount(record, "0", self.decimals)?;
        rows.max_cost = self.max_cost(record)?;
        rows.included_secs = self.included.seconds(record, "0")?;
        rows.no_charge_secs = self.no_charge.seconds(record, "0")?;
        let text = self.time_zone.of(record, "UTC");
        if text != zone.as_str() {
            *zone = text.parse().map_err(|error| Reason::Zone { text: text.to_owned(), error })?;
        }
        rows.time_zone = zone.clone();
        Ok(Terms { rows, tiers, period: self.period(record, connect_fee)? })
    }

    /// The seconds that are charged whole, first and then each time. Elsewhere a `0` first means: as the next.
    fn increments(&self, record: &StringRecord) -> Result<(u32, u32), Reason> {
        let bad = |text: &str| Reason::Increments(text.to_owned());
        let pair = |text: &str| match text.split_once('/') {
            Some((first, next)) => Some((whole(first.trim())?, whole(next.trim())?)),
            None if self.ours => None,
            None => whole(text).map(|secs| (secs, secs)),
        };
        let (first, next) = match (self.first.of(record, ""), self.next.of(record, "")) {
            ("", "") => {
                let text = self.increments.of(record, "1/1");
                pair(text).filter(|(first, _)| *first > 0 || !self.ours).ok_or_else(|| bad(text))?
            }
            ("", text) => pair(text).ok_or_else(|| bad(text))?,
            (text, "") => (whole(text).ok_or_else(|| bad(text))?, 1),
            (first, next) => (whole(first).ok_or_else(|| bad(first))?, whole(next).ok_or_else(|| bad(next))?),
        };
        match (first, next) {
            (_, 0) => Err(bad(&format!("{first}/{next}"))),
            (0, next) => Ok((next, next)),
            (first, next) => Ok((first, next)),
        }
    }

    fn rounding(&self, record: &StringRecord) -> Result<Rounding, Reason> {
        let method = match self.rounding_method.of(record, "*up") {
            "*up" => "up",
            "*down" => "down",
            "*middle" => "half_up",
            other => other,
        };
        let text = match self.rounding_method.at {
            Some(_) => Cow::from(format!("{method}{}", self.rounding_decimals.of(record, "4"))),
            None => self.rounding.of(record, "up4").into(),
        };
        text.parse().map_err(|error| Reason::Rounding { text: text.into_owned(), error })
    }

    fn currency(&self, record: &StringRecord) -> Result<Currency, Reason> {
        let text = match (self.currency.of(record, ""), self.only_currency) {
            ("", Some(currency)) => return Ok(currency),
            (text, _) => text,
        };
        let found: Currency = text.parse().map_err(|error| Reason::Currency { text: text.to_owned(), error })?;
        match self.only_currency {
            Some(expected) if found != expected => Err(Reason::OtherCurrency { found, expected }),
            Some(_) | None => Ok(found),
        }
    }

    /// `2 free` or `2 disconnect`; CGRateS has two columns for it.
    fn max_cost(&self, record: &StringRecord) -> Result<Option<MaxCost>, Reason> {
        let text = match self.max_cost_amount.of(record, "0") {
            "0" => Cow::from(self.max_cost.of(record, "")),
            amount => format!("{amount} {}", self.max_cost_strategy.of(record, "").trim_start_matches('*')).into(),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let bad = || Reason::MaxCost(text.to_string());
        let (amount, strategy) = text.split_once(' ').ok_or_else(bad)?;
        let strategy = match strategy.trim() {
            "free" => MaxCostStrategy::Free,
            "disconnect" => MaxCostStrategy::Disconnect,
            _ => return Err(bad()),
        };
        Ok(Some(MaxCost { amount: Micros::parse(amount).map_err(|_| bad())?, strategy }))
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

/// What a column must say for its row to be taken; in lower case.
fn condition(column: &str) -> Option<Holds> {
    Some(match column {
        "@on" => |text| ["", "true", "t", "1", "yes", "y", "enabled"].contains(&text),
        "@off" => |text| ["", "false", "f", "0", "no", "n", "disabled"].contains(&text),
        "@empty" => |text| ["", "[]", "{}"].contains(&text),
        "@zero" => |text| text.bytes().all(|byte| matches!(byte, b'0' | b'.' | b',')),
        "@outbound" => |text| text.is_empty() || text.contains("outbound"),
        "@everywhere" => |text| ["", "international", "local"].contains(&text),
        _ => return None,
    })
}

/// Whole seconds; `60s` and `1m` too.
fn whole(text: &str) -> Option<u32> {
    let (digits, unit_secs) = match text.strip_suffix(['s', 'm']) {
        Some(digits) => (digits, if text.ends_with('m') { 60 } else { 1 }),
        None => (text, 1_u32),
    };
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok()?.checked_mul(unit_secs))?
}

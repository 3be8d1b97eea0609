//! Reading a deck from CSV: everything is checked, every bad line is named, and all is loaded or nothing.
//!
//! The header names the columns, in any order. `prefix`, `rate` and `currency` must be there; the others may be missing
//! or empty: `destination` (no name), `connect_fee` (0), `unit_s` (60), `increments` (`1/1`, first/next seconds) and
//! `rounding` (`up4`). The currency stands in the file, so that a price list says what its numbers mean, and is the same
//! on every line: one deck, one currency.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use csv::{ByteRecord, ReaderBuilder, StringRecord, Trim};

use crate::amount::{BadAmount, Micros, Nanos};
use crate::currency::{Currency, NotACurrency};
use crate::deck::{Builder, Deck, Prefix};
use crate::price::{BadPrice, Price, Tier};
use crate::rounding::{NotARounding, Rounding};

/// How many bad lines are named; the rest are only counted.
pub const BAD_LINES_MAX: usize = 100;

const COLUMNS: [&str; 8] =
    ["prefix", "destination", "connect_fee", "rate", "unit_s", "increments", "rounding", "currency"];

/// Why a deck was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DeckErrors {
    pub deck: String,
    /// The first [`BAD_LINES_MAX`] bad lines.
    pub lines: Vec<BadLine>,
    /// How many lines are bad in all.
    pub count: usize,
}

/// A line that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1, the header included.
    pub line: u64,
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the header lacks the column {0:?}; it needs prefix, rate and currency")]
    MissingColumn(&'static str),
    #[error("the header names the column {0:?} twice")]
    RepeatedColumn(String),
    #[error("the header names the unknown column {0:?}; known are {known}", known = COLUMNS.join(", "))]
    UnknownColumn(String),
    #[error("it has {found} fields, the header has {expected}")]
    Fields { found: usize, expected: usize },
    #[error("it is not readable as CSV in UTF-8")]
    NotText,
    #[error("the prefix {0:?} is not 1 to 15 digits, the first not 0")]
    Prefix(String),
    #[error("the prefix {prefix:?} stands on line {first_line} already")]
    RepeatedPrefix { prefix: String, first_line: u64 },
    #[error("the destination holds a line break or another control character; is a quote left open?")]
    Destination,
    #[error("the {column} {text:?} is {error}")]
    Amount { column: &'static str, text: String, error: BadAmount },
    #[error("the unit_s {0:?} is not a whole number of seconds")]
    Unit(String),
    #[error("the increments {0:?} are not first/next seconds, such as 60/6")]
    Increments(String),
    #[error("the rounding {text:?} is {error}")]
    Rounding { text: String, error: NotARounding },
    #[error("the currency {text:?} is {error}")]
    Currency { text: String, error: NotACurrency },
    #[error("the currency is {found}, but {expected} on the lines before: a deck has one currency")]
    OtherCurrency { found: Currency, expected: Currency },
    #[error(transparent)]
    Price(#[from] BadPrice),
}

impl Deck {
    /// Reads a whole deck; see the [module](self) for the columns.
    ///
    /// # Errors
    /// When anything at all is wrong, with line and reason of every bad line.
    ///
    /// ```
    /// let csv = b"prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency
    /// 44,UK,0,0.02,60,60/6,up4,EUR
    /// 447,UK mobile,0.01,0.05,60,60/1,up4,EUR";
    /// let deck = money::Deck::from_csv("retail", csv).unwrap();
    /// let number = proto::PhoneNumber::parse("+447700900123").unwrap();
    /// assert_eq!(deck.lookup(&number).unwrap().destination, "UK mobile");
    /// ```
    pub fn from_csv(name: impl Into<String>, bytes: &[u8]) -> Result<Self, DeckErrors> {
        let mut errors = DeckErrors { deck: name.into(), lines: Vec::new(), count: 0 };
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes);
        let mut records = reader.byte_records();
        let header = records.next().and_then(Result::ok).unwrap_or_default();
        let columns = match Columns::read(&header) {
            Ok(columns) => columns,
            Err(reason) => {
                errors.add(1, reason);
                return Err(errors);
            }
        };
        let mut lines = Lines { columns, deck: Builder::default(), prefixes: HashMap::new(), currency: None };
        let mut numbers = LineNumbers { bytes, at: 0, line: 1 };
        for record in records {
            let position = match &record {
                Ok(record) => record.position(),
                Err(error) => error.position(),
            };
            let line = numbers.of(position.map_or(0, csv::Position::byte));
            let loaded = record
                .ok()
                .and_then(|record| StringRecord::from_byte_record(record).ok())
                .ok_or(Reason::NotText)
                .and_then(|record| lines.load(line, &record));
            if let Err(reason) = loaded {
                errors.add(line, reason);
            }
        }
        if errors.count == 0 { Ok(lines.deck.build(errors.deck)) } else { Err(errors) }
    }
}

/// What has been read so far.
struct Lines {
    columns: Columns,
    deck: Builder,
    /// Where each prefix stood first.
    prefixes: HashMap<Prefix, u64>,
    currency: Option<Currency>,
}

impl Lines {
    fn load(&mut self, line: u64, record: &StringRecord) -> Result<(), Reason> {
        let columns = &self.columns;
        if record.len() != columns.count {
            return Err(Reason::Fields { found: record.len(), expected: columns.count });
        }
        let text = columns.prefix.of(record, "");
        let prefix = Prefix::parse(text).ok_or_else(|| Reason::Prefix(text.to_owned()))?;
        match self.prefixes.entry(prefix) {
            Entry::Occupied(first) => {
                return Err(Reason::RepeatedPrefix { prefix: text.to_owned(), first_line: *first.get() });
            }
            Entry::Vacant(entry) => entry.insert(line),
        };
        let destination = columns.destination.of(record, "");
        if destination.contains(char::is_control) {
            return Err(Reason::Destination);
        }
        let price = columns.price(record)?;
        let (found, expected) = (price.currency(), *self.currency.get_or_insert(price.currency()));
        if found != expected {
            return Err(Reason::OtherCurrency { found, expected });
        }
        self.deck.add(prefix, destination, price);
        Ok(())
    }
}

/// The lines on which records begin. The reader's own count stands before the blank lines and the second half of a
/// CRLF that it skips.
struct LineNumbers<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl LineNumbers<'_> {
    /// The line of the record that the reader found from `byte` on; the records come in order.
    fn of(&mut self, byte: u64) -> u64 {
        let found = usize::try_from(byte).unwrap_or(usize::MAX);
        let passed = self.bytes.iter().enumerate().skip(self.at);
        let passed = passed.take_while(|(at, byte)| *at < found || matches!(byte, b'\r' | b'\n'));
        for (at, byte) in passed {
            self.at = at.saturating_add(1);
            self.line = self.line.saturating_add(u64::from(*byte == b'\n'));
        }
        self.line
    }
}

/// Where each column stands, if it does.
struct Columns {
    count: usize,
    prefix: Column,
    destination: Column,
    connect_fee: Column,
    rate: Column,
    unit: Column,
    increments: Column,
    rounding: Column,
    currency: Column,
}

struct Column(Option<usize>);

impl Column {
    /// The field, or what a missing or empty one means.
    fn of<'a>(&self, record: &'a StringRecord, default: &'a str) -> &'a str {
        self.0.and_then(|index| record.get(index)).filter(|text| !text.is_empty()).unwrap_or(default)
    }
}

impl Columns {
    fn read(header: &ByteRecord) -> Result<Self, Reason> {
        let names = StringRecord::from_byte_record(header.clone()).map_err(|_| Reason::NotText)?;
        for (index, name) in names.iter().enumerate() {
            if !COLUMNS.contains(&name) {
                return Err(Reason::UnknownColumn(name.to_owned()));
            }
            if names.iter().take(index).any(|before| before == name) {
                return Err(Reason::RepeatedColumn(name.to_owned()));
            }
        }
        let optional = |name: &str| Column(names.iter().position(|column| column == name));
        let required = |name| match optional(name) {
            Column(None) => Err(Reason::MissingColumn(name)),
            found @ Column(Some(_)) => Ok(found),
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
        })
    }

    fn price(&self, record: &StringRecord) -> Result<Price, Reason> {
        let amount_error = |column, text: &str| {
            let text = text.to_owned();
            move |error| Reason::Amount { column, text, error }
        };
        let text = self.connect_fee.of(record, "0");
        let connect_fee = Micros::parse(text).map_err(amount_error("connect_fee", text))?;
        let text = self.rate.of(record, "");
        let rate = Nanos::parse(text).map_err(amount_error("rate", text))?;
        let text = self.unit.of(record, "60");
        let unit_secs = whole(text).ok_or_else(|| Reason::Unit(text.to_owned()))?;
        let text = self.increments.of(record, "1/1");
        let (first, next) = increments(text).ok_or_else(|| Reason::Increments(text.to_owned()))?;
        let text = self.rounding.of(record, "up4");
        let rounding = text.parse::<Rounding>();
        let rounding = rounding.map_err(|error| Reason::Rounding { text: text.to_owned(), error })?;
        let text = self.currency.of(record, "");
        let currency = text.parse::<Currency>();
        let currency = currency.map_err(|error| Reason::Currency { text: text.to_owned(), error })?;
        let mut tiers = vec![Tier { start_secs: 0, rate, unit_secs, increment_secs: first }];
        if next != first {
            tiers.push(Tier { start_secs: first, rate, unit_secs, increment_secs: next });
        }
        Ok(Price::new(currency, connect_fee, tiers, rounding)?)
    }
}

/// `60/6` is 60 seconds first, then 6 at a time (money.md, *Rating rules* 2).
fn increments(text: &str) -> Option<(u32, u32)> {
    let (first, next) = text.split_once('/')?;
    let (first, next) = (whole(first)?, whole(next)?);
    (first > 0 && next > 0).then_some((first, next))
}

fn whole(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl DeckErrors {
    fn add(&mut self, line: u64, reason: Reason) {
        self.count = self.count.saturating_add(1);
        if self.lines.len() < BAD_LINES_MAX {
            self.lines.push(BadLine { line, reason });
        }
    }
}

impl fmt::Display for DeckErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the deck {:?} was not loaded, {} of its lines are bad:", self.deck, self.count)?;
        for BadLine { line, reason } in &self.lines {
            write!(f, "\n  line {line}: {reason}")?;
        }
        match self.count.saturating_sub(self.lines.len()) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

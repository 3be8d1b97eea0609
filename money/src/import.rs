//! Reading a deck from CSV: everything is checked, every bad line is named, and all is loaded or nothing.
//!
//! The header names the columns, in any order. `prefix`, `rate` and `currency` must be there; the others may be missing
//! or empty: `destination` (no name), `connect_fee` (0), `unit_s` (60), `increments` (`1/1`, first/next seconds) and
//! `rounding` (`up4`). The currency stands in the file, so that a price list says what its numbers mean, and is the same
//! on every line: one deck, one currency.
//!
//! A prefix may have several lines, one below the other: a line for each tier (`start_s`) and each period (`weekdays`,
//! `months`, `month_days`, `from`, `weight`). The line without a period holds where no period is in force, and must be
//! there. What is said of the whole call is the same on all of them: `destination`, `rounding`, `connect_fee_mode` (`add`
//! or `minimum`), `min_cost`, `max_cost` (`2 free` or `2 disconnect`), `included_s`, `no_charge_s`, `time_zone`.
//!
//! Rate sheets of carriers and of other systems are read too ([`Deck::from_sheet`]): their [`DeckFormat`] is found by the
//! header, as are the delimiter and the way decimals are written. A column that no format knows is refused, since it
//! may say something about the price.

use std::collections::HashMap;
use std::fmt;

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord, Trim};
use jiff::Timestamp;

use crate::amount::BadAmount;
use crate::currency::{Currency, NotACurrency};
use crate::deck::{Builder, Deck, Prefix};
use crate::period::NotAmong;
use crate::price::{BadPrice, Price, PriceRows};
use crate::rounding::NotARounding;
use crate::zone::{NotAZone, Zone};
use columns::{Columns, Terms};
use decimal::Decimals;
use format::Header;

mod columns;
mod day;
mod decimal;
mod format;

pub(crate) use columns::{COLUMNS, COLUMNS_OF_MOST};
pub use format::{DeckFormat, NotAFormat};

/// How many bad lines are named; the rest are only counted.
pub const BAD_LINES_MAX: usize = 100;

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
    #[error("the header lacks the column {0:?}; it needs prefix, rate and currency (or --currency)")]
    MissingColumn(&'static str),
    #[error("the header names the column {0:?} twice")]
    RepeatedColumn(String),
    #[error("the header names the unknown column {0:?}; known are {known}", known = COLUMNS.join(", "))]
    UnknownColumn(String),
    #[error(
        "the header names the column {column:?}, which {format} sheets do not have; take it out if it says nothing about the \
         price, or say the format with --as"
    )]
    ForeignColumn { column: String, format: DeckFormat },
    #[error(
        "the header is that of {one} and of {other} sheets, which mean different things by it; say which with --as"
    )]
    Formats { one: DeckFormat, other: DeckFormat },
    #[error("there are no prefixes below the header")]
    NoPrefixes,
    #[error("its {column} is {text:?}: the row does not hold for every call; take it out")]
    Conditional { column: String, text: String },
    #[error("{0:?} is not a day such as 2026-12-01")]
    Day(String),
    #[error("its price begins at {begins}, and the import is for {at}; import it with --from {begins}")]
    Later { begins: Timestamp, at: Timestamp },
    #[error("its price ended at {ends}, and the import is for {at}")]
    Ended { ends: Timestamp, at: Timestamp },
    #[error("the {column} {text:?} has its decimals written otherwise than the rest of the file")]
    DecimalsOtherwise { column: &'static str, text: String },
    #[error("the {column} {text:?} may be thousands or decimals, and no other number of the file tells; write a point")]
    DecimalsUntold { column: &'static str, text: String },
    #[error("it has {found} fields, the header has {expected}")]
    Fields { found: usize, expected: usize },
    #[error("it is not readable as CSV in UTF-8")]
    NotText,
    #[error("the prefix {0:?} is not 1 to 15 digits, the first not 0")]
    Prefix(String),
    #[error("the prefix {prefix:?} stands on line {first_line} already")]
    RepeatedPrefix { prefix: String, first_line: u64 },
    #[error("its {what} differs from line {first_line} of the same prefix")]
    Differs { what: &'static str, first_line: u64 },
    #[error("at the same time and weight, its period and an earlier one of the prefix are both in force")]
    Clash,
    #[error("the prefix has no line without a period, for the time when no period is in force")]
    NoBase,
    #[error("the destination holds a line break or another control character; is a quote left open?")]
    Destination,
    #[error("the {column} {text:?} is {error}")]
    Amount { column: &'static str, text: String, error: BadAmount },
    #[error("the {column} {text:?} is not a whole number of seconds")]
    Seconds { column: &'static str, text: String },
    #[error("the {column} {text:?} is {error}")]
    Calendar { column: &'static str, text: String, error: NotAmong },
    #[error("the from {0:?} is not a time of day such as 18:00")]
    From(String),
    #[error("the weight {0:?} is not a whole number")]
    Weight(String),
    #[error("the time_zone {text:?} is {error}")]
    Zone { text: String, error: NotAZone },
    #[error("the connect_fee_mode {0:?} is neither add nor minimum")]
    Mode(String),
    #[error("the max_cost {0:?} is not an amount and what happens then, such as `2 free` or `2 disconnect`")]
    MaxCost(String),
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
        let ours = Sheet { format: Some(DeckFormat::Callbus), ..Sheet::default() };
        read(name.into(), bytes, b',', &ours, |_, _| Decimals::Plain).map(|(deck, _)| deck)
    }

    /// Reads the rate sheet of a carrier or another system, and says in which format it was. Our own is one of them.
    ///
    /// # Errors
    /// As [`Deck::from_csv`].
    ///
    /// ```
    /// use money::{Deck, import::{DeckFormat, Sheet}};
    /// let csv = b"Dial code;Country;Rate/min (EUR);Interval\n4670;Sweden Mobile;0,0215;60/60\n";
    /// let (deck, format) = Deck::from_sheet("retail", csv, &Sheet::default()).unwrap();
    /// assert_eq!((deck.len(), format), (1, DeckFormat::Carrier));
    /// ```
    pub fn from_sheet(name: impl Into<String>, bytes: &[u8], sheet: &Sheet) -> Result<(Self, DeckFormat), DeckErrors> {
        let delimiter = delimiter(bytes);
        read(name.into(), bytes, delimiter, sheet, |header, bytes| decimals(header, bytes, delimiter))
    }
}

/// What an import says about a sheet that does not say it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sheet {
    /// Found by the header without.
    pub format: Option<DeckFormat>,
    /// Where the sheet names one too, they must be the same.
    pub currency: Option<Currency>,
    /// When the deck is to be in force. A row with days of its own must be in force then.
    pub in_force_at: Option<Timestamp>,
}

fn reader(bytes: &[u8], delimiter: u8) -> Reader<&[u8]> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(bytes)
}

/// The one of the usual delimiters that stands most often in the header line.
fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut quoted = false;
    let mut counts = [(b'|', 0_usize), (b'\t', 0), (b';', 0), (b',', 0)];
    for byte in header {
        quoted ^= *byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| delimiter == byte && !quoted) {
            *count = count.saturating_add(1);
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| delimiter)
}

/// How the sheet writes its decimals: as the first number that tells.
fn decimals(header: &Header, bytes: &[u8], delimiter: u8) -> Decimals {
    let amounts = ["rate", "rate_s", "connect_fee", "min_cost"];
    let columns = header.columns.iter().enumerate().filter(|(_, column)| amounts.contains(column));
    let columns: Vec<usize> = columns.map(|(index, _)| index).collect();
    let mut reader = reader(bytes, delimiter);
    let records = reader.byte_records().skip(1).filter_map(Result::ok);
    let told = |record: ByteRecord| {
        let fields = columns.iter().filter_map(|index| std::str::from_utf8(record.get(*index)?).ok());
        fields.filter_map(Decimals::told_by).next()
    };
    records.filter_map(told).next().unwrap_or(Decimals::Untold)
}

fn read(
    name: String,
    bytes: &[u8],
    delimiter: u8,
    sheet: &Sheet,
    decimals: impl Fn(&Header, &[u8]) -> Decimals,
) -> Result<(Deck, DeckFormat), DeckErrors> {
    let mut errors = DeckErrors { deck: name, lines: Vec::new(), count: 0 };
    let mut reader = reader(bytes, delimiter);
    let mut records = reader.byte_records();
    let header = records.next().and_then(Result::ok).unwrap_or_default();
    let columns = StringRecord::from_byte_record(header).map_err(|_| Reason::NotText).and_then(|names| {
        let header = Header::read(&names, sheet.format)?;
        let columns = Columns::of(&header, &names, sheet, decimals(&header, bytes))?;
        Ok((columns, header.format))
    });
    let (columns, format) = match columns {
        Ok(columns) => columns,
        Err(reason) => {
            errors.add(1, reason);
            return Err(errors);
        }
    };
    let mut lines = Lines {
        columns,
        deck: Builder::default(),
        prefixes: HashMap::new(),
        currency: None,
        zone: Zone::default(),
        open: None,
    };
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
            .and_then(|record| lines.load(line, &record, &mut errors));
        if let Err(reason) = loaded {
            errors.add(line, reason);
        }
    }
    lines.close(&mut errors);
    if lines.prefixes.is_empty() && errors.count == 0 {
        errors.add(1, Reason::NoPrefixes);
    }
    if errors.count == 0 { Ok((lines.deck.build(errors.deck), format)) } else { Err(errors) }
}

/// What has been read so far.
struct Lines {
    columns: Columns,
    deck: Builder,
    /// Where each prefix stood first.
    prefixes: HashMap<Prefix, u64>,
    currency: Option<Currency>,
    /// The last one that was read: most price lists have one.
    zone: Zone,
    /// The prefix whose lines are being read.
    open: Option<Group>,
}

/// The lines of one prefix.
struct Group {
    prefix: Prefix,
    line: u64,
    destination: String,
    rows: PriceRows,
}

impl Lines {
    fn load(&mut self, line: u64, record: &StringRecord, errors: &mut DeckErrors) -> Result<(), Reason> {
        if record.len() != self.columns.count {
            return Err(Reason::Fields { found: record.len(), expected: self.columns.count });
        }
        // What a spreadsheet leaves below its last line.
        if record.iter().all(str::is_empty) {
            return Ok(());
        }
        let text = self.columns.prefix.of(record, "");
        let prefix = Prefix::parse(text).ok_or_else(|| Reason::Prefix(text.to_owned()))?;
        if self.open.as_ref().is_some_and(|open| open.prefix != prefix) {
            self.close(errors);
        }
        let repeated = |first_line| Reason::RepeatedPrefix { prefix: text.to_owned(), first_line };
        let first_line = *self.prefixes.entry(prefix).or_insert(line);
        if first_line != line && self.open.is_none() {
            return Err(repeated(first_line));
        }
        self.columns.check(record)?;
        let destination = &*self.columns.destination(record);
        if destination.contains(char::is_control) {
            return Err(Reason::Destination);
        }
        let terms = self.columns.terms(record, &mut self.zone)?;
        let (found, expected) = (terms.rows.currency, *self.currency.get_or_insert(terms.rows.currency));
        if found != expected {
            return Err(Reason::OtherCurrency { found, expected });
        }
        match &mut self.open {
            Some(group) => group.add(destination, terms, repeated),
            None => {
                let mut group = Group { prefix, line, destination: destination.to_owned(), rows: terms.rows.clone() };
                group.add(destination, terms, repeated)?;
                self.open = Some(group);
                Ok(())
            }
        }
    }

    /// The lines of the prefix have all been read.
    fn close(&mut self, errors: &mut DeckErrors) {
        let Some(Group { prefix, line, destination, mut rows }) = self.open.take() else { return };
        if rows.tiers.is_empty() {
            return errors.add(line, Reason::NoBase);
        }
        for tiers in [&mut rows.tiers].into_iter().chain(rows.periods.iter_mut().map(|period| &mut period.tiers)) {
            tiers.sort_by_key(|tier| tier.start_secs);
        }
        match Price::check(rows) {
            Ok(price) => self.deck.add(prefix, &destination, price),
            Err(bad) => errors.add(line, bad.into()),
        }
    }
}

impl Group {
    fn add(&mut self, destination: &str, terms: Terms, repeated: impl Fn(u64) -> Reason) -> Result<(), Reason> {
        let Terms { rows, tiers, period } = terms;
        let first_line = self.line;
        let differs = |what| Err(Reason::Differs { what, first_line });
        let (mine, theirs) = (&mut self.rows, &rows);
        let known = match &period {
            None => mine.tiers.as_slice(),
            Some(period) => {
                let known = mine.periods.iter().find(|known| known.same_time(period));
                known.map_or(&[][..], |known| &known.tiers)
            }
        };
        if tiers.iter().any(|tier| known.iter().any(|known| known.start_secs == tier.start_secs)) {
            return Err(repeated(first_line));
        }
        if self.destination != destination {
            return differs("destination");
        }
        for (what, same) in [
            ("rounding", mine.rounding == theirs.rounding),
            ("connect_fee_mode", mine.connect_fee_mode == theirs.connect_fee_mode),
            ("min_cost", mine.min_cost == theirs.min_cost),
            ("max_cost", mine.max_cost == theirs.max_cost),
            ("included_s", mine.included_secs == theirs.included_secs),
            ("no_charge_s", mine.no_charge_secs == theirs.no_charge_secs),
            ("time_zone", mine.time_zone == theirs.time_zone),
        ] {
            if !same {
                return differs(what);
            }
        }
        let (fee, place) = match period {
            None => {
                if mine.tiers.is_empty() {
                    mine.connect_fee = theirs.connect_fee;
                }
                (mine.connect_fee, &mut mine.tiers)
            }
            Some(period) => {
                let known = mine.periods.iter().position(|known| known.same_time(&period));
                let index = match known {
                    Some(index) => index,
                    None if mine.periods.iter().any(|known| known.clashes(&period)) => return Err(Reason::Clash),
                    None => {
                        mine.periods.push(period);
                        mine.periods.len().saturating_sub(1)
                    }
                };
                let Some(period) = mine.periods.get_mut(index) else { return Ok(()) };
                (period.connect_fee, &mut period.tiers)
            }
        };
        if fee != theirs.connect_fee {
            return differs("connect_fee");
        }
        place.extend(tiers);
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

impl DeckErrors {
    fn add(&mut self, line: u64, reason: Reason) {
        self.count = self.count.saturating_add(1);
        if self.lines.len() < BAD_LINES_MAX {
            // A prefix is judged when its lines have been read: a line later.
            let place = self.lines.partition_point(|bad| bad.line <= line);
            self.lines.insert(place, BadLine { line, reason });
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

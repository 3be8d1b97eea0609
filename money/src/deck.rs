//! Decks: which price a number has.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use proto::PhoneNumber;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::amount::Micros;
use crate::period::Period;
use crate::price::{ConnectFeeMode, MaxCost, MaxCostStrategy, Price, Tier};

/// Longest prefix: a whole E.164 number.
pub const PREFIX_DIGITS_MAX: usize = 15;

/// An immutable price list, from prefix to price. Read with [`Deck::from_csv`].
///
/// Equal prices and destinations are kept once: a deck has a few hundred of them in hundreds of thousands of rows.
#[derive(Debug, Clone)]
pub struct Deck {
    identity: DeckRef,
    rows: HashMap<Prefix, Row>,
    destinations: Vec<Arc<str>>,
    prices: Vec<Arc<Price>>,
}

/// Which deck, and which of its versions, a price came from. It stands in every hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct DeckRef {
    pub name: String,
    /// The first 16 hexadecimal digits of the SHA-256 of the deck's content. The name, the order of the lines and the
    /// way numbers are written do not change it.
    pub version: String,
}

/// What a deck says about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeckRow<'a> {
    /// The digits of the number that matched.
    pub prefix: &'a str,
    pub destination: &'a str,
    pub price: &'a Arc<Price>,
}

/// Nothing can be called by it.
impl Default for Deck {
    fn default() -> Self {
        Builder::default().build(String::new())
    }
}

impl Deck {
    pub fn identity(&self) -> &DeckRef {
        &self.identity
    }

    /// How many prefixes it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row with the longest prefix of `number`. `None` refuses the call: there is no default price.
    pub fn lookup<'a>(&'a self, number: &'a PhoneNumber) -> Option<DeckRow<'a>> {
        let digits = number.digits();
        let mut prefix = Prefix::EMPTY;
        let mut found = None;
        for (index, digit) in digits.bytes().enumerate() {
            prefix = prefix.then(digit)?;
            if let Some(row) = self.rows.get(&prefix) {
                found = Some((index, row));
            }
        }
        let (index, row) = found?;
        Some(DeckRow {
            prefix: digits.get(..=index)?,
            destination: self.destinations.get(row.destination)?,
            price: self.prices.get(row.price)?,
        })
    }
}

/// One row of a deck, on its own.
pub(crate) struct Entry<'a> {
    pub prefix: String,
    pub destination: &'a str,
    /// Which of [`Deck::prices`].
    pub price: usize,
}

impl Deck {
    /// Every different price, once.
    pub(crate) fn prices(&self) -> &[Arc<Price>] {
        &self.prices
    }

    /// All rows, in the order of their prefixes as text.
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        let entry = |(prefix, row): (&Prefix, &Row)| Entry {
            prefix: prefix.digits(),
            destination: self.destinations.get(row.destination).map(AsRef::as_ref).unwrap_or_default(),
            price: row.price,
        };
        let mut entries: Vec<Entry<'_>> = self.rows.iter().map(entry).collect();
        entries.sort_unstable_by(|one, other| one.prefix.cmp(&other.prefix));
        entries
    }
}

impl Deck {
    /// A deck of rows that are at hand: prefix, destination, price.
    ///
    /// # Errors
    /// The first prefix that is none, or stands there twice.
    pub fn of_rows<'a>(
        name: &str,
        rows: impl IntoIterator<Item = (&'a str, &'a str, Price)>,
    ) -> Result<Self, BadPrefix> {
        let mut deck = Builder::default();
        for (text, destination, price) in rows {
            let prefix = Prefix::parse(text).ok_or_else(|| BadPrefix::NotDigits(text.to_owned()))?;
            if deck.rows.contains_key(&prefix) {
                return Err(BadPrefix::Repeated(text.to_owned()));
            }
            deck.add(prefix, destination, price);
        }
        Ok(deck.build(name.to_owned()))
    }
}

/// Text that cannot stand in a deck as a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    #[error("the prefix {0:?} is not 1 to 15 digits, the first not 0")]
    NotDigits(String),
    #[error("the prefix {0:?} stands there twice")]
    Repeated(String),
}

/// A deck in the making.
#[derive(Default)]
pub(crate) struct Builder {
    rows: HashMap<Prefix, Row>,
    destinations: Interned<str>,
    prices: Interned<Price>,
}

impl Builder {
    pub(crate) fn add(&mut self, prefix: Prefix, destination: &str, price: Price) {
        let destination = self.destinations.index_of(destination);
        let price = self.prices.index_of(price);
        self.rows.insert(prefix, Row { destination, price });
    }

    pub(crate) fn build(self, name: String) -> Deck {
        let (destinations, prices) = (self.destinations.in_order(), self.prices.in_order());
        let version = version(&self.rows, &destinations, &prices);
        Deck { identity: DeckRef { name, version }, rows: self.rows, destinations, prices }
    }
}

/// A prefix as one number: its digits after a 1, so that `1` and `01` differ. Fifteen digits stay below 2^51.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix(u64);

impl Prefix {
    const EMPTY: Self = Self(1);

    /// Digits only, at most 15, perhaps after a `+`. One that starts with 0 would match no E.164 number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if digits.is_empty() || digits.len() > PREFIX_DIGITS_MAX || digits.starts_with('0') {
            return None;
        }
        digits.bytes().try_fold(Self::EMPTY, Self::then)
    }

    fn digits(self) -> String {
        self.0.to_string().split_off(1)
    }

    fn then(self, digit: u8) -> Option<Self> {
        let value = digit.is_ascii_digit().then(|| digit.saturating_sub(b'0'))?;
        Some(Self(self.0.checked_mul(10)?.checked_add(u64::from(value))?))
    }
}

/// Where a prefix's destination and price lie in the deck.
#[derive(Debug, Clone, Copy)]
struct Row {
    destination: usize,
    price: usize,
}

/// Equal values get one index, in order of their first appearance.
struct Interned<T: ?Sized>(HashMap<Arc<T>, usize>);

impl<T: ?Sized + Eq + std::hash::Hash> Interned<T> {
    fn index_of(&mut self, value: impl Into<Arc<T>> + Borrow<T>) -> usize {
        if let Some(index) = self.0.get(value.borrow()) {
            return *index;
        }
        let next = self.0.len();
        self.0.insert(value.into(), next);
        next
    }

    fn in_order(self) -> Vec<Arc<T>> {
        let mut values: Vec<(usize, Arc<T>)> = self.0.into_iter().map(|(value, index)| (index, value)).collect();
        values.sort_unstable_by_key(|(index, _)| *index);
        values.into_iter().map(|(_, value)| value).collect()
    }
}

impl<T: ?Sized> Default for Interned<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

fn version(rows: &HashMap<Prefix, Row>, destinations: &[Arc<str>], prices: &[Arc<Price>]) -> String {
    let prices: Vec<String> = prices.iter().map(|price| canonical(price)).collect();
    let mut sorted: Vec<(&Prefix, &Row)> = rows.iter().collect();
    sorted.sort_unstable_by_key(|(prefix, _)| **prefix);
    let mut hash = Sha256::new();
    for (prefix, row) in sorted {
        hash.update(prefix.0.to_be_bytes());
        // A destination holds no control characters and neither does a price, so the line breaks keep them apart.
        for text in [destinations.get(row.destination).map(AsRef::as_ref), prices.get(row.price).map(String::as_str)] {
            hash.update(text.unwrap_or_default());
            hash.update(b"\n");
        }
    }
    hash.finalize().iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Part of what the version is made of, so it may not change: terms that came later are added only where they are.
fn canonical(price: &Price) -> String {
    let rows = price.rows();
    let mut text = format!("{} {} {}", rows.currency, rows.connect_fee, rows.rounding);
    write_tiers(&mut text, &rows.tiers);
    if rows.connect_fee_mode == ConnectFeeMode::Minimum {
        text.push_str(" minimum");
    }
    if rows.min_cost != Micros::ZERO {
        let _ = write!(text, " min={}", rows.min_cost);
    }
    match rows.max_cost {
        Some(MaxCost { amount, strategy: MaxCostStrategy::Free }) => _ = write!(text, " free={amount}"),
        Some(MaxCost { amount, strategy: MaxCostStrategy::Disconnect }) => _ = write!(text, " disconnect={amount}"),
        None => {}
    }
    if rows.included_secs != 0 {
        let _ = write!(text, " included={}", rows.included_secs);
    }
    if rows.no_charge_secs != 0 {
        let _ = write!(text, " no_charge={}", rows.no_charge_secs);
    }
    if !rows.time_zone.is_utc() {
        let _ = write!(text, " zone={}", rows.time_zone);
    }
    for period in &rows.periods {
        let Period { weekdays, months, month_days, from, weight, connect_fee, tiers } = period;
        let _ = write!(text, " period={weekdays}/{months}/{month_days}/{from}/{weight} {connect_fee}");
        write_tiers(&mut text, tiers);
    }
    text
}

fn write_tiers(text: &mut String, tiers: &[Tier]) {
    for Tier { start_secs, rate, unit_secs, increment_secs, fee } in tiers {
        let _ = write!(text, " {start_secs}:{rate}/{unit_secs}/{increment_secs}");
        if *fee != Micros::ZERO {
            let _ = write!(text, "+{fee}");
        }
    }
}

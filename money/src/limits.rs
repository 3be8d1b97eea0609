//! Limits: what a wallet may be used for, however much credit it has.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use proto::PhoneNumber;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::Micros;
use crate::price::Price;
use crate::rate::first_minute;
use crate::wallet::{WalletFacts, WalletStatus};
use crate::zone::Zone;

/// Most prefixes and countries one list of a wallet may have.
pub const DESTINATIONS_MAX: usize = 500;

/// The limits of a wallet; one that is absent binds nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_max: Option<u32>,
    /// Calls that may begin within the same second of the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_sec_max: Option<u32>,
    /// What may be charged and held in a day of `time_zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_day_max: Option<Micros>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_month_max: Option<Micros>,
    /// What the first minute of a call may cost, without its connect fee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute_price_max: Option<Micros>,
    /// Only these may be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Destinations>,
    /// These may not be called, even where `allowed` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Destinations>,
    /// Whose midnight ends a day.
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    pub time_zone: Zone,
}

/// What becomes of the limits; what is absent stays.
///
/// An unknown field is refused: an older version that ignored a newer limit would admit what it forbids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsEdit {
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub concurrent_max: Edit<u32>,
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub calls_per_sec_max: Edit<u32>,
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub spend_day_max: Edit<Micros>,
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub spend_month_max: Edit<Micros>,
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub minute_price_max: Edit<Micros>,
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub allowed: Edit<Destinations>,
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    pub denied: Edit<Destinations>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Zone>,
}

/// What becomes of one limit. In JSON: absent, `null`, or the new value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edit<T> {
    #[default]
    Keep,
    /// It binds nobody any more.
    Clear,
    Set(T),
}

/// Numbers to be called or not: by their first digits (`46`, `+4670`) or their country (`SE`). Not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Destination>", into = "Vec<Destination>")]
pub struct Destinations(Arc<[Destination]>);

/// One of [`Destinations`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Destination(String);

/// Text that is no prefix and no country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a destination: write the first 1 to 15 digits such as +4670, or a country such as SE")]
pub struct NotADestination(String);

/// A list that is too long or says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a list of destinations has 1 to {DESTINATIONS_MAX} entries, not {0}; to remove it, write null")]
pub struct BadDestinations(usize);

/// Why a wallet does not pay for a call, before anybody asks what it has. In the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    Closed,
    Blocked,
    Denied,
    NotAllowed,
    NoRate,
    /// The price is in another currency.
    Currency,
    PriceCeiling,
}

/// What was charged in the day and the month of a date, by the clock of the wallet. A charge of the day before counts
/// for the newest date, since clocks differ; where the date is further ahead, the clock that said so was wrong, and the
/// day begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spent {
    pub date: Date,
    pub day: Micros,
    pub month: Micros,
}

/// May this wallet pay for a call to `number`, of that country and price, at this time? The checks that need no
/// counting; [`Admission`](crate::Admission) does the others.
///
/// # Errors
/// The first check that fails.
pub fn check_call(
    facts: &WalletFacts,
    number: &PhoneNumber,
    country: Option<&str>,
    price: Option<&Price>,
    now: Timestamp,
) -> Result<(), Barred> {
    match facts.status {
        WalletStatus::Active => {}
        WalletStatus::Blocked => return Err(Barred::Blocked),
        WalletStatus::Closed => return Err(Barred::Closed),
    }
    let Limits { allowed, denied, minute_price_max, .. } = &facts.limits;
    if denied.as_ref().is_some_and(|denied| denied.contain(number, country)) {
        return Err(Barred::Denied);
    }
    if allowed.as_ref().is_some_and(|allowed| !allowed.contain(number, country)) {
        return Err(Barred::NotAllowed);
    }
    let price = price.ok_or(Barred::NoRate)?;
    if facts.currency.is_some_and(|currency| currency != price.currency()) {
        return Err(Barred::Currency);
    }
    match minute_price_max {
        // A price that says nothing about now is above every ceiling.
        Some(max) if first_minute(price, now).map_or(true, |minute| minute > *max) => Err(Barred::PriceCeiling),
        Some(_) | None => Ok(()),
    }
}

impl Limits {
    /// The date on the wallet's own calendar.
    pub fn date(&self, at: Timestamp) -> Date {
        self.time_zone.clock(at).date()
    }

    #[must_use]
    pub fn edited(&self, edit: &LimitsEdit) -> Self {
        Self {
            concurrent_max: edit.concurrent_max.of(&self.concurrent_max),
            calls_per_sec_max: edit.calls_per_sec_max.of(&self.calls_per_sec_max),
            spend_day_max: edit.spend_day_max.of(&self.spend_day_max),
            spend_month_max: edit.spend_month_max.of(&self.spend_month_max),
            minute_price_max: edit.minute_price_max.of(&self.minute_price_max),
            allowed: edit.allowed.of(&self.allowed),
            denied: edit.denied.of(&self.denied),
            time_zone: edit.time_zone.clone().unwrap_or_else(|| self.time_zone.clone()),
        }
    }

    /// The amounts among them.
    pub(crate) fn amounts(&self) -> impl Iterator<Item = Micros> {
        [self.spend_day_max, self.spend_month_max, self.minute_price_max].into_iter().flatten()
    }
}

impl<T: Clone> Edit<T> {
    fn of(&self, before: &Option<T>) -> Option<T> {
        match self {
            Self::Keep => before.clone(),
            Self::Clear => None,
            Self::Set(value) => Some(value.clone()),
        }
    }
}

impl<T> Edit<T> {
    fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T: Serialize> Serialize for Edit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Edit<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Edit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

impl Spent {
    /// Day and month of a date.
    pub fn on(&self, date: Date) -> (Micros, Micros) {
        let mut then = *self;
        then.add(date, Micros::ZERO);
        (then.day, then.month)
    }

    pub(crate) fn add(&mut self, date: Date, amount: Micros) {
        if date > self.date || self.date.yesterday().is_ok_and(|yesterday| date < yesterday) {
            if date.first_of_month() != self.date.first_of_month() {
                self.month = Micros::ZERO;
            }
            self.day = Micros::ZERO;
            self.date = date;
        }
        self.day = self.day.saturating_add(amount);
        self.month = self.month.saturating_add(amount);
    }
}

impl Default for Spent {
    fn default() -> Self {
        Self { date: Date::ZERO, day: Micros::ZERO, month: Micros::ZERO }
    }
}

impl Destinations {
    /// # Errors
    /// When there are none or too many.
    pub fn new(mut destinations: Vec<Destination>) -> Result<Self, BadDestinations> {
        destinations.sort();
        destinations.dedup();
        match destinations.len() {
            1..=DESTINATIONS_MAX => Ok(Self(destinations.into())),
            count => Err(BadDestinations(count)),
        }
    }

    fn contain(&self, number: &PhoneNumber, country: Option<&str>) -> bool {
        self.0.iter().any(|Destination(text)| number.digits().starts_with(text) || country == Some(text))
    }
}

impl Destinations {
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Destination>> for Destinations {
    type Error = BadDestinations;
    fn try_from(destinations: Vec<Destination>) -> Result<Self, BadDestinations> {
        Self::new(destinations)
    }
}

impl From<Destinations> for Vec<Destination> {
    fn from(destinations: Destinations) -> Self {
        destinations.0.to_vec()
    }
}

impl Destination {
    /// The country, where it is one and no prefix.
    pub fn country(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| text.bytes().all(|byte| byte.is_ascii_uppercase()))
    }
}

impl FromStr for Destination {
    type Err = NotADestination;
    fn from_str(text: &str) -> Result<Self, NotADestination> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let prefix = (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let country = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if prefix || country { Ok(Self(digits.to_owned())) } else { Err(NotADestination(text.to_owned())) }
    }
}

impl TryFrom<String> for Destination {
    type Error = NotADestination;
    fn try_from(text: String) -> Result<Self, NotADestination> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.0
    }
}

//! `/v1/decks/<name>`: price lists, checked whole before they are kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use jiff::Timestamp;
use money::explain::explain;
use money::{ConnectFeeMode, Currency, Deck, Micros, Price, Tier};
use proto::{AppName, PhoneNumber};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use workers::deck_document;

use crate::problem::Problem;
use crate::server::Desk;

/// A price list of a million prefixes is smaller.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest call that is explained: a day.
const DURATION_SECS_MAX: u32 = 86_400;

/// What a price list comes to.
#[derive(Debug, Serialize)]
pub(crate) struct DeckPage {
    deck: String,
    /// Of its content; stands in every hold.
    version: String,
    /// SHA-256 of the file as it was imported.
    revision: String,
    prefixes: usize,
}

/// `?number=&duration=&at=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceQuery {
    number: String,
    /// In seconds.
    duration: u32,
    /// When the call is answered; now without it.
    at: Option<Timestamp>,
}

/// What a call costs, and each step on the way. Exact amounts are decimals that may end in `…`.
#[derive(Debug, Serialize)]
pub(crate) struct PricePage {
    deck: String,
    version: String,
    /// The digits of the number that chose the price.
    prefix: String,
    destination: String,
    /// All of its terms.
    price: Price,
    currency: Currency,
    at: Timestamp,
    duration_secs: u32,
    billed_secs: u32,
    connect_fee: Micros,
    connect_fee_mode: ConnectFeeMode,
    steps: Vec<StepLine>,
    /// Connect fee and steps, before the one rounding.
    exact: String,
    cost: Micros,
}

/// Increments one after another at the same terms.
#[derive(Debug, Serialize)]
struct StepLine {
    from_secs: u32,
    billed_secs: u32,
    tier: Tier,
    /// When its terms are in force; absent where no period is.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<String>,
    amount: String,
}

pub(crate) async fn put(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<DeckPage>, Problem> {
    let name = deck_name(&name)?;
    let csv = body.map_err(|_| Problem::TooLarge { bytes_max: BYTES_MAX })?;
    let deck = read(name.clone(), csv.clone()).await?;
    let revision = desk.bus.put_document(&deck_document(&name), csv).await.map_err(Problem::unavailable)?;
    Ok(Json(page(&deck, revision)))
}

pub(crate) async fn get(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Result<Json<DeckPage>, Problem> {
    let (deck, revision) = find(&desk, &name).await?;
    Ok(Json(page(&deck, revision)))
}

/// What a call to a number costs by the price list in use.
pub(crate) async fn price(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    query: Result<Query<PriceQuery>, QueryRejection>,
) -> Result<Json<PricePage>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let number = PhoneNumber::parse_lenient(&query.number);
    let number = number.map_err(|error| Problem::Invalid(format!("the number is {error}")))?;
    if query.duration > DURATION_SECS_MAX {
        return Err(Problem::Invalid(format!("the duration is over {DURATION_SECS_MAX} seconds")));
    }
    let (deck, _) = find(&desk, &name).await?;
    let row = deck.lookup(&number);
    let row = row.ok_or_else(|| Problem::NotFound(format!("prefix of this number in price list {name}")))?;
    let at = query.at.unwrap_or_else(|| desk.clock.now());
    let explained = explain(row.price, query.duration, at);
    let explained = explained.map_err(|error| Problem::Invalid(format!("the call cannot be rated: {error}")))?;
    let rows = row.price.rows();
    let steps = explained.steps.iter().map(|step| StepLine {
        from_secs: step.from_secs,
        billed_secs: step.billed_secs,
        tier: step.tier,
        period: step.period.and_then(|index| rows.periods.get(index)).map(ToString::to_string),
        amount: step.amount.to_string(),
    });
    Ok(Json(PricePage {
        deck: deck.identity().name.clone(),
        version: deck.identity().version.clone(),
        prefix: row.prefix.to_owned(),
        destination: row.destination.to_owned(),
        price: row.price.as_ref().clone(),
        currency: rows.currency,
        at,
        duration_secs: query.duration,
        billed_secs: explained.cost.billed_secs,
        connect_fee: explained.connect_fee,
        connect_fee_mode: rows.connect_fee_mode,
        steps: steps.collect(),
        exact: explained.exact.to_string(),
        cost: explained.cost.amount,
    }))
}

/// The price list in use, with the revision of its file.
async fn find(desk: &Desk, name: &str) -> Result<(Deck, String), Problem> {
    let name = deck_name(name)?;
    let found = desk.bus.document(&deck_document(&name)).await.map_err(Problem::unavailable)?;
    let found = found.ok_or_else(|| Problem::NotFound(format!("price list {name}; import one")))?;
    Ok((read(name, found.bytes).await?, found.revision))
}

/// Reading hundreds of thousands of lines takes a second: not on a thread that others wait for.
async fn read(name: String, csv: Bytes) -> Result<Deck, Problem> {
    let read = spawn_blocking(move || Deck::from_csv(name, &csv)).await.map_err(Problem::unavailable)?;
    read.map_err(Problem::Deck)
}

fn page(deck: &Deck, revision: String) -> DeckPage {
    let identity = deck.identity();
    DeckPage { deck: identity.name.clone(), version: identity.version.clone(), revision, prefixes: deck.len() }
}

/// The same rule as for app names: letters, digits, `-`, `_`.
fn deck_name(text: &str) -> Result<String, Problem> {
    let valid = AppName::new(text).map_err(|_| {
        Problem::Invalid(format!("the price list's name {text:?} is not 1 to 64 letters, digits, '-' or '_'"))
    })?;
    Ok(valid.into())
}

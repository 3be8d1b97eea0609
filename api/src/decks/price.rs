//! `/v1/decks/<name>/price`: what a call costs, step by step.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use money::explain::explain;
use money::{ConnectFeeMode, Currency, Micros, Price, Tier};
use proto::{DeckName, PhoneNumber};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use workers::deck_log::deck_in_force;

use super::problem;
use crate::address::{Path, Query};
use crate::problem::Problem;
use crate::server::Desk;

/// Longest call that is explained: a day.
const DURATION_SECS_MAX: u32 = 86_400;

/// `?number=&duration=&at=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceQuery {
    number: String,
    /// In seconds.
    duration: u32,
    /// When the call is answered; now without it.
    at: Option<Timestamp>,
}

/// What a call costs, and each step on the way. Exact amounts are decimals that may end in `…`.
#[derive(Debug, Serialize, JsonSchema)]
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
#[derive(Debug, Serialize, JsonSchema)]
struct StepLine {
    from_secs: u32,
    billed_secs: u32,
    tier: Tier,
    /// When its terms are in force; absent where no period is.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<String>,
    amount: String,
}

/// What a call to a number costs by the version of the price list that is in force then.
pub(crate) async fn price(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DeckName>,
    Query(query): Query<PriceQuery>,
) -> Result<Json<PricePage>, Problem> {
    let number = PhoneNumber::parse_lenient(&query.number);
    let number = number.map_err(|error| Problem::Invalid(format!("the number is {error}")))?;
    if query.duration > DURATION_SECS_MAX {
        return Err(Problem::Invalid(format!("the duration is over {DURATION_SECS_MAX} seconds")));
    }
    let at = query.at.unwrap_or_else(|| desk.clock.now());
    let deck = deck_in_force(&desk.bus, &name, at).await.map_err(problem)?;
    let deck = deck.ok_or_else(|| Problem::NotFound(format!("price list {name} in force at {at}; import one")))?;
    let row = deck.lookup(&number);
    let row = row.ok_or_else(|| Problem::NotFound(format!("prefix of this number in price list {name}")))?;
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

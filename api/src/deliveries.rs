//! `/v1/deliveries`: what became of every delivery, and delivering again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use delivery::{AGAIN_MAX, Again, Stretch};
use jiff::Timestamp;
use proto::{CallId, DestinationName, EventId, Filter, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use views::deliveries::{DeadCount, DeliveryRow, DeliveryState};
use views::{DeliveryFilter, Order};

use crate::address::{Path, Query};
use crate::body::{Body, Shape};
use crate::destinations::problem;
use crate::problem::Problem;
use crate::server::Desk;

/// Deliveries on one page.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
/// How long the tables may take to be level with the log.
const LEVEL_WITHIN: Duration = Duration::from_secs(2);

/// `?destination=&state=&call=&since=&before=&limit=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    destination: Option<DestinationName>,
    state: Option<DeliveryState>,
    call: Option<CallId>,
    since: Option<Timestamp>,
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeliveryPage {
    deliveries: Vec<DeliveryRow>,
    /// `before` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadQuery {
    destination: Option<DestinationName>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadPage {
    dead: Vec<DeadCount>,
}

/// What was asked for again.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Retried {
    retried: usize,
    /// More is wanted: ask again, with `before`. What was not taken has no place just now.
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryAll {
    /// What happened at or after it; without it, everything.
    since: Option<Timestamp>,
    /// As the step before says.
    before: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    from: Timestamp,
    to: Timestamp,
    /// Say how many there are, and send nothing.
    #[serde(default)]
    count: bool,
    /// What the answer before said, to go on.
    #[serde(default)]
    after_seq: u64,
    replay: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Replayed {
    /// Names the replay.
    replay: u64,
    /// In this step.
    deliveries: usize,
    /// All up to this sequence was looked at.
    after_seq: u64,
    /// There is more: ask again, with `after_seq` and `replay`.
    more: bool,
}

impl Shape for RetryAll {
    const SHAPE: &'static str = "{since: \"2026-12-31T12:00:00Z\"} or {}";
}

impl Shape for Replay {
    const SHAPE: &'static str = "{from: \"2026-12-31T12:00:00Z\", to: \"…\", count: true}";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("count", r#"{ "from": "2026-12-31T12:00:00Z", "to": "2026-12-31T13:00:00Z", "count": true }"#)];
}

pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<DeliveryPage>, Problem> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let ListQuery { destination, state, call, since, before, .. } = query;
    let filter = DeliveryFilter { destination, state, call, since, before, untouched_from: None };
    let deliveries = desk.views.deliveries(&filter, Order::NewestFirst, limit).await.map_err(Problem::unavailable)?;
    let next = deliveries.last().filter(|_| deliveries.len() == limit).map(|last| last.first_seq);
    Ok(Json(DeliveryPage { deliveries, next }))
}

pub(crate) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<EventId>) -> Result<Json<DeliveryRow>, Problem> {
    Ok(Json(find(&desk, id).await?))
}

/// What was given up, by destination and cause.
pub(crate) async fn dead(
    State(desk): State<Arc<Desk>>,
    Query(DeadQuery { destination }): Query<DeadQuery>,
) -> Result<Json<DeadPage>, Problem> {
    let dead = desk.views.dead(destination.as_ref(), PAGE_MAX).await.map_err(Problem::unavailable)?;
    Ok(Json(DeadPage { dead }))
}

pub(crate) async fn retry(State(desk): State<Arc<Desk>>, Path(id): Path<EventId>) -> Result<Json<Retried>, Problem> {
    let row = find(&desk, id).await?;
    if row.state != DeliveryState::Dead {
        return Err(Problem::Conflict(format!("it is {}: only what was given up is retried", row.state.as_str())));
    }
    let destination = DestinationName::new(row.destination.clone()).map_err(Problem::unavailable)?;
    match again(&desk, &destination, vec![row]).await? {
        0 => Err(Problem::Unavailable("nobody took it: is a delivery process running? try again".to_owned())),
        retried => Ok(Json(Retried { retried, more: false, before: None })),
    }
}

/// A step of retrying all that was given up; who asks goes on until there is no more.
pub(crate) async fn retry_all(
    State(desk): State<Arc<Desk>>,
    Path(destination): Path<DestinationName>,
    Body(RetryAll { since, before }): Body<RetryAll>,
) -> Result<Json<Retried>, Problem> {
    // What is asked for again may be given up again before the next step, whose it is not.
    let before = match before {
        Some(before) => before,
        None => {
            let last = desk.bus.last_seq(&Filter::All(Stream::Deliveries)).await.map_err(Problem::unavailable)?;
            last.saturating_add(1)
        }
    };
    // So that what the step before asked for is not asked for again.
    desk.views.behind(&desk.bus, Stream::Deliveries, LEVEL_WITHIN).await.map_err(Problem::unavailable)?;
    let filter = DeliveryFilter {
        destination: Some(destination.clone()),
        state: Some(DeliveryState::Dead),
        since,
        untouched_from: Some(before),
        ..DeliveryFilter::default()
    };
    // The oldest first: a call's events are wanted in their order.
    let dead = desk.views.deliveries(&filter, Order::OldestFirst, AGAIN_MAX).await.map_err(Problem::unavailable)?;
    let wanted = dead.len();
    let retried = if wanted == 0 { 0 } else { again(&desk, &destination, dead).await? };
    Ok(Json(Retried { retried, more: wanted > 0, before: Some(before) }))
}

/// A step of a replay.
pub(crate) async fn replay(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
    Body(body): Body<Replay>,
) -> Result<Json<Replayed>, Problem> {
    let Replay { from, to, count, after_seq, replay } = body;
    let destination = desk.destinations().find(&name).await.map_err(problem)?;
    let number = replay.unwrap_or_else(|| desk.clock.now().as_millisecond().unsigned_abs());
    let mut stretch = Stretch { from, to, after_seq };
    let mut deliveries = 0;
    loop {
        let page = delivery::replay(&desk.bus, &destination, stretch, number).await.map_err(Problem::unavailable)?;
        if count {
            deliveries += page.deliveries.len();
            stretch.after_seq = page.passed_seq;
            if page.is_last {
                return Ok(Json(Replayed { replay: number, deliveries, after_seq: page.passed_seq, more: false }));
            }
            continue;
        }
        let wanted = page.deliveries.len();
        let taken = match wanted {
            0 => 0,
            _ => {
                let taken = delivery::again(&desk.bus, &destination.name, page.deliveries.clone()).await;
                taken.map_err(Problem::unavailable)?.len()
            }
        };
        // What was taken is known when it is asked for again, so a step that was cut short is asked for whole.
        let done = taken == wanted;
        let after_seq = if done { page.passed_seq } else { stretch.after_seq };
        return Ok(Json(Replayed { replay: number, deliveries: taken, after_seq, more: !done || !page.is_last }));
    }
}

async fn find(desk: &Desk, id: EventId) -> Result<DeliveryRow, Problem> {
    let found = desk.views.delivery(&id).await.map_err(Problem::unavailable)?;
    found.ok_or_else(|| Problem::NotFound(format!("delivery {id}")))
}

/// How many of these were taken.
pub(crate) async fn again(
    desk: &Desk,
    destination: &DestinationName,
    rows: Vec<DeliveryRow>,
) -> Result<usize, Problem> {
    let again =
        |row: &DeliveryRow| Some(Again { delivery: row.delivery()?, call: row.call.clone(), attempts: row.attempts });
    let wanted = rows.iter().filter_map(again).collect();
    let taken = delivery::again(&desk.bus, destination, wanted).await.map_err(Problem::unavailable)?;
    Ok(taken.len())
}

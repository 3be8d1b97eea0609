//! `/v1/destinations`: whom events are delivered to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use delivery::{Destination, DestinationSpec, LaneStanding, Preview, RegisterError};
use jiff::Timestamp;
use proto::{DestinationChanged, DestinationName, DestinationPut, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{Path, Query};
use crate::body::{Body, Shape};
use crate::problem::Problem;
use crate::server::Desk;

/// How the log names who changes something here.
const BY: &str = "api";

/// A destination, without its secrets and what its headers say.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DestinationPage {
    destination: DestinationName,
    paused: bool,
    since: Timestamp,
    revision: u64,
    #[serde(rename = "is")]
    put: DestinationPut,
    /// How it stands, by group; of those that some process works.
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<Vec<LaneStanding>>,
    /// The secret that was made for it. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DestinationList {
    destinations: Vec<DestinationPage>,
}

/// `?seq=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewQuery {
    seq: Option<u64>,
}

/// What would be sent. Phone numbers stand in it as the receiver gets them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DestinationPreview")]
pub(crate) struct PreviewPage {
    method: String,
    url: String,
    /// Without those that are secret, and those that are new in every attempt.
    headers: BTreeMap<String, String>,
    body: String,
    /// What a CRM would be asked after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<Self>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// `whsec_…`; made here without it.
    secret: Option<String>,
}

impl Shape for DestinationSpec {
    const SHAPE: &'static str = "{url: \"https://…\", kinds: [\"settled\"], …} (docs/delivery.md, docs/crm.md)";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        (
            "webhook",
            r#"{ "url": "https://example.com/callbus", "kinds": ["settled"], "when": "event.data.duration_secs > 0" }"#,
        ),
        ("hubspot", r#"{ "to": { "hubspot": {} }, "credentials": { "token": "pat-eu1-…" } }"#),
    ];
}

impl Shape for Rotation {
    const SHAPE: &'static str = "{secret: \"whsec_…\"} or nothing";
}

pub(crate) async fn all(State(desk): State<Arc<Desk>>) -> Result<Json<DestinationList>, Problem> {
    let all = desk.destinations().all().await.map_err(Problem::unavailable)?;
    Ok(Json(DestinationList { destinations: all.into_values().map(|destination| page(destination, None)).collect() }))
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
) -> Result<Json<DestinationPage>, Problem> {
    let found = desk.destinations().find(&name).await.map_err(problem)?;
    let lanes = delivery::standing(&desk.bus, &found.name).await.map_err(Problem::unavailable)?;
    Ok(Json(DestinationPage { lanes: Some(lanes), ..page(found, None) }))
}

pub(crate) async fn put(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
    Body(spec): Body<DestinationSpec>,
) -> Result<Json<DestinationPage>, Problem> {
    let put = desk.destinations().put(&desk.outbound, &name, spec, BY).await.map_err(problem)?;
    Ok(Json(page(put.destination, put.made.map(|secret| secret.reveal()))))
}

/// What would be sent of an event: the newest that is of one of its kinds, or the one asked for.
pub(crate) async fn preview(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
    Query(PreviewQuery { seq }): Query<PreviewQuery>,
) -> Result<Json<PreviewPage>, Problem> {
    let found = desk.destinations().find(&name).await.map_err(problem)?;
    let event = match seq {
        Some(seq) => desk.bus.event(Stream::Calls, seq).await,
        None => delivery::newest(&desk.bus, &found.put).await,
    };
    let event = event.map_err(Problem::unavailable)?;
    let event = event.ok_or_else(|| Problem::NotFound("such event yet; name one with seq".to_owned()))?;
    let shown = delivery::preview(&desk.outbound, &found.put, &event, desk.clock.now()).await;
    let mut shown = shown.map_err(|error| Problem::Conflict(error.to_string()))?.into_iter();
    let page = |Preview { method, url, headers, body }| PreviewPage {
        method: method.to_string(),
        url: url.into(),
        headers: headers.into_iter().collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
        then: Vec::new(),
    };
    let first = shown.next().map(page).ok_or_else(|| Problem::Conflict("nothing would be sent".to_owned()))?;
    Ok(Json(PreviewPage { then: shown.map(page).collect(), ..first }))
}

pub(crate) async fn rotate(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
    rotation: Option<Body<Rotation>>,
) -> Result<Json<DestinationPage>, Problem> {
    let given = rotation.and_then(|Body(rotation)| rotation.secret);
    let rotated = desk.destinations().rotate(&name, given.as_deref(), BY).await;
    let (destination, secret) = rotated.map_err(problem)?;
    Ok(Json(page(destination, given.is_none().then(|| secret.reveal()))))
}

pub(crate) async fn pause(
    desk: State<Arc<Desk>>,
    name: Path<DestinationName>,
) -> Result<Json<DestinationPage>, Problem> {
    tell(desk, name, DestinationChanged::Paused { by: BY.to_owned() }).await
}

pub(crate) async fn resume(
    desk: State<Arc<Desk>>,
    name: Path<DestinationName>,
) -> Result<Json<DestinationPage>, Problem> {
    tell(desk, name, DestinationChanged::Resumed { by: BY.to_owned() }).await
}

/// Answers what was removed.
pub(crate) async fn remove(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
) -> Result<Json<DestinationPage>, Problem> {
    let register = desk.destinations();
    let removed = register.find(&name).await.map_err(problem)?;
    register.tell(&name, DestinationChanged::Removed { by: BY.to_owned() }).await.map_err(problem)?;
    Ok(Json(page(removed, None)))
}

async fn tell(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DestinationName>,
    changed: DestinationChanged,
) -> Result<Json<DestinationPage>, Problem> {
    let register = desk.destinations();
    register.tell(&name, changed).await.map_err(problem)?;
    Ok(Json(page(register.find(&name).await.map_err(problem)?, None)))
}

fn page(destination: Destination, secret: Option<String>) -> DestinationPage {
    let Destination { name, put, paused, since, seq, .. } = destination;
    DestinationPage { destination: name, paused, since, revision: seq, put, lanes: None, secret }
}

pub(crate) fn problem(error: RegisterError) -> Problem {
    match error {
        RegisterError::Bad(_) => Problem::Invalid(error.to_string()),
        RegisterError::Unknown(name) => Problem::NotFound(format!("destination {name}")),
        RegisterError::TooMany | RegisterError::Contended => Problem::Conflict(error.to_string()),
        RegisterError::Append(_) | RegisterError::Unavailable(_) | RegisterError::Random(_) => {
            Problem::unavailable(error)
        }
    }
}

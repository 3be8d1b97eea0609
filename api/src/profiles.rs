//! `/v1/profiles`: callback profiles, as calls that we place name them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use delivery::{AGAIN_MAX, Preview, Profile, ProfileError, ProfileSpec, Saved, Status};
use jiff::Timestamp;
use proto::{CallFacts, CallId, DeliveryMethod, EventId, Moment, ProfileAuth, ProfileChanged, ProfileId, Side, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use views::deliveries::{DeliveryState, ToldCount};
use views::{DeliveryFilter, Order};

use crate::address::{Path, Query};
use crate::body::{Body, Shape};
use crate::deliveries::again;
use crate::problem::Problem;
use crate::reply::Created;
use crate::server::Desk;

/// How the log names who changes something here.
const BY: &str = "api";
const PAGE: usize = 50;
const PAGE_MAX: usize = 1000;
/// How long the tables may take to be level with the log.
const LEVEL_WITHIN: Duration = Duration::from_secs(2);

/// A profile, without its secrets.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProfilePage {
    id: ProfileId,
    title: String,
    http_method: DeliveryMethod,
    url: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    auth: AuthPage,
    legacy_placeholders: bool,
    /// It signs what it sends.
    signed: bool,
    /// 1 active, 2 disabled because it did not answer, 3 disabled.
    status: Status,
    /// Why it was disabled by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    revision: u64,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// The secret that was made for it. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// How callbus says who it is; not its secrets.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AuthPage {
    None,
    Basic { user: String },
    Bearer { token_url: String, client_id: String, scope: Option<String> },
}

/// `?limit=&offset=&title=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
    /// Part of the title, in whatever case.
    title: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProfileList {
    profiles: Vec<ProfilePage>,
    total: usize,
}

/// A call to show a profile by; what is left out is that of an example.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sample {
    call_id: String,
    event: String,
    facts: CallFacts,
}

impl Default for Sample {
    fn default() -> Self {
        Self { call_id: "placed-6f1c0a52b3d94e7c8a10".to_owned(), event: "call_end".to_owned(), facts: example() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProfilePreview")]
pub(crate) struct PreviewPage {
    method: String,
    url: String,
    /// Without what is secret, and what is new in every attempt.
    headers: Vec<(String, String)>,
    body: String,
}

/// One delivery, or all that a call was told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retrigger {
    delivery: Option<String>,
    call: Option<CallId>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Retriggered {
    retriggered: usize,
}

/// `?since=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    since: Option<Timestamp>,
}

/// What a profile was told.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// On their way, or waiting.
    open: u64,
    delivered: u64,
    /// Given up.
    dead: u64,
    /// The same by event.
    events: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

impl Shape for ProfileSpec {
    const SHAPE: &'static str = "{title: \"…\", http_method: \"GET\", url: \"https://…\", …} (docs/profiles.md)";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        (
            "GET",
            r#"{ "title": "Call ended", "http_method": "GET", "url": "https://example.com/over?caller={{caller}}" }"#,
        ),
        (
            "POST",
            r#"{ "title": "CRM", "http_method": "POST", "url": "https://example.com/calls", "headers": { "content-type": "application/json" }, "body": "{\"call\": \"{{call_id}}\"}", "secret": "new" }"#,
        ),
    ];
}

impl Shape for Sample {
    const SHAPE: &'static str = "{call_id: \"…\", event: \"call_end\", facts: {…}}";
}

impl Shape for Retrigger {
    const SHAPE: &'static str = "{delivery: \"<webhook-id>\"} or {call: \"<id>\"}";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("call", r#"{ "call": "placed-6f1c0a52b3d94e7c8a10" }"#)];
}

pub(crate) async fn create(
    State(desk): State<Arc<Desk>>,
    Body(spec): Body<ProfileSpec>,
) -> Result<Created<ProfilePage>, Problem> {
    let saved = desk.profiles().create(&desk.outbound, &desk.region, &spec, BY).await.map_err(problem)?;
    Ok(Created(saved_page(saved)))
}

/// In the order they were created.
pub(crate) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(ListQuery { limit, offset, title }): Query<ListQuery>,
) -> Result<Json<ProfileList>, Problem> {
    let wanted = title.unwrap_or_default().to_lowercase();
    let all = desk.profiles().all().await.map_err(Problem::unavailable)?;
    let found = |profile: &Profile| profile.removed_at.is_none() && profile.put.title.to_lowercase().contains(&wanted);
    let mut found: Vec<Profile> = all.into_values().filter(found).collect();
    found.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    let total = found.len();
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    Ok(Json(ProfileList { profiles: found.into_iter().skip(offset).take(limit).map(page).collect(), total }))
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
) -> Result<Json<ProfilePage>, Problem> {
    Ok(Json(page(desk.profiles().find(&id).await.map_err(problem)?)))
}

/// Changes what is given (RFC 7396), and nothing else.
pub(crate) async fn change(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
    Body(spec): Body<ProfileSpec>,
) -> Result<Json<ProfilePage>, Problem> {
    let saved = desk.profiles().change(&desk.outbound, &id, &spec, BY).await.map_err(problem)?;
    Ok(Json(saved_page(saved)))
}

/// A new one as this one is; what is given is another.
pub(crate) async fn duplicate(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
    spec: Option<Body<ProfileSpec>>,
) -> Result<Created<ProfilePage>, Problem> {
    let Body(spec) = spec.unwrap_or_default();
    let made = desk.profiles().duplicate(&desk.outbound, &desk.region, &id, &spec, BY).await;
    Ok(Created(saved_page(made.map_err(problem)?)))
}

pub(crate) async fn enable(desk: State<Arc<Desk>>, id: Path<ProfileId>) -> Result<Json<ProfilePage>, Problem> {
    tell(desk, id, ProfileChanged::Enabled { by: BY.to_owned() }).await
}

pub(crate) async fn disable(desk: State<Arc<Desk>>, id: Path<ProfileId>) -> Result<Json<ProfilePage>, Problem> {
    tell(desk, id, ProfileChanged::Disabled { by: BY.to_owned() }).await
}

/// Answers what was removed.
pub(crate) async fn remove(desk: State<Arc<Desk>>, id: Path<ProfileId>) -> Result<Json<ProfilePage>, Problem> {
    tell(desk, id, ProfileChanged::Removed { by: BY.to_owned() }).await
}

/// What it would be told of a call. Sends nothing.
pub(crate) async fn preview(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
    sample: Option<Body<Sample>>,
) -> Result<Json<PreviewPage>, Problem> {
    let Body(Sample { call_id, event, facts }) = sample.unwrap_or_default();
    let moment = Moment::parse(&event).ok_or_else(|| Problem::Invalid(format!("there is no event {event:?}")))?;
    let profile = desk.profiles().find(&id).await.map_err(problem)?;
    let shown = delivery::preview_profile(&desk.outbound, &profile.put, &call_id, moment, &facts).await;
    let Preview { method, url, headers, body } = shown.map_err(|error| Problem::Conflict(error.to_string()))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Json(PreviewPage { method: method.to_string(), url: url.into(), headers, body }))
}

/// Tells again what was told, or given up: with the ids it had.
pub(crate) async fn retrigger(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
    Body(wanted): Body<Retrigger>,
) -> Result<Json<Retriggered>, Problem> {
    let lane = delivery::lane_of_profile(&id);
    desk.views.behind(&desk.bus, Stream::Deliveries, LEVEL_WITHIN).await.map_err(Problem::unavailable)?;
    let rows = match wanted {
        Retrigger { delivery: Some(delivery), call: None } => {
            let delivery = EventId::try_from(delivery).map_err(|error| Problem::Invalid(error.to_string()))?;
            desk.views.delivery(&delivery).await.map_err(Problem::unavailable)?.into_iter().collect()
        }
        Retrigger { delivery: None, call: Some(call) } => {
            let (destination, call) = (Some(lane.clone()), Some(call));
            let filter = DeliveryFilter { destination, call, ..DeliveryFilter::default() };
            desk.views.deliveries(&filter, Order::OldestFirst, AGAIN_MAX).await.map_err(Problem::unavailable)?
        }
        Retrigger { .. } => return Err(Problem::Invalid(format!("the body is not {}", Retrigger::SHAPE))),
    };
    let mut rows: Vec<_> = rows;
    rows.retain(|row| row.destination == lane.as_str());
    if rows.is_empty() {
        return Err(Problem::NotFound(format!("such delivery to the profile {id}")));
    }
    rows.retain(|row| matches!(row.state, DeliveryState::Delivered | DeliveryState::Dead));
    if rows.is_empty() {
        return Err(Problem::Conflict("it is on its way still, or waits".to_owned()));
    }
    match again(&desk, &lane, rows).await? {
        0 => Err(Problem::Unavailable("nobody took it: is a delivery process running? try again".to_owned())),
        retriggered => Ok(Json(Retriggered { retriggered })),
    }
}

pub(crate) async fn report(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
    Query(ReportQuery { since }): Query<ReportQuery>,
) -> Result<Json<Report>, Problem> {
    // One that was removed has its report still.
    let lane = delivery::lane_of_profile(&id);
    desk.views.behind(&desk.bus, Stream::Deliveries, LEVEL_WITHIN).await.map_err(Problem::unavailable)?;
    let counts = desk.views.told(&lane, since).await.map_err(Problem::unavailable)?;
    let mut report = Report::default();
    for ToldCount { moment, state, count } in counts {
        match state {
            DeliveryState::Queued | DeliveryState::Attempted | DeliveryState::Failed => report.open += count,
            DeliveryState::Delivered => report.delivered += count,
            DeliveryState::Dead => report.dead += count,
        }
        report.events.entry(moment).or_default().insert(state.as_str(), count);
    }
    Ok(Json(report))
}

async fn tell(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<ProfileId>,
    changed: ProfileChanged,
) -> Result<Json<ProfilePage>, Problem> {
    Ok(Json(page(desk.profiles().tell(&id, changed).await.map_err(problem)?)))
}

fn saved_page(saved: Saved) -> ProfilePage {
    let Saved { profile, warnings, made } = saved;
    ProfilePage { warnings, secret: made.map(|secret| secret.reveal()), ..page(profile) }
}

fn page(profile: Profile) -> ProfilePage {
    let Profile { id, put, revision, status, cause, created_at, .. } = profile;
    let auth = match put.auth {
        ProfileAuth::None => AuthPage::None,
        ProfileAuth::Basic { user, .. } => AuthPage::Basic { user },
        ProfileAuth::Bearer { token_url, client_id, scope, .. } => AuthPage::Bearer { token_url, client_id, scope },
    };
    ProfilePage {
        id,
        title: put.title,
        http_method: put.method,
        url: put.url,
        headers: put.headers,
        body: put.body,
        auth,
        legacy_placeholders: put.legacy_placeholders,
        signed: !put.keys.is_empty(),
        status,
        cause,
        revision,
        created_at,
        warnings: Vec::new(),
        secret: None,
    }
}

fn problem(error: ProfileError) -> Problem {
    match error {
        ProfileError::Bad(_) => Problem::Invalid(error.to_string()),
        ProfileError::Unknown(id) => Problem::NotFound(format!("profile {id}")),
        ProfileError::TooMany | ProfileError::Contended => Problem::Conflict(error.to_string()),
        ProfileError::Append(_) | ProfileError::Unavailable(_) | ProfileError::Random(_) => Problem::unavailable(error),
    }
}

/// An outbound call of a minute.
fn example() -> CallFacts {
    let at = |secs: i64| Timestamp::from_second(1_795_338_000 + secs).ok();
    CallFacts {
        caller: "+46850000001".to_owned(),
        callee: "+46701234567".to_owned(),
        status: "ended".to_owned(),
        direction: "outbound".to_owned(),
        started_at: at(0),
        answered_at: at(7),
        ended_at: at(67),
        duration_secs: Some(60),
        billed_secs: Some(60),
        cost: Some(rust_decimal::Decimal::new(1200, 4)),
        currency: Some("EUR".to_owned()),
        reason: Some("CALLEEHANGUP".to_owned()),
        result: Some("ANSWERED".to_owned()),
        custom: "order 17".to_owned(),
        recording_url: None,
        leg: Some(Side::To),
    }
}

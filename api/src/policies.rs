//! `/v1/policies/<app>`: which policy decides for an app, and since when.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use policy::Bundle;
use proto::{AppName, PolicyOrigin, PolicyPutInForce};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use workers::policies::{PoliciesError, PutInForce, newest};
use workers::status::{WorkerStatus, survey};

use crate::address::Path;
use crate::body::{self, Body, Shape};
use crate::problem::Problem;
use crate::server::Desk;

/// A policy with its list files.
const BYTES_MAX: usize = 128 * 1024 * 1024;
/// Digits of a revision that are enough to name it.
const PREFIX_MIN: usize = 4;
const FILE_NAME_MAX_CHARS: usize = 1_000;

/// A revision, when and how it came into force.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RevisionPage {
    /// Place in the log: workers that have seen it decide by it.
    seq: u64,
    at: Timestamp,
    /// Of its content; empty where a shadow was ended.
    revision: String,
    file: String,
    shadow: bool,
    origin: PolicyOrigin,
    note: String,
    /// Whether it decides now, or does in the shadow.
    in_force: bool,
}

/// The history of an app's policy, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PoliciesPage {
    app: AppName,
    revisions: Vec<RevisionPage>,
    workers: Vec<WorkerStatus>,
}

/// A policy to put in force.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    policy: Bundle,
    #[serde(default)]
    note: String,
}

/// Which revision to go back to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// Its first digits; the one before without it.
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    note: String,
}

impl Shape for Push {
    const SHAPE: &'static str = "{policy: {file_name, text, files}, note}";
    const BYTES_MAX: usize = BYTES_MAX;
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[(
        "reject all",
        r#"{ "policy": { "version": 1, "file_name": "acme.yaml", "text": "version: 1\nice: [{ name: closed, deny: CLOSED }]\n" }, "note": "closed" }"#,
    )];
}

impl Shape for Rollback {
    const SHAPE: &'static str = "{to: \"1214fb13\", note}";
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(app): Path<AppName>,
) -> Result<Json<PoliciesPage>, Problem> {
    known(&desk, &app)?;
    let history = desk.policies().history(&app).await.map_err(Problem::unavailable)?;
    let in_force = [false, true].map(|shadow| newest(&history, shadow).map(|put| put.seq));
    let page = |put: &PutInForce| RevisionPage { in_force: in_force.contains(&Some(put.seq)), ..page(put) };
    let revisions = history.iter().rev().map(page).collect();
    let workers = survey(&desk.bus).await.map_err(Problem::unavailable)?;
    let workers = workers.into_iter().filter(|worker| worker.apps.iter().any(|status| status.app == app)).collect();
    Ok(Json(PoliciesPage { app, revisions, workers }))
}

/// The text of a revision with its list files, as it was put in force.
pub(crate) async fn text(
    State(desk): State<Arc<Desk>>,
    Path((app, revision)): Path<(AppName, String)>,
) -> Result<Json<Bundle>, Problem> {
    known(&desk, &app)?;
    let history = desk.policies().history(&app).await.map_err(Problem::unavailable)?;
    let put = find(&history, &revision)?;
    let found = desk.policies().bundle(&put.what.revision).await.map_err(Problem::unavailable)?;
    found.map(Json).ok_or_else(|| Problem::NotFound(format!("text of revision {revision}")))
}

/// Checks a policy as a worker would, and puts it in force. A file that says `mode: shadow` goes into the shadow.
pub(crate) async fn push(
    State(desk): State<Arc<Desk>>,
    Path(app): Path<AppName>,
    Body(Push { policy: bundle, note }): Body<Push>,
) -> Result<Json<RevisionPage>, Problem> {
    known(&desk, &app)?;
    let note = body::note(note)?;
    if bundle.file_name.chars().count() > FILE_NAME_MAX_CHARS || bundle.file_name.chars().any(char::is_control) {
        return Err(Problem::Invalid(format!("file_name is one line of at most {FILE_NAME_MAX_CHARS} characters")));
    }
    let (bundle, policy) = spawn_blocking(move || bundle.load().map(|policy| (bundle, policy)))
        .await
        .map_err(Problem::unavailable)?
        .map_err(|errors| Problem::Invalid(errors.to_string()))?;
    let what = PolicyPutInForce {
        revision: policy.revision().to_owned(),
        file: bundle.file_name.clone(),
        shadow: policy.is_shadow(),
        origin: PolicyOrigin::Push,
        note,
    };
    let put = desk.policies().put_in_force(&app, &bundle, what).await?;
    Ok(Json(page(&put)))
}

/// Puts an earlier revision in force again.
pub(crate) async fn rollback(
    State(desk): State<Arc<Desk>>,
    Path(app): Path<AppName>,
    Body(Rollback { to, note }): Body<Rollback>,
) -> Result<Json<RevisionPage>, Problem> {
    known(&desk, &app)?;
    let note = body::note(note)?;
    let history = desk.policies().history(&app).await.map_err(Problem::unavailable)?;
    let to = match &to {
        Some(prefix) => find(&history, prefix)?,
        None => before(&history)
            .ok_or_else(|| Problem::Conflict(format!("{app} has had no other revision to go back to")))?,
    };
    let what = PolicyPutInForce { origin: PolicyOrigin::Rollback, note, ..to.what.clone() };
    let put = desk.policies().announce(&app, what).await?;
    Ok(Json(page(&put)))
}

/// Ends the shadow: nothing decides beside the policy in force any more.
pub(crate) async fn end_shadow(
    State(desk): State<Arc<Desk>>,
    Path(app): Path<AppName>,
) -> Result<Json<RevisionPage>, Problem> {
    known(&desk, &app)?;
    let history = desk.policies().history(&app).await.map_err(Problem::unavailable)?;
    let shadow = newest(&history, true);
    let shadow = shadow.ok_or_else(|| Problem::NotFound(format!("policy in the shadow of {app}")))?;
    let what = PolicyPutInForce { revision: String::new(), origin: PolicyOrigin::Push, ..shadow.what.clone() };
    let put = desk.policies().announce(&app, what).await?;
    Ok(Json(page(&put)))
}

impl From<PoliciesError> for Problem {
    fn from(error: PoliciesError) -> Self {
        match error {
            PoliciesError::Contended => Self::Conflict(error.to_string()),
            PoliciesError::Append(_) | PoliciesError::Unavailable(_) => Self::unavailable(error),
        }
    }
}

/// The revision that was in force before the one that is.
fn before(history: &[PutInForce]) -> Option<&PutInForce> {
    let now = newest(history, false)?;
    history.iter().rev().find(|put| !put.what.shadow && put.what.revision != now.what.revision)
}

/// A revision of the history by its first digits.
fn find<'h>(history: &'h [PutInForce], prefix: &str) -> Result<&'h PutInForce, Problem> {
    if prefix.len() < PREFIX_MIN {
        return Err(Problem::Invalid(format!("name a revision by its first {PREFIX_MIN} digits or more")));
    }
    let mut found = history.iter().rev().filter(|put| put.what.revision.starts_with(prefix));
    let first = found.next().ok_or_else(|| Problem::NotFound(format!("revision {prefix} of this app")))?;
    if found.any(|other| other.what.revision != first.what.revision) {
        return Err(Problem::Invalid(format!("several revisions begin with {prefix}: write more digits")));
    }
    Ok(first)
}

fn page(put: &PutInForce) -> RevisionPage {
    let what = put.what.clone();
    RevisionPage {
        seq: put.seq,
        at: put.at,
        revision: what.revision,
        file: what.file,
        shadow: what.shadow,
        origin: what.origin,
        note: what.note,
        in_force: true,
    }
}

/// Whether it is an app of this installation.
fn known(desk: &Desk, app: &AppName) -> Result<(), Problem> {
    if desk.apps.contains(app) {
        return Ok(());
    }
    let known = desk.apps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Problem::NotFound(format!("app {app}; the configuration has: {known}")))
}

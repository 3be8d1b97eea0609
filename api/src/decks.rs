//! `/v1/decks/<name>`: price lists, checked whole before they are kept; their versions.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use bytes::Bytes;
use jiff::Timestamp;
use money::{Currency, Deck, DeckFormat, DeckVersion, DeckVersions, Sheet};
use proto::DeckName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::spawn_blocking;
use workers::deck_log::{DeckLogError, Imported, catch_up, deck_in_force, early_deck, import};

use crate::address::{Path, Query};
use crate::body;
use crate::openapi::{Operation, Reads, Schemas};
use crate::problem::Problem;
use crate::reply::Either;
use crate::server::Desk;

use diff::DiffPage;

pub(crate) mod diff;
pub(crate) mod price;

/// A price list of a million prefixes is smaller.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Versions listed at most, the newest.
const VERSIONS_MAX: usize = 1000;

/// `?as=&currency=&from=&dry_run=&limit=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// Found by the header without.
    #[serde(rename = "as")]
    format: Option<String>,
    /// Of a sheet that names none.
    currency: Option<Currency>,
    /// When it comes into force; at once without it.
    from: Option<Timestamp>,
    /// Says what would change, and changes nothing.
    #[serde(default)]
    dry_run: bool,
    /// How many changes a dry run lists.
    limit: Option<usize>,
}

/// What an import came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ImportPage {
    deck: String,
    version: String,
    effective_from: Timestamp,
    prefixes: usize,
    /// How the file was read.
    format: &'static str,
    /// It was in force so already.
    unchanged: bool,
}

/// A price list, by the version that is in force now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeckPage {
    deck: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_from: Option<Timestamp>,
    prefixes: usize,
}

/// The versions of a price list, the one that begins last on top.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VersionsPage {
    deck: String,
    versions: Vec<VersionLine>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct VersionLine {
    /// Of its content; stands in every hold.
    version: String,
    /// Absent for a price list that was there before versions were.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imported_at: Option<Timestamp>,
    prefixes: usize,
    in_force: bool,
}

/// A price list, as CSV.
#[derive(Debug)]
pub(crate) struct File(Bytes);

impl<S: Send + Sync> FromRequest<S> for File {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        body::read(request, BYTES_MAX).await.map(Self)
    }
}

impl Reads for File {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.takes(true, json!({ "text/csv": { "schema": { "type": "string" }, "examples": {
            "callbus": { "value": "prefix,destination,connect_fee,rate,unit_s,increments,rounding,currency\n46,Sweden,0,0.004,60,1/1,up4,EUR\n" },
        } } }));
    }
}

pub(crate) async fn put(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DeckName>,
    Query(query): Query<ImportQuery>,
    File(bytes): File,
) -> Result<Either<Json<ImportPage>, Json<DiffPage>>, Problem> {
    let now = desk.clock.now();
    let format = query.format.as_deref().map(str::parse::<DeckFormat>).transpose();
    let format = format.map_err(|error| Problem::Invalid(format!("as is {error}")))?;
    let from = query.from.unwrap_or(now);
    let sheet = Sheet { format, currency: query.currency, in_force_at: Some(from) };
    let (deck, format) = read(name.to_string(), bytes, sheet).await?;
    if query.dry_run {
        let old = deck_in_force(&desk.bus, &name, from).await.map_err(problem)?;
        return diff::between(old, deck, from, query.limit).await.map(Json).map(Either::Other);
    }
    let put = import(&desk.bus, &name, &deck, query.from, now).await;
    let Imported { version, unchanged } = put.map_err(problem)?;
    let DeckVersion { version, effective_from, prefixes, .. } = version;
    let format = format.as_str();
    Ok(Either::One(Json(ImportPage { deck: name.into(), version, effective_from, prefixes, format, unchanged })))
}

pub(crate) async fn get(State(desk): State<Arc<Desk>>, Path(name): Path<DeckName>) -> Result<Json<DeckPage>, Problem> {
    let in_force = lines(&desk, &name).await?.into_iter().find(|version| version.in_force);
    let in_force = in_force.ok_or_else(|| Problem::NotFound(format!("price list {name} in force; import one")))?;
    let VersionLine { version, effective_from, prefixes, .. } = in_force;
    Ok(Json(DeckPage { deck: name.into(), version, effective_from, prefixes }))
}

pub(crate) async fn versions(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DeckName>,
) -> Result<Json<VersionsPage>, Problem> {
    let mut versions = lines(&desk, &name).await?;
    if versions.is_empty() {
        return Err(Problem::NotFound(format!("price list {name}; import one")));
    }
    versions.truncate(VERSIONS_MAX);
    Ok(Json(VersionsPage { deck: name.into(), versions }))
}

/// All versions, the one that begins last first.
async fn lines(desk: &Desk, name: &DeckName) -> Result<Vec<VersionLine>, Problem> {
    let mut versions = DeckVersions::default();
    catch_up(&desk.bus, name, &mut versions).await.map_err(Problem::unavailable)?;
    if versions.is_empty() {
        let early = early_deck(&desk.bus, name).await.map_err(problem)?;
        let line = |(_, deck): (String, Deck)| VersionLine {
            version: deck.identity().version.clone(),
            effective_from: None,
            imported_at: None,
            prefixes: deck.len(),
            in_force: true,
        };
        return Ok(early.map(line).into_iter().collect());
    }
    let in_force = versions.until(desk.clock.now()).count().checked_sub(1);
    let lines = versions.all().iter().enumerate();
    let line = |(index, version): (usize, &DeckVersion)| VersionLine {
        version: version.version.clone(),
        effective_from: Some(version.effective_from),
        imported_at: Some(version.imported_at),
        prefixes: version.prefixes,
        in_force: Some(index) == in_force,
    };
    Ok(lines.rev().map(line).collect())
}

/// Reading hundreds of thousands of lines takes a second: not on a thread that others wait for.
async fn read(name: String, bytes: Bytes, sheet: Sheet) -> Result<(Deck, DeckFormat), Problem> {
    let read = spawn_blocking(move || Deck::from_sheet(name, &bytes, &sheet)).await.map_err(Problem::unavailable)?;
    read.map_err(Problem::Deck)
}

fn problem(error: DeckLogError) -> Problem {
    match error {
        DeckLogError::Passed { .. } => Problem::Invalid(error.to_string()),
        DeckLogError::Contended => Problem::Conflict(error.to_string()),
        DeckLogError::Deck(errors) => Problem::Deck(errors),
        DeckLogError::Append(_) | DeckLogError::Unavailable(_) | DeckLogError::Lost(_) | DeckLogError::GivenUp => {
            Problem::unavailable(error)
        }
    }
}

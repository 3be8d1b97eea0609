//! `/v1/decks/<name>/diff`: what changes from one version to another.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use money::{ChangeKind, Deck, DeckChange, DeckDiff};
use proto::DeckName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use workers::deck_log::{DeckLogError, deck_of_version};

use super::problem;
use crate::address::{Path, Query};
use crate::problem::Problem;
use crate::server::Desk;

const CHANGES_SHOWN: usize = 100;
const CHANGES_MAX: usize = 10_000;

/// `?old=&new=&limit=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffQuery {
    old: String,
    new: String,
    /// How many changes are listed; all are counted.
    limit: Option<usize>,
}

/// What changes. Calls of a minute are compared.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiffPage {
    deck: String,
    /// Absent where nothing was in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    new: String,
    added: usize,
    removed: usize,
    dearer: usize,
    cheaper: usize,
    otherwise: usize,
    same: usize,
    /// By prefix.
    changes: Vec<DeckChange>,
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<DeckName>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<DiffPage>, Problem> {
    let read = async |version: &str| {
        deck_of_version(&desk.bus, &name, version).await.map_err(|error| {
            if let DeckLogError::Lost(version) = error {
                Problem::NotFound(format!("version {version:?} of price list {name}"))
            } else {
                problem(error)
            }
        })
    };
    let (old, new) = (read(&query.old).await?, read(&query.new).await?);
    between(Some(old), new, desk.clock.now(), query.limit).await.map(Json)
}

/// Compares on a thread that nobody waits for.
pub(super) async fn between(
    old: Option<Deck>,
    new: Deck,
    at: Timestamp,
    limit: Option<usize>,
) -> Result<DiffPage, Problem> {
    let compare = move || {
        let version = |deck: &Deck| deck.identity().version.clone();
        let was = old.as_ref().map(version);
        let mut diff = DeckDiff::between(&old.unwrap_or_default(), &new, at);
        let count = |kind| diff.count(kind);
        let mut page = DiffPage {
            deck: new.identity().name.clone(),
            old: was,
            new: version(&new),
            added: count(ChangeKind::Added),
            removed: count(ChangeKind::Removed),
            dearer: count(ChangeKind::Dearer),
            cheaper: count(ChangeKind::Cheaper),
            otherwise: count(ChangeKind::Otherwise),
            same: diff.same,
            changes: Vec::new(),
        };
        diff.changes.truncate(limit.unwrap_or(CHANGES_SHOWN).min(CHANGES_MAX));
        page.changes = diff.changes;
        page
    };
    spawn_blocking(compare).await.map_err(Problem::unavailable)
}

//! `/v1/decks/<name>`: price lists, checked whole before they are kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use money::Deck;
use proto::AppName;
use serde::Serialize;
use tokio::task::spawn_blocking;
use workers::deck_document;

use crate::problem::Problem;
use crate::server::Desk;

/// A price list of a million prefixes is smaller.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;

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
    let name = deck_name(&name)?;
    let found = desk.bus.document(&deck_document(&name)).await.map_err(Problem::unavailable)?;
    let found = found.ok_or_else(|| Problem::NotFound(format!("price list {name}; import one")))?;
    let deck = read(name, found.bytes).await?;
    Ok(Json(page(&deck, found.revision)))
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

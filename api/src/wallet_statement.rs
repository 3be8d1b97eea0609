//! `/v1/wallets/{id}/statement`: opening balance, every posting with its cause, closing balance.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use billing::history;
use jiff::Timestamp;
use money::statement;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::masked;
use crate::problem::Problem;
use crate::server::Desk;
use crate::wallets::{no_wallet, wallet_id};

/// Postings of one statement; a longer time is asked for in parts.
const LINES_MAX: usize = 100_000;

/// `?from=&to=&reveal=1`; `from` belongs to it, `to` does not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatementQuery {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    reveal: Option<u8>,
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    query: Result<Query<StatementQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let id = wallet_id(id)?;
    let events = history::events(&desk.bus, &id, 0).await.map_err(Problem::unavailable)?;
    if events.is_empty() {
        return Err(no_wallet(&id));
    }
    let (from, to) = (query.from.unwrap_or(Timestamp::MIN), query.to.unwrap_or(Timestamp::MAX));
    let events = events.iter().map(|posted| (posted.seq, posted.time, &posted.event));
    let statement = statement(events, from, to).map_err(Problem::unavailable)?;
    if statement.lines.len() > LINES_MAX {
        let lines = statement.lines.len();
        return Err(Problem::Invalid(format!(
            "the statement has {lines} lines; ask for a shorter time, up to {LINES_MAX}"
        )));
    }
    let mut page = json!({ "wallet": id, "statement": statement });
    if query.reveal != Some(1) {
        // Not the whole page: a large amount has as many digits as a number.
        for line in page["statement"]["lines"].as_array_mut().into_iter().flatten() {
            for name in ["call", "id", "note"] {
                if let Some(field) = line.get_mut(name) {
                    masked::value(field);
                }
            }
        }
    }
    Ok(Json(page))
}

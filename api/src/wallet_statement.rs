//! `/v1/wallets/{id}/statement`: opening balance, every posting with its cause, closing balance.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use billing::history;
use jiff::Timestamp;
use money::{Statement, statement};
use proto::WalletId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::address::{Path, Query};
use crate::masked;
use crate::problem::Problem;
use crate::server::Desk;
use crate::wallets::no_wallet;

/// Postings of one statement; a longer time is asked for in parts.
const LINES_MAX: usize = 100_000;

/// `?from=&to=&reveal=1`; `from` belongs to it, `to` does not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatementQuery {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    reveal: Option<u8>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatementPage {
    wallet: WalletId,
    /// Numbers in it are masked.
    #[schemars(with = "Statement")]
    statement: Value,
}

pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<WalletId>,
    Query(query): Query<StatementQuery>,
) -> Result<Json<StatementPage>, Problem> {
    let events = history::events(&desk.bus, &id, 0).await.map_err(Problem::unavailable)?;
    // Without a time it begins with the wallet: no RFC 3339 reaches back to the beginning of all time.
    let first = events.iter().map(|posted| posted.time).min().ok_or_else(|| no_wallet(&id))?;
    let (from, to) = (query.from.unwrap_or(first), query.to.unwrap_or(Timestamp::MAX));
    let events = events.iter().map(|posted| (posted.seq, posted.time, &posted.event));
    let statement = statement(events, from, to).map_err(Problem::unavailable)?;
    if statement.lines.len() > LINES_MAX {
        let lines = statement.lines.len();
        return Err(Problem::Invalid(format!(
            "the statement has {lines} lines; ask for a shorter time, up to {LINES_MAX}"
        )));
    }
    let mut statement = json!(statement);
    if query.reveal != Some(1) {
        // Not all of it: a large amount has as many digits as a number.
        for line in statement["lines"].as_array_mut().into_iter().flatten() {
            for name in ["call", "id", "note"] {
                if let Some(field) = line.get_mut(name) {
                    masked::value(field);
                }
            }
        }
    }
    Ok(Json(StatementPage { wallet: id, statement }))
}

//! `/v1/views`: how far the tables are.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use proto::Stream;
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::Problem;
use crate::server::Desk;

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Standing {
    calls: StreamStanding,
    wallets: StreamStanding,
}

#[derive(Debug, Serialize, JsonSchema)]
struct StreamStanding {
    /// Up to this sequence of the stream the tables have everything.
    seq: u64,
    /// Sequences of the stream that are not in the tables yet.
    behind: u64,
}

pub(crate) async fn show(State(desk): State<Arc<Desk>>) -> Result<Json<Standing>, Problem> {
    let standing = async |stream| {
        let seq = desk.views.seq(stream).await?;
        let behind = desk.views.behind(&desk.bus, stream, Duration::ZERO).await?;
        Ok::<_, views::Error>(StreamStanding { seq, behind })
    };
    let calls = standing(Stream::Calls).await.map_err(Problem::unavailable)?;
    let wallets = standing(Stream::Wallets).await.map_err(Problem::unavailable)?;
    Ok(Json(Standing { calls, wallets }))
}

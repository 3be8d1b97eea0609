//! `/v1/rejected`: callbacks that were turned away. The list lives in the ingress, so the ingress is asked.
//!
//! With several ingresses, one of them answers: each knows only those it turned away itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bus::{Bus, Question, ServeSpec, Unavailable};
use bytes::Bytes;
use ingress::{Rejected, Rejections};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;
use crate::server::Desk;

const SUBJECT: &str = "ingress.v1.rejected";
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const ASKS_MAX: usize = 8;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RejectedCallbacks")]
pub(crate) struct Page {
    /// Newest first.
    rejected: Vec<Rejected>,
}

/// The ingress's side: answers with its list until asked to stop.
///
/// # Errors
/// When the broker does not let it serve.
pub async fn serve(bus: &Bus, rejections: Rejections, stop: CancellationToken) -> Result<(), Unavailable> {
    let spec = ServeSpec {
        name: "callbus-rejected".to_owned(),
        group: "ingress".to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        concurrency_max: ASKS_MAX,
    };
    let answer = move |_| {
        let list = serde_json::to_vec(&rejections.list()).unwrap_or_default();
        async { Bytes::from(list) }
    };
    bus.serve(spec, answer, stop).await
}

pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Result<Json<Page>, Problem> {
    let reply = desk.bus.ask(SUBJECT, Question::default(), Instant::now() + ANSWERED_WITHIN).await;
    let reply = reply.map_err(Problem::unavailable)?;
    let mut rejected: Vec<Rejected> = serde_json::from_slice(&reply).map_err(Problem::unavailable)?;
    rejected.reverse();
    Ok(Json(Page { rejected }))
}

//! By which policies each worker decides: what `callbus policy push` waits for, and `policy ls` shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Question, ServeSpec, Unavailable};
use bytes::Bytes;
use proto::AppName;
use proto::event::json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::control::{Control, InForce};

/// Every worker answers here for itself.
const SUBJECT: &str = "policy.v1.status";
/// A worker that has not answered by then does not count.
const ANSWERED_WITHIN: Duration = Duration::from_millis(300);
const ASKS_MAX: usize = 8;

/// What one worker decides by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    pub worker: String,
    pub apps: Vec<AppStatus>,
}

/// The policy of one app, in one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppStatus {
    pub app: AppName,
    /// The newest change of the app's policy that this worker has seen, be it taken or refused.
    pub seq: u64,
    /// Of the policy that decides, or the name of the handler in its place.
    pub revision: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Why the newest revision was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Asks all workers.
///
/// # Errors
/// When the bus cannot be reached. Nobody there is no error.
pub async fn survey(bus: &Bus) -> Result<Vec<WorkerStatus>, Unavailable> {
    let answers = bus.survey(SUBJECT, Question::default(), ANSWERED_WITHIN).await?;
    let mut all: Vec<WorkerStatus> = answers.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
    all.sort_by(|a, b| a.worker.cmp(&b.worker));
    Ok(all)
}

/// Answers for this worker until asked to stop.
///
/// # Errors
/// When the broker does not let it serve.
pub(crate) async fn serve(
    bus: &Bus,
    worker: &str,
    control: Arc<Control>,
    handlers: BTreeMap<AppName, String>,
    stop: CancellationToken,
) -> Result<(), Unavailable> {
    let spec = ServeSpec {
        name: "callbus-policy-status".to_owned(),
        // A group of its own, so that every worker is asked.
        group: proto::subject::token(worker),
        subjects: vec![SUBJECT.to_owned()],
        concurrency_max: ASKS_MAX,
    };
    let worker = worker.to_owned();
    let answer = move |_| {
        let apps = control.all().into_iter().map(|(app, in_force)| status(&handlers, app, &in_force)).collect();
        let body = json(&WorkerStatus { worker: worker.clone(), apps });
        async { Bytes::from(body) }
    };
    bus.serve(spec, answer, stop).await
}

fn status(handlers: &BTreeMap<AppName, String>, app: AppName, in_force: &InForce) -> AppStatus {
    let handler = handlers.get(&app).cloned();
    AppStatus {
        app,
        seq: in_force.seq,
        revision: handler.unwrap_or_else(|| in_force.policy.revision().to_owned()),
        shadow: in_force.shadow.as_ref().map(|shadow| shadow.revision().to_owned()),
        refused: in_force.refused.clone(),
    }
}

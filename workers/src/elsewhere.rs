//! Asking elsewhere: a callback server that is already there, or a program of the operator's own on the bus.
//!
//! The answer decides, but it is not believed: it is checked as our own are, and rated and held where the rule reserves.

use std::time::Duration;

use bus::Question;
use bytes::Bytes;
use outbound::{Method, Request, Url};
use policy::{Ask, AskTo, Decision};
use proto::event::signed;
use proto::subject::decide_subject;
use proto::{Event, Svaml};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::decide::{Desk, Matter};

/// An answer is never longer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Kept for what comes after the ask: credit, the claim, the way back.
const LEFT_FOR_THE_REST: Duration = Duration::from_millis(200);

/// What a program on the bus is asked: everything a rule could have read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Asking<'a> {
    app: &'a str,
    kind: &'a str,
    call: &'a str,
    /// The callback as it was received.
    callback: &'a RawValue,
    /// What a condition of the policy could read, by the same names.
    facts: &'a Map<String, Value>,
}

impl Desk {
    /// The SVAML of whoever is asked, or why there is none.
    pub(crate) async fn ask_elsewhere(
        &self,
        matter: &Matter<'_>,
        ask: &Ask,
        decision: &Decision,
    ) -> Result<Svaml, String> {
        let within = ask.timeout.min(self.left(matter));
        let body = match &ask.to {
            AskTo::Url(url) => self.forward(&matter.event, url, within).await?,
            AskTo::Nats => {
                let question = question(matter, decision)?;
                let subject = decide_subject(matter.kind, &matter.app.name);
                let asked = self.bus.ask(&subject, question, Instant::now() + within).await;
                asked.map_err(|error| error.to_string())?
            }
        };
        serde_json::from_slice(&body).map_err(|error| format!("its answer is not SVAML: {error}"))
    }

    /// The time somebody else may take to answer; the rest is ours.
    pub(crate) fn left(&self, matter: &Matter<'_>) -> Duration {
        let left = Duration::try_from(matter.deadline.duration_since(self.clock.now())).unwrap_or_default();
        left.saturating_sub(LEFT_FOR_THE_REST)
    }

    /// The callback again, with the bytes and headers that Sinch signed: who is asked can verify it as if Sinch had.
    async fn forward(&self, event: &Event, url: &str, within: Duration) -> Result<Bytes, String> {
        let mut url = Url::parse(url).map_err(|error| error.to_string())?;
        if url.path() == "/" {
            // The signature covers the path.
            url.set_path(event.attribute(signed::PATH).unwrap_or("/"));
        }
        let header =
            |name: &str, attribute| event.attribute(attribute).map(|value| (name.to_owned(), value.to_owned()));
        let headers = [
            header("authorization", signed::AUTHORIZATION),
            header("x-timestamp", signed::TIMESTAMP),
            header("content-type", signed::CONTENT_TYPE),
        ];
        let request = Request {
            method: Method::POST,
            url,
            headers: headers.into_iter().flatten().collect(),
            body: event.data.clone(),
            timeout: within,
            body_bytes_max: Some(ANSWER_BYTES_MAX),
        };
        let reply = self.outbound.send(request).await.map_err(|error| error.to_string())?;
        if !(200..300).contains(&reply.status) {
            return Err(format!("it answers {}", reply.status));
        }
        Ok(reply.body)
    }
}

fn question(matter: &Matter<'_>, decision: &Decision) -> Result<Question, String> {
    let asking = Asking {
        app: matter.app.name.as_str(),
        kind: matter.kind.as_str(),
        call: matter.call.as_str(),
        callback: serde_json::from_slice(&matter.event.data).map_err(|error| error.to_string())?,
        facts: &decision.explanation.facts,
    };
    let data = serde_json::to_vec(&asking).map_err(|error| error.to_string())?;
    Ok(Question { headers: Vec::new(), data: Bytes::from(data) })
}

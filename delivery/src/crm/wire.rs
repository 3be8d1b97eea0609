//! One conversation with a CRM: what it is asked, and what its answers mean for the delivery.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use outbound::{Method, Outbound, Request, Url};
use serde_json::Value;
use tokio::time::Instant;

use super::template::{in_url, text_of};
use crate::lane::Answer;
use crate::webhook::retry_after;

/// What a CRM says is an object or a short list of them.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Of what it says of an error, for the cause.
const WORDS_CHARS_MAX: usize = 160;
/// Pause after a 429 that does not say how long.
const LIMITED_FOR: Duration = Duration::from_secs(10);

/// The connection: it sends, or only shows what would be sent.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    pub base: &'a Url,
    pub now: Timestamp,
    pub mode: Mode<'a>,
}

#[derive(Debug)]
pub(super) enum Mode<'a> {
    Sends {
        outbound: &'a Outbound,
        until: Instant,
    },
    /// Every question is written down, and answered with a sample.
    Shows(Mutex<Vec<Request>>),
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub method: Method,
    /// With the query, encoded; it is added to the address of the CRM.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub payload: Payload,
}

#[derive(Debug, Clone)]
pub(super) enum Payload {
    None,
    Json(Value),
    Form(Vec<(String, String)>),
}

/// What came back.
#[derive(Debug)]
pub(super) struct Heard {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// Null where it is no JSON.
    pub body: Value,
}

impl Wire<'_> {
    pub(super) fn shows(&self) -> bool {
        matches!(self.mode, Mode::Shows(_))
    }

    /// Asks once. `sample` is what is answered where nothing is sent.
    pub(super) async fn ask(&self, ask: Ask, sample: impl FnOnce() -> Value) -> Result<Heard, Answer> {
        let Ask { method, path, mut headers, payload } = ask;
        let url = Url::parse(&format!("{}{path}", self.base.as_str().trim_end_matches('/')));
        let url = url.map_err(|error| hopeless(None, format!("{path}: {error}")))?;
        let mut says = |what: &str| headers.push(("content-type".to_owned(), what.to_owned()));
        let body = match payload {
            Payload::None => String::new(),
            Payload::Json(json) => {
                says("application/json");
                json.to_string()
            }
            Payload::Form(pairs) => {
                says("application/x-www-form-urlencoded");
                let encoded = |text: &str| in_url(text).collect::<String>();
                let pair = |(name, value): &(String, String)| format!("{}={}", encoded(name), encoded(value));
                pairs.iter().map(pair).collect::<Vec<_>>().join("&")
            }
        };
        headers.push(("accept".to_owned(), "application/json".to_owned()));
        let request = |timeout| Request {
            method,
            url,
            headers,
            body: Bytes::from(body),
            timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        match &self.mode {
            Mode::Shows(shown) => {
                shown.lock().unwrap_or_else(PoisonError::into_inner).push(request(Duration::ZERO));
                Ok(Heard { status: 200, retry_after: None, body: sample() })
            }
            Mode::Sends { outbound, until } => {
                let request = request(until.saturating_duration_since(Instant::now()));
                let reply = outbound.send(request).await.map_err(|error| again(None, error.to_string()))?;
                Ok(Heard {
                    status: reply.status,
                    retry_after: reply.header("retry-after").and_then(|value| retry_after(value, self.now)),
                    body: serde_json::from_slice(&reply.body).unwrap_or_default(),
                })
            }
        }
    }
}

impl Heard {
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What follows where a CRM has no words of its own for it. 401 and 403 are about us and not about the call: it is
    /// tried again, and parked with all others while it goes on, until somebody puts better credentials.
    pub(super) fn refusal(&self) -> Answer {
        let cause = format!("it answers {}{}", self.status, self.words());
        match self.status {
            429 => self.limited(self.retry_after.unwrap_or(LIMITED_FOR), cause),
            503 if self.retry_after.is_some() => self.limited(self.retry_after.unwrap_or_default(), cause),
            401 | 403 | 408 | 409 | 425 | 500.. => again(Some(self.status), cause),
            _ => hopeless(Some(self.status), cause),
        }
    }

    pub(super) fn limited(&self, pause: Duration, cause: String) -> Answer {
        Answer::Limited { status: self.status, cause, pause: pause.max(Duration::from_secs(1)) }
    }

    /// What it says of an error, where CRMs say it.
    pub(super) fn words(&self) -> String {
        const AT: [&str; 7] = [
            "/message",
            "/0/message",
            "/errors/0/message",
            "/error_description",
            "/error",
            "/description",
            "/errorCode",
        ];
        let found = AT.iter().find_map(|at| self.body.pointer(at).filter(|said| !said.is_null()));
        found.map(|said| format!(": {}", short(&text_of(said)))).unwrap_or_default()
    }
}

/// A line of it.
pub(super) fn short(text: &str) -> String {
    text.chars().take(WORDS_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// It may go well another time.
pub(super) fn again(status: Option<u16>, cause: String) -> Answer {
    Answer::Refused { status, cause, retry_after: None }
}

/// It would go the same way every time.
pub(super) fn hopeless(status: Option<u16>, cause: String) -> Answer {
    Answer::Hopeless { status, cause }
}

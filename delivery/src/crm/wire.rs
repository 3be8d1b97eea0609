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
/// Of what it says of an error, before secrets are taken out of it and the cause is cut short.
const WORDS_CHARS_MAX: usize = 2_000;
/// A word with so many digits may be a phone number.
const DIGITS_MIN: usize = 7;
/// A word with a digit in it, as long as this, may be a token.
const TOKEN_CHARS_MIN: usize = 20;
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
            body_bytes_max: Some(ANSWER_BYTES_MAX),
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

/// A line of it, without what it may repeat of what was sent: numbers of callers, tokens, ids.
pub(super) fn short(text: &str) -> String {
    let text: String = text.chars().take(WORDS_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let is_word = |c: char| c.is_alphanumeric() || "-_.+/=%".contains(c);
    let mut said = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let hidden = digits >= DIGITS_MIN || (digits > 0 && word.chars().count() >= TOKEN_CHARS_MIN);
        said.push_str(if hidden { "…" } else { word });
        said.push_str(&piece[word.len()..]);
    }
    without_numbers(&said)
}

/// It may go well another time.
pub(super) fn again(status: Option<u16>, cause: String) -> Answer {
    Answer::Refused { status, cause, retry_after: None }
}

/// It would go the same way every time.
pub(super) fn hopeless(status: Option<u16>, cause: String) -> Answer {
    Answer::Hopeless { status, cause }
}

/// Numbers may be written in groups: `+46 (70) 123-45 67`.
fn without_numbers(text: &str) -> String {
    let in_number = |c: char| c.is_ascii_digit() || " ()/.-".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let run = &from[..from.find(|c| !in_number(c)).unwrap_or(from.len())];
        let run = run.trim_end_matches(|c: char| !c.is_ascii_digit());
        out.push_str(before);
        let digits = run.chars().filter(char::is_ascii_digit).count();
        out.push_str(if digits >= DIGITS_MIN { "…" } else { run });
        rest = &from[run.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn what_a_crm_repeats_of_a_call_is_hidden() {
        for (said, shown) in [
            ("No such column 'callbus_call_id__c' on Task", "No such column 'callbus_call_id__c' on Task"),
            ("to +46701234567 is bad", "to … is bad"),
            ("to +46 (70) 123-45 67, line 3 is bad", "to +…, line 3 is bad"),
            ("(46701234567)", "(…)"),
            ("token Bearer 00Dxx0000001gPL!AR8AQJXg5oj8jXSgxJfA0lBog", "token Bearer …!…"),
            ("call 5b8a-fc01-4e2d-9f1b-aaaa is there", "call … is there"),
            ("line 1\nline 2", "line 1 line 2"),
        ] {
            assert_eq!(short(said), shown);
        }
    }
}

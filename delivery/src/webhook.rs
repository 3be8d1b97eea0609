//! One attempt as HTTP: a CloudEvent, signed as Standard Webhooks has it.
//!
//! A POST carries the event in structured mode (CloudEvents HTTP binding 1.0.2, 3.2); a GET has no body, so it carries the
//! attributes alone, as headers (3.1), and signs what it asks for: `GET /path?query`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::Recorded;
use bytes::Bytes;
use jiff::Timestamp;
use outbound::{Method, Request, Url};
use proto::DeliveryMethod;
use proto::event::json;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::in_force::ReadyDestination;
use crate::signing::sign;

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    r#type: String,
    source: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    time: Timestamp,
    /// Place in the log: grows within a call.
    sequence: String,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    /// What is no JSON, and yet was signed by the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> CloudEvent<'a> {
    fn of(recorded: &'a Recorded) -> Self {
        let Recorded { seq, event } = recorded;
        let data = serde_json::from_slice::<&RawValue>(&event.data).ok();
        Self {
            specversion: "1.0",
            id: event.id.as_str(),
            r#type: event.subject.event_type(),
            source: &event.source,
            subject: &event.about,
            time: event.time,
            sequence: seq.to_string(),
            datacontenttype: "application/json",
            data_base64: data.is_none().then(|| STANDARD.encode(&event.data)),
            data,
        }
    }
}

/// What is sent, at a time. `id` is the delivery's, the same on every attempt.
pub(crate) fn request(to: &ReadyDestination, recorded: &Recorded, id: &str, attempt: u32, now: Timestamp) -> Request {
    let put = &to.destination.put;
    let mut request = sample(put.method, to.url.clone(), recorded);
    request.timeout = Duration::from_secs(put.timeout_secs.into());
    request.headers.extend(to.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    sign(&mut request, to.keys.in_force(now), id, attempt, now);
    request
}

/// The same but for secrets and what is new in every attempt.
pub(crate) fn sample(method: DeliveryMethod, url: Url, recorded: &Recorded) -> Request {
    let Recorded { seq, event } = recorded;
    let mut headers = vec![("webhook-sequence".to_owned(), seq.to_string())];
    let mut say = |name: &str, value: String| headers.push((name.to_owned(), value));
    let (method, body) = match method {
        DeliveryMethod::Post => {
            say("content-type", "application/cloudevents+json".to_owned());
            (Method::POST, Bytes::from(json(&CloudEvent::of(recorded))))
        }
        DeliveryMethod::Get => {
            // Names and values alike are fit for headers as they stand in the log.
            for (name, value) in event.headers() {
                if let Some("id" | "type" | "source" | "subject" | "time" | "specversion") = name.strip_prefix("ce-") {
                    say(&name, value);
                }
            }
            say("ce-sequence", seq.to_string());
            (Method::GET, Bytes::new())
        }
    };
    Request { method, url, headers, body, timeout: Duration::ZERO, body_bytes_max: None }
}

/// What a destination asks for with `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(at.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-21T20:00:00Z".parse().expect("time");
        for (value, secs) in [
            ("120", Some(120)),
            ("Sat, 21 Nov 2026 20:01:00 GMT", Some(60)),
            ("Sat, 21 Nov 2026 19:59:00 GMT", None),
            ("99999999999999999999", Some(u64::MAX)),
            ("soon", None),
            ("-1", None),
        ] {
            let found = retry_after(value, now).map(|wait| wait.as_secs());
            assert_eq!(found, secs, "{value}");
        }
    }
}

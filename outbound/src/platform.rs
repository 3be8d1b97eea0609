//! The platform's REST API, as far as callbus asks it: how does a call stand, call somebody, hang up.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proto::asked::NotACallInfo;
use proto::event::json;
use proto::signature::{AppSecret, Authorization, SignedParts};
use proto::svaml::Action;
use proto::{AppKey, CallId, CallInfo, PhoneNumber, Svaml};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use crate::client::{Outbound, Reply, Request};
use crate::error::{BadUrl, SendError};

/// Billing asks again, and a hold waits for it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// A callout that was not answered may have been placed, so it is given time.
const CALLED_OUT_WITHIN: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Signed with the request, as Sinch's own SDK does where there is no body.
const CONTENT_TYPE: &str = "application/json";

/// Sinch's REST API for voice, at an address the operator wrote down.
#[derive(Debug, Clone)]
pub struct Platform {
    outbound: Outbound,
    url: Url,
}

/// Why the platform did not say how a call stands.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    #[error("ask the platform: {0}")]
    Send(#[from] SendError),
    #[error("ask the platform: it answers {status} {message}")]
    Status { status: u16, message: String },
    #[error("ask the platform: {0}")]
    Unreadable(#[from] NotACallInfo),
}

/// Somebody to be called, and put into a conference of its own: the one kind of callout that has a longest duration,
/// and so the one that credit can be held for.
#[derive(Debug, Clone)]
pub struct Callout<'a> {
    pub to: &'a PhoneNumber,
    /// Without it, a callout is taken and never rings.
    pub cli: &'a PhoneNumber,
    pub conference: &'a str,
    /// At most 1,024 bytes, repeated in each of its callbacks.
    pub custom: String,
    pub max_secs: u32,
}

/// Why there is no call, or nobody can say whether there is one.
#[derive(Debug, thiserror::Error)]
pub enum NotCalled {
    /// It was never asked.
    #[error("call out: {0}")]
    NotSent(SendError),
    #[error("call out: the platform refuses it with {status} {message}")]
    Refused { status: u16, message: String },
    /// There may be a call.
    #[error("call out: it is not known whether it was dialled: {0}")]
    Unknown(String),
}

impl Platform {
    /// `url` is the address before `/calling/v1`, such as `https://calling.api.sinch.com`.
    ///
    /// # Errors
    /// Says what is wrong with the address.
    pub fn new(outbound: Outbound, url: &str) -> Result<Self, BadUrl> {
        let url = outbound.check(url)?;
        Ok(Self { outbound, url })
    }

    /// How a call stands, and the platform's words for it; `None` when it knows no such call. Signed as the app, since
    /// Basic is for tests only.
    ///
    /// # Errors
    /// When it cannot be reached in time, refuses, or answers something else.
    pub async fn call(
        &self,
        key: &AppKey,
        secret: &AppSecret,
        call: &CallId,
        now: Timestamp,
    ) -> Result<Option<(CallInfo, Bytes)>, NotTold> {
        // A URL cannot name these: they mean the folder itself and the one above.
        if matches!(call.as_str(), "." | "..") {
            return Ok(None);
        }
        let request = self.request(Method::GET, &["calls", "id", call.as_str()], String::new(), (key, secret), now);
        let reply = self.outbound.send(request).await?;
        match reply.status {
            200 => Ok(Some((CallInfo::parse(&reply.body)?, reply.body))),
            404 if Problem::of(&reply.body).is_some() => Ok(None),
            _ => Err(refusal(&reply)),
        }
    }

    /// Calls somebody, and answers the platform's id of the call. There is no way to ask for the same call twice: who
    /// asks again after [`NotCalled::Unknown`] may have two.
    ///
    /// # Errors
    /// Which says whether there may be a call.
    pub async fn call_out(
        &self,
        key: &AppKey,
        secret: &AppSecret,
        callout: &Callout<'_>,
        now: Timestamp,
    ) -> Result<CallId, NotCalled> {
        let Callout { to, cli, conference, custom, max_secs } = callout;
        let body = json(&Wire {
            method: "conferenceCallout",
            conference_callout: ConferenceCallout {
                cli: cli.as_str(),
                destination: Destination { kind: "number", endpoint: to.as_str() },
                conference_id: conference,
                custom,
                max_duration: *max_secs,
                enable_ace: true,
                enable_pie: true,
                enable_dice: true,
            },
        });
        let request = self.request(Method::POST, &["callouts"], body, (key, secret), now);
        let reply = self.outbound.send(Request { timeout: CALLED_OUT_WITHIN, ..request }).await.map_err(not_called)?;
        match reply.status {
            200..300 => {
                let taken: Result<Taken, _> = serde_json::from_slice(&reply.body);
                taken.map(|taken| taken.call_id).map_err(|error| NotCalled::Unknown(error.to_string()))
            }
            status @ 400..500 => {
                let message = Problem::of(&reply.body).map(|problem| problem.message).unwrap_or_default();
                Err(NotCalled::Refused { status, message })
            }
            status => Err(NotCalled::Unknown(format!("the platform answers {status}"))),
        }
    }

    /// Ends a call; one that has ended already stays so.
    ///
    /// # Errors
    /// When it cannot be reached in time, or refuses.
    pub async fn hang_up(
        &self,
        key: &AppKey,
        secret: &AppSecret,
        call: &CallId,
        now: Timestamp,
    ) -> Result<(), NotTold> {
        if matches!(call.as_str(), "." | "..") {
            return Ok(());
        }
        let body = Svaml::only(Action::Hangup).to_json();
        let request = self.request(Method::PATCH, &["calls", "id", call.as_str()], body, (key, secret), now);
        let reply = self.outbound.send(request).await?;
        match reply.status {
            200..300 | 404 => Ok(()),
            _ => Err(refusal(&reply)),
        }
    }

    /// Signed as the app.
    fn request(
        &self,
        method: Method,
        path: &[&str],
        body: String,
        (key, secret): (&AppKey, &AppSecret),
        now: Timestamp,
    ) -> Request {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["calling", "v1"]).extend(path);
        }
        let timestamp = now.to_string();
        let signature = secret.sign(&SignedParts {
            method: method.as_str(),
            content_type: CONTENT_TYPE.as_bytes(),
            timestamp: timestamp.as_bytes(),
            path: url.path(),
            body: body.as_bytes(),
        });
        let headers = [
            ("authorization", Authorization::header(key, &signature)),
            ("content-type", CONTENT_TYPE.to_owned()),
            ("x-timestamp", timestamp),
        ];
        Request {
            method,
            url,
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body: body.into(),
            timeout: ANSWERED_WITHIN,
            body_bytes_max: Some(BODY_BYTES_MAX),
        }
    }
}

fn refusal(reply: &Reply) -> NotTold {
    let message = Problem::of(&reply.body).map(|problem| problem.message).unwrap_or_default();
    NotTold::Status { status: reply.status, message }
}

fn not_called(error: SendError) -> NotCalled {
    match error {
        SendError::Url(_)
        | SendError::Refused { .. }
        | SendError::Header { .. }
        | SendError::Resolve { .. }
        | SendError::Connect { .. }
        | SendError::Tls { .. } => NotCalled::NotSent(error),
        SendError::Timeout { .. } | SendError::TooLarge { .. } | SendError::Http { .. } => {
            NotCalled::Unknown(error.to_string())
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    method: &'static str,
    conference_callout: ConferenceCallout<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConferenceCallout<'a> {
    cli: &'a str,
    destination: Destination<'a>,
    conference_id: &'a str,
    custom: &'a str,
    max_duration: u32,
    /// Without these nobody would hear of it again, or of what is pressed at a menu.
    enable_ace: bool,
    enable_pie: bool,
    enable_dice: bool,
}

#[derive(Serialize)]
struct Destination<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    endpoint: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    call_id: CallId,
}

/// The body of an error. Without one, a 404 may come from anybody at that address.
#[derive(Deserialize)]
struct Problem {
    message: String,
}

impl Problem {
    fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

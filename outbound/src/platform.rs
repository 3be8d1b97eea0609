//! The platform's REST API, as far as callbus asks it: how does a call stand?

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proto::asked::NotACallInfo;
use proto::signature::{AppSecret, Authorization, SignedParts};
use proto::{AppKey, CallId, CallInfo};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::client::{Outbound, Request};
use crate::error::{BadUrl, SendError};

/// Billing asks again, and a hold waits for it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
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
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["calling", "v1", "calls", "id", call.as_str()]);
        }
        let timestamp = now.to_string();
        let signature = secret.sign(&SignedParts {
            method: "GET",
            content_type: CONTENT_TYPE.as_bytes(),
            timestamp: timestamp.as_bytes(),
            path: url.path(),
            body: &[],
        });
        let headers = [
            ("authorization", Authorization::header(key, &signature)),
            ("content-type", CONTENT_TYPE.to_owned()),
            ("x-timestamp", timestamp),
        ];
        let request = Request {
            method: Method::GET,
            url,
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body: Bytes::new(),
            timeout: ANSWERED_WITHIN,
            body_bytes_max: BODY_BYTES_MAX,
        };
        let reply = self.outbound.send(request).await?;
        match reply.status {
            200 => Ok(Some((CallInfo::parse(&reply.body)?, reply.body))),
            404 if Problem::of(&reply.body).is_some() => Ok(None),
            status => {
                let message = Problem::of(&reply.body).map(|problem| problem.message).unwrap_or_default();
                Err(NotTold::Status { status, message })
            }
        }
    }
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

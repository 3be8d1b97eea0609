//! The delivery of one callback: signed, without redirects, with a bounded answer.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use proto::AppKey;
use proto::signature::{AppSecret, Authorization, SignedParts};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Url, redirect};

/// An answer larger than this is none.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
const JSON: &str = "application/json";

/// How a callback is signed when not as the platform does it.
#[derive(Debug, Clone, Default)]
pub struct SignWith {
    /// Another application's key.
    pub key: Option<AppKey>,
    /// Another, or a former, secret.
    pub secret: Option<AppSecret>,
    /// The text of `x-timestamp`, signed as it stands.
    pub timestamp: Option<String>,
    /// The text of `Content-Type`, signed as it stands.
    pub content_type: Option<String>,
    /// What is spoilt after signing.
    pub tamper: Option<Tamper>,
}

/// One way to spoil a signed callback on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// A blank more at the end of the body.
    Body,
    /// The signature of another body.
    Signature,
    NoAuthorization,
    NoTimestamp,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is over 64 KiB")]
    TooLong,
    #[error("not delivered: {0}")]
    Unreachable(String),
}

#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    key: AppKey,
    secret: AppSecret,
    now: fn() -> Timestamp,
}

impl Http {
    pub(crate) fn new(
        key: AppKey,
        secret: AppSecret,
        timeout: Duration,
        now: fn() -> Timestamp,
    ) -> Result<Self, reqwest::Error> {
        // reqwest is built without a crypto library of its own; a provider that stands already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(timeout).no_proxy().build()?;
        Ok(Self { client, key, secret, now })
    }

    pub(crate) async fn post(&self, url: &Url, body: Bytes, with: &SignWith) -> Result<Reply, NoReply> {
        let mut response = self.signed(url, body, with).send().await.map_err(NoReply::of)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(NoReply::of)? {
            if body.len() + chunk.len() > ANSWER_MAX_BYTES {
                return Err(NoReply::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status: response.status().as_u16(), body: body.freeze() })
    }

    fn signed(&self, url: &Url, body: Bytes, with: &SignWith) -> reqwest::RequestBuilder {
        let key = with.key.as_ref().unwrap_or(&self.key);
        let secret = with.secret.as_ref().unwrap_or(&self.secret);
        let content_type = with.content_type.as_deref().unwrap_or(JSON);
        let timestamp =
            with.timestamp.clone().unwrap_or_else(|| (self.now)().strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string());
        let signed_body = if with.tamper == Some(Tamper::Signature) { b"{}" } else { body.as_ref() };
        let signature = secret.sign(&SignedParts {
            method: "POST",
            content_type: content_type.as_bytes(),
            timestamp: timestamp.as_bytes(),
            path: url.path(),
            body: signed_body,
        });
        let sent_body = if with.tamper == Some(Tamper::Body) { [body.as_ref(), b" "].concat().into() } else { body };
        let mut request = self.client.post(url.clone()).header(CONTENT_TYPE, content_type).body(sent_body);
        if with.tamper != Some(Tamper::NoAuthorization) {
            request = request.header(AUTHORIZATION, Authorization::header(key, &signature));
        }
        if with.tamper != Some(Tamper::NoTimestamp) {
            request = request.header("x-timestamp", timestamp);
        }
        request
    }
}

impl NoReply {
    /// The innermost cause says what happened; the layers above only where.
    fn of(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let mut cause: &dyn Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self::Unreachable(cause.to_string())
    }
}

//! A callback server with canned answers, which checks every signature and keeps what it got.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proto::callback::Details;
use proto::signature::{AppSecret, Authorization, Refused, SignedParts, Verified};
use proto::{AppKey, Callback, Kind};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::platform::{Platform, PlatformConfig};

pub(crate) const PATH: &str = "/sinch/call%20back";
const SECRET: &str = "BeIukql3pTKJ8RGL5zo0DA==";

/// What the server says to a callback.
pub(crate) enum Canned {
    Json(String),
    Status(u16),
    Redirect,
    Never,
}

pub(crate) fn json(text: impl Into<String>) -> Canned {
    Canned::Json(text.into())
}

/// An answer of one action without fields.
pub(crate) fn only(action: &str) -> Canned {
    json(format!(r#"{{"action":{{"name":"{action}"}}}}"#))
}

type Answer = Arc<dyn Fn(&Callback) -> Canned + Send + Sync>;

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Callback>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Callback) -> Canned + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}{PATH}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Answer = Arc::new(answer);
        let app = Router::new().fallback(handle).with_state((answer, Arc::clone(&seen)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.expect("serving") });
        Self { url, seen, _tasks: tasks }
    }

    pub(crate) fn platform(&self) -> Platform {
        platform(&self.url, None)
    }

    /// What came in, properly signed.
    pub(crate) fn seen(&self) -> Vec<Callback> {
        self.seen.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.seen().iter().map(Callback::kind).collect()
    }
}

pub(crate) fn platform(url: &str, fallback_url: Option<&str>) -> Platform {
    Platform::new(PlatformConfig {
        callback_url: url.to_owned(),
        fallback_url: fallback_url.map(str::to_owned),
        app_key: AppKey::new("669E367E-6BBA-48AB-AF15-266871C28135").expect("key"),
        secret: AppSecret::from_base64(SECRET).expect("secret"),
        seed: 7,
        timeout: Duration::from_millis(300),
        age_max: crate::DEFAULT_AGE_MAX,
        now,
    })
    .expect("a platform")
}

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00.25Z".parse().expect("time")
}

async fn handle(State((answer, seen)): State<(Answer, Arc<Mutex<Vec<Callback>>>)>, request: Request) -> Response {
    let verified = match verify(request).await {
        Ok(verified) => verified,
        Err(refused) => return (StatusCode::UNAUTHORIZED, refused.code()).into_response(),
    };
    let callback = Callback::parse(&verified).expect("a callback");
    let canned = match callback.details {
        Details::Dice(_) | Details::Notify(_) => json("{}"),
        Details::Ice(_) | Details::Ace(_) | Details::Pie(_) | Details::Unknown { .. } => answer(&callback),
    };
    seen.lock().expect("unpoisoned").push(callback);
    match canned {
        Canned::Json(text) => text.into_response(),
        Canned::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Canned::Redirect => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, PATH)]).into_response(),
        Canned::Never => std::future::pending().await,
    }
}

async fn verify(request: Request) -> Result<Verified, Refused> {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let value = |name: &str| parts.headers.get(name).map(|value| value.as_bytes());
    let signed = SignedParts {
        method: parts.method.as_str(),
        content_type: value("content-type").unwrap_or_default(),
        timestamp: value("x-timestamp").ok_or(Refused::NoTimestamp)?,
        path: parts.uri.path(),
        body: b"",
    };
    let header = value("authorization").ok_or(Refused::NoAuthorization)?;
    let authorization = Authorization::parse(std::str::from_utf8(header).expect("text"))?;
    let secrets = [AppSecret::from_base64(SECRET).expect("secret")];
    Verified::check(body, &signed, &authorization, &secrets, now(), Some(SignedDuration::from_mins(5)))
}

//! The platform's REST API, as far as it is played: `GET /calling/v1/calls/id/{callId}`, signed.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use jiff::Timestamp;
use proto::CallId;
use proto::signature::{Authorization, SignedParts, Verified};
use tokio::net::TcpListener;

use crate::bodies::CallFacts;
use crate::platform::Platform;
use crate::report::Ending;

/// Calls that can be asked about; the oldest are forgotten.
const CALLS_MAX: usize = 10_000;

/// How the calls stand that came in here.
#[derive(Debug, Default)]
pub(crate) struct Register(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    /// The body of the answer to who asks.
    info: HashMap<CallId, Bytes>,
    by_age: VecDeque<CallId>,
}

impl Register {
    fn set(&self, call: &CallId, info: Bytes) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.info.insert(call.clone(), info).is_none() {
            calls.by_age.push_back(call.clone());
        }
        if calls.by_age.len() > CALLS_MAX
            && let Some(oldest) = calls.by_age.pop_front()
        {
            calls.info.remove(&oldest);
        }
    }

    fn get(&self, call: &str) -> Option<Bytes> {
        let call = CallId::new(call).ok()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).info.get(&call).cloned()
    }
}

impl Platform {
    /// Who asks about the call hears that it goes on. Calls that are played tell so by themselves.
    pub fn began(&self, facts: &CallFacts, at: Timestamp) {
        self.exchange().register.set(&facts.call, facts.info(at, None, None));
    }

    /// Who asks about the call hears how it ended.
    pub fn ended(&self, facts: &CallFacts, at: Timestamp, ending: Ending, duration_secs: Option<u32>) {
        self.exchange().register.set(&facts.call, facts.info(at, Some(ending), duration_secs));
    }

    /// Serves the REST API until the listener fails.
    ///
    /// # Errors
    /// With what the listener says.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let router = Router::new()
            .route("/calling/v1/calls/id/{call}", get(call_info))
            .fallback(async || problem(StatusCode::NOT_FOUND, 40_400, "resource not found"))
            .with_state(self);
        axum::serve(listener, router).await
    }
}

async fn call_info(
    State(platform): State<Platform>,
    uri: Uri,
    Path(call): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err((code, message)) = admit(&platform, uri.path(), &headers) {
        return problem(StatusCode::UNAUTHORIZED, code, message);
    }
    match platform.exchange().register.get(&call) {
        Some(info) => ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], info).into_response(),
        None => problem(StatusCode::NOT_FOUND, 40_400, "Call not found"),
    }
}

/// Only the application itself may ask. A request of any age is taken, since no document says how old it may be.
fn admit(platform: &Platform, path: &str, headers: &HeaderMap) -> Result<(), (u32, &'static str)> {
    let header = |name: &str| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = Authorization::parse(text).map_err(|_| (40_100, "Missing or bad authorization header"))?;
    let exchange = platform.exchange();
    if authorization.key.folded() != exchange.app_key.folded() {
        return Err((40_108, "Invalid credentials"));
    }
    let parts = SignedParts {
        method: "GET",
        content_type: header("content-type"),
        timestamp: header("x-timestamp"),
        path,
        body: &[],
    };
    let secrets = std::slice::from_ref(&exchange.secret);
    let time = str::from_utf8(parts.timestamp).ok().and_then(|text| text.parse::<Timestamp>().ok());
    let now = time.ok_or((40_101, "Invalid timestamp header"))?;
    match Verified::check(Bytes::new(), &parts, &authorization, secrets, now, None) {
        Ok(_) => Ok(()),
        Err(_) => Err((40_102, "Invalid signature")),
    }
}

/// The numbers are those of the documents; the fixtures have the code as a number.
fn problem(status: StatusCode, code: u32, message: &str) -> Response {
    let body = serde_json::json!({ "errorCode": code, "message": message, "reference": "" });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

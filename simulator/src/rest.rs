//! The platform's REST API, as far as it is played: callouts, calls and conferences, signed by the application.

use std::collections::{HashMap, VecDeque};
use std::future::IntoFuture;
use std::io;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use jiff::Timestamp;
use proto::signature::{Authorization, SignedParts, Verified};
use proto::svaml::Action;
use proto::{CallId, Svaml};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bodies::CallFacts;
use crate::callout::Callout;
use crate::line::{CalloutReply, Participant};
use crate::platform::Platform;
use crate::report::Ending;

/// Calls that can be asked about; the oldest are forgotten.
const CALLS_MAX: usize = 10_000;

/// No request is longer.
const BODY_MAX_BYTES: usize = 64 * 1024;

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

    /// Serves the REST API until the listener fails. Calls that are placed live as long as this is awaited.
    ///
    /// # Errors
    /// With what the listener says.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let mut begun = self.exchange().lines.serve();
        let router = Router::new()
            .route("/calling/v1/callouts", post(call_out))
            .route("/calling/v1/calls/id/{call}", get(call_info).patch(change_call))
            .route("/calling/v1/conferences/id/{id}", get(conference).delete(end_conference))
            .route("/calling/v1/conferences/id/{id}/{call}", delete(kick))
            .fallback(async || Problem::not_found("resource"))
            .layer(from_fn_with_state(self.clone(), admit))
            .with_state(self);
        let mut serving = pin!(axum::serve(listener, router).into_future());
        let mut lines = JoinSet::new();
        loop {
            tokio::select! {
                served = &mut serving => return served,
                Some(line) = begun.recv() => drop(lines.spawn(line.live())),
                Some(_) = lines.join_next() => {}
            }
        }
    }
}

async fn call_info(State(platform): State<Platform>, Path(call): Path<String>) -> Result<Response, Problem> {
    let info = platform.exchange().register.get(&call).ok_or(Problem::not_found("Call"))?;
    Ok(([(header::CONTENT_TYPE, "application/json; charset=utf-8")], info).into_response())
}

async fn call_out(State(platform): State<Platform>, Json(asked): Json<Value>) -> Result<Json<Value>, Problem> {
    let callout = Callout::read(&asked).map_err(|(code, message)| Problem { code, message })?;
    let down = || Problem { code: 50_300, message: "Temporarily down".to_owned() };
    let reply = platform.exchange().lines.reply(&callout.to);
    match reply {
        CalloutReply::Refused => {
            return Err(Problem { code: 40_300, message: "Destination forbidden".to_owned() });
        }
        CalloutReply::Down => return Err(down()),
        CalloutReply::Taken | CalloutReply::TakenUnsaid | CalloutReply::TakenSlowly(_) => {}
    }
    let call = platform.place(callout, asked).ok_or_else(down)?;
    match reply {
        CalloutReply::TakenUnsaid => return Err(down()),
        CalloutReply::TakenSlowly(pause) => sleep(pause).await,
        CalloutReply::Taken | CalloutReply::Refused | CalloutReply::Down => {}
    }
    Ok(Json(json!({ "callId": call })))
}

/// Only hanging up is played.
async fn change_call(
    State(platform): State<Platform>,
    Path(call): Path<String>,
    Json(svaml): Json<Svaml>,
) -> Result<(), Problem> {
    if svaml.action != Action::Hangup {
        return Err(Problem { code: 40_001, message: "action is not hangup".to_owned() });
    }
    hang_up(&platform, &call)
}

async fn conference(State(platform): State<Platform>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let inside = platform.exchange().lines.participants(&id);
    if inside.is_empty() {
        return Err(Problem::not_found("Conference"));
    }
    let shown =
        |one: &Participant| json!({ "cli": one.cli, "id": one.call, "duration": 0, "muted": false, "onhold": false });
    Ok(Json(json!({ "participants": inside.iter().map(shown).collect::<Vec<_>>() })))
}

async fn end_conference(State(platform): State<Platform>, Path(id): Path<String>) -> Result<(), Problem> {
    let inside = platform.exchange().lines.participants(&id);
    if inside.is_empty() {
        return Err(Problem::not_found("Conference"));
    }
    inside.iter().try_for_each(|one| hang_up(&platform, one.call.as_str()))
}

async fn kick(State(platform): State<Platform>, Path((id, call)): Path<(String, String)>) -> Result<(), Problem> {
    let inside = platform.exchange().lines.participants(&id);
    if inside.iter().any(|one| one.call.as_str() == call) {
        hang_up(&platform, &call)
    } else {
        Err(Problem::not_found("Conference"))
    }
}

fn hang_up(platform: &Platform, call: &str) -> Result<(), Problem> {
    let hung_up = CallId::new(call).is_ok_and(|call| platform.exchange().lines.hang_up(&call));
    if hung_up { Ok(()) } else { Err(Problem::not_found("Call")) }
}

/// Only the application itself may ask. A request of any age is taken, since no document says how old it may be.
async fn admit(State(platform): State<Platform>, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let refused = |code: u32, message: &str| Problem { code, message: message.to_owned() };
    let body = to_bytes(body, BODY_MAX_BYTES).await.map_err(|_| refused(40_001, "Body too large"))?;
    let header = |name: &str| parts.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let text = str::from_utf8(header("authorization")).unwrap_or_default();
    let authorization =
        Authorization::parse(text).map_err(|_| refused(40_100, "Missing or bad authorization header"))?;
    let exchange = platform.exchange();
    if authorization.key.folded() != exchange.app_key.folded() {
        return Err(refused(40_108, "Invalid credentials"));
    }
    let signed = SignedParts {
        method: parts.method.as_str(),
        content_type: header("content-type"),
        timestamp: header("x-timestamp"),
        path: parts.uri.path(),
        body: &body,
    };
    let secrets = std::slice::from_ref(&exchange.secret);
    let time = str::from_utf8(signed.timestamp).ok().and_then(|text| text.parse::<Timestamp>().ok());
    let now = time.ok_or_else(|| refused(40_101, "Invalid timestamp header"))?;
    Verified::check(body.clone(), &signed, &authorization, secrets, now, None)
        .map_err(|_| refused(40_102, "Invalid signature"))?;
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

/// The first three digits are the status.
#[derive(Debug)]
struct Problem {
    code: u32,
    message: String,
}

impl Problem {
    fn not_found(what: &str) -> Self {
        Self { code: 40_400, message: format!("{what} not found") }
    }
}

impl IntoResponse for Problem {
    /// The numbers are those of the documents; the fixtures have the code as a number.
    fn into_response(self) -> Response {
        let status = u16::try_from(self.code / 100).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let body = json!({ "errorCode": self.code, "message": self.message, "reference": "" });
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body)).into_response()
    }
}

//! The platform's REST API, as far as it is played: callouts, calls, conferences and callback URLs.

use std::future::IntoFuture;
use std::io;
use std::pin::pin;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use proto::svaml::{Action, Instruction};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::callout::Callout;
use crate::lines::CalloutReply;
use crate::platform::Platform;
use crate::problem::Problem;

mod admit;
mod callbacks;
mod conferences;
pub(crate) mod read;

impl Platform {
    /// Serves the REST API until the listener fails. Calls that are placed live as long as this is awaited.
    ///
    /// # Errors
    /// With what the listener says.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let mut begun = self.exchange().lines.serve();
        let router = Router::new()
            .route("/calling/v1/callouts", post(call_out))
            .route("/calling/v1/calls/id/{call}", get(call_info).patch(change_call))
            .route("/calling/v1/calls/id/{call}/leg/{leg}", patch(play_to_leg))
            .route("/calling/v1/conferences/id/{id}", get(conferences::show).delete(conferences::end))
            .route("/calling/v1/conferences/id/{id}/{call}", delete(conferences::kick).patch(conferences::change))
            .route("/v1/configuration/callbacks/applications/{key}", get(callbacks::show).post(callbacks::change))
            .method_not_allowed_fallback(async || Problem::Request("no such method here".to_owned()))
            .fallback(async || Problem::NotFound("Resource"))
            .layer(from_fn_with_state(self.clone(), admit::admit))
            .with_state(self);
        let mut serving = pin!(axum::serve(listener, router).into_future());
        let mut lines = JoinSet::new();
        loop {
            tokio::select! {
                served = &mut serving => return served,
                Some(line) = begun.recv() => drop(lines.spawn(line.live())),
                Some(ended) = lines.join_next() => {
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }
}

async fn call_info(State(platform): State<Platform>, Path(call): Path<String>) -> Result<Response, Problem> {
    let info = platform.exchange().register.get(&call).ok_or(Problem::NotFound("Call"))?;
    Ok(([(header::CONTENT_TYPE, "application/json; charset=utf-8")], info).into_response())
}

async fn call_out(State(platform): State<Platform>, body: Bytes) -> Result<Json<Value>, Problem> {
    let asked = read::json(&body)?;
    let callout = Callout::read(asked.clone())?;
    let reply = platform.exchange().lines.reply(&callout);
    match reply {
        CalloutReply::Refused => return Err(Problem::Forbidden),
        CalloutReply::NoCredit => return Err(Problem::Credit),
        CalloutReply::Fails => return Err(Problem::Internal),
        CalloutReply::Down => return Err(Problem::Down),
        CalloutReply::Taken | CalloutReply::TakenUnsaid | CalloutReply::TakenSlowly(_) => {}
    }
    let call = platform.place(callout, asked).ok_or(Problem::Down)?;
    match reply {
        CalloutReply::TakenUnsaid => return Err(Problem::Down),
        CalloutReply::TakenSlowly(pause) => sleep(pause).await,
        CalloutReply::Taken
        | CalloutReply::Refused
        | CalloutReply::NoCredit
        | CalloutReply::Fails
        | CalloutReply::Down => {}
    }
    Ok(Json(json!({ "callId": call })))
}

/// Of this the documents name only one code for whatever is wrong with the request.
async fn change_call(State(platform): State<Platform>, Path(call): Path<String>, body: Bytes) -> Result<(), Problem> {
    let lines = &platform.exchange().lines;
    lines.on_line(&call)?;
    lines.order(&call, read::svaml(&body).map_err(Problem::Request)?)
}

/// Which side is to hear it is ignored for callouts, as all calls here are, and in conferences.
async fn play_to_leg(
    State(platform): State<Platform>,
    Path((call, leg)): Path<(String, String)>,
    body: Bytes,
) -> Result<(), Problem> {
    let lines = &platform.exchange().lines;
    lines.on_line(&call)?;
    if !matches!(leg.as_str(), "caller" | "callee" | "both") {
        return Err(Problem::Request(format!("callLeg {leg:?} is none of caller, callee and both")));
    }
    let svaml = read::svaml(&body).map_err(Problem::Request)?;
    let is_played =
        |instruction: &Instruction| matches!(instruction, Instruction::Say { .. } | Instruction::PlayFiles { .. });
    if !svaml.instructions.iter().all(is_played) || !matches!(svaml.action, Action::Continue | Action::Hangup) {
        return Err(Problem::Request("only say and playFiles go to one leg, then continue or hangup".to_owned()));
    }
    lines.order(&call, svaml)
}

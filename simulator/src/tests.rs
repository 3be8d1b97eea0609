//! Whole calls against a callback server with canned answers.

mod answers;
mod bodies;
mod callback_urls;
mod callouts;
mod conferences;
mod custom;
mod detection;
mod faults;
mod legs;
mod menus;
mod orders;
mod recordings;
mod rest;
mod rules;
mod seats;
mod server;

use proto::Kind::Ice;

use self::server::{Server, json, only};
use crate::report::{CallReport, What};
use crate::script::{CallScript, Caller, Endpoint, Input};

/// The usual call: from a phone to a rented number.
fn script() -> CallScript {
    CallScript::new(Caller::Number("+46701234567".into()), Endpoint::Did("+12017777777".into()))
}

/// How it ended, in short: result, reason, seconds.
fn end(report: &CallReport) -> (&'static str, &'static str, Option<u32>) {
    (report.ending.result.as_str(), report.ending.reason.as_str(), report.duration_secs)
}

fn inputs(texts: &[&str]) -> Vec<Input> {
    texts.iter().map(|text| text.parse().expect("an input")).collect()
}

/// A server that answers ICE as told and lets everything else go on.
async fn answering(ice: impl Into<String>) -> Server {
    let ice = ice.into();
    Server::start(move |callback| if callback.kind() == Ice { json(&ice) } else { only("continue") }).await
}

/// What happened besides callbacks, as a ladder has it.
fn ladder(report: &CallReport) -> Vec<String> {
    let steps = report.steps.iter().filter(|step| !matches!(step.what, What::Callback { .. } | What::Answer { .. }));
    steps.map(|step| step.to_string().trim().to_owned()).collect()
}

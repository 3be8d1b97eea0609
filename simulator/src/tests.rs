//! Whole calls against a callback server with canned answers.

mod answers;
mod faults;
mod menus;
mod server;

use crate::report::CallReport;
use crate::script::{CallScript, Caller, Endpoint};

/// The usual call: from a phone to a rented number.
fn script() -> CallScript {
    CallScript::new(Caller::Number("+46701234567".into()), Endpoint::Did("+12017777777".into()))
}

/// How it ended, in short: result, reason, seconds.
fn end(report: &CallReport) -> (&'static str, &'static str, Option<u32>) {
    (report.ending.result.as_str(), report.ending.reason.as_str(), report.duration_secs)
}

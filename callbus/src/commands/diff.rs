//! `callbus policy diff`: recorded callbacks, decided again by another policy. It reads, and touches nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, stderr};

use anyhow::Context;
use bus::{Bus, Clock, ReadError, Recorded};
use bytes::Bytes;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use policy::{AppFacts, Explanation, LiveLists, Outline, Replayed};
use proto::signature::Verified;
use proto::{AppName, Callback, Decided, EventId, Filter, Kind, ListChanged, Outcome, Stream, Subject, phone};
use serde::Serialize;

use super::policy::the_app;
use crate::cli::PolicyDiff;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::policy_files::PolicyFile;
use crate::roles::open_to_read;

/// Callbacks that wait for their decision: it follows at once, so more are of no use.
const WAITING_MAX: usize = 10_000;
/// How often the bar moves, in events.
const BAR_STEP: u64 = 1_000;

/// What came of a replay.
#[derive(Debug, Default, Serialize)]
struct Replay {
    policy: String,
    since: Option<Timestamp>,
    /// Callbacks that were decided again.
    callbacks: u64,
    changed: u64,
    /// Not decided again, because the decision does not say what the new policy reads.
    unknown: u64,
    /// Answered by a fallback: no policy had decided.
    fallbacks: u64,
    /// From what to what, and how often.
    changes: Vec<Change>,
    /// The first so many.
    calls: Vec<ChangedCall>,
    /// What was not recorded, and how often it was missed.
    missing: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Change {
    kind: Kind,
    was: String,
    would_be: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct ChangedCall {
    time: Timestamp,
    call: String,
    kind: Kind,
    was: String,
    would_be: String,
}

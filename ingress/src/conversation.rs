//! Asking the workers. The first good reply wins; a silent worker is hedged by asking another.

use std::time::Duration;

use bus::{AskError, Bus, Question};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::subject::ask_subject;
use proto::{AppName, Decided, DecisionKey, Event, Kind, Svaml};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::Settings;

/// How often one callback is asked about at the most. Each draws a worker at random: with one of two frozen, all five
/// meet the frozen one once in 32 times.
const ATTEMPTS_MAX: usize = 5;

/// Why there is no answer from a worker. The code stands as reason in the recorded fallback.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no worker serves this app")]
    NoWorker,
    #[error("no worker answered within {0:?}")]
    Late(Duration),
    #[error("every worker is busy")]
    Busy,
    #[error("the workers cannot be reached: {0}")]
    Unreachable(String),
    #[error("the worker's answer cannot be used: {0}")]
    Unusable(String),
}

impl NoAnswer {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoWorker => "NO_WORKER",
            Self::Late(_) => "WORKER_LATE",
            Self::Busy => "WORKERS_BUSY",
            Self::Unreachable(_) => "WORKERS_UNREACHABLE",
            Self::Unusable(_) => "ANSWER_UNUSABLE",
        }
    }
}

/// A worker's decision, checked, with the bytes it came in.
#[derive(Debug)]
pub(crate) struct Reply {
    pub decided: Decided,
    pub body: Bytes,
}

/// Asks for the answer to `event`.
pub(crate) async fn ask(
    bus: &Bus,
    settings: &Settings,
    app: &AppName,
    kind: Kind,
    key: &DecisionKey,
    event: &Event,
) -> Result<Reply, NoAnswer> {
    let subject = ask_subject(kind, app);
    let question = Question { headers: event.headers(), data: event.data.clone() };
    let deadline = Instant::now() + settings.ask_within;
    let mut hedge = interval(settings.hedge_after);
    hedge.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut attempts = FuturesUnordered::new();
    let mut asked = 0;
    let mut failed = NoAnswer::Late(settings.ask_within);
    loop {
        tokio::select! {
            // An answer that is there saves another ask, and is never too late.
            biased;
            Some(reply) = attempts.next() => match reply {
                Ok(body) => match check(body, kind, key) {
                    Ok(reply) => return Ok(reply),
                    Err(unusable) => failed = unusable,
                },
                Err(AskError::NoResponder { .. }) => failed = NoAnswer::NoWorker,
                Err(AskError::Busy { .. }) => failed = NoAnswer::Busy,
                Err(AskError::Deadline { .. }) => failed = NoAnswer::Late(settings.ask_within),
                Err(AskError::Unavailable(cause)) => failed = NoAnswer::Unreachable(cause.to_string()),
            },
            _ = hedge.tick(), if asked < ATTEMPTS_MAX => {
                asked += 1;
                attempts.push(bus.ask(&subject, question.clone(), deadline));
            }
            () = sleep_until(deadline) => return Err(failed),
        }
        if asked == ATTEMPTS_MAX && attempts.is_empty() {
            return Err(failed);
        }
    }
}

/// Trusts a worker to decide, not to be without fault: what goes out is checked against the callback it answers.
fn check(body: Bytes, kind: Kind, key: &DecisionKey) -> Result<Reply, NoAnswer> {
    let unusable = |why: String| NoAnswer::Unusable(why);
    let decided: Decided = serde_json::from_slice(&body).map_err(|error| unusable(error.to_string()))?;
    if decided.key != *key || decided.kind != kind {
        return Err(unusable("it answers another callback".to_owned()));
    }
    let svaml: Svaml = serde_json::from_str(decided.answer.get()).map_err(|error| unusable(error.to_string()))?;
    svaml.check(kind).map_err(|problems| unusable(problems.to_string()))?;
    Ok(Reply { decided, body })
}

//! One decision per key: who claims it first is right, and everyone gives that answer.

use std::time::Duration;

use bus::{Bus, Cache, ReadError};
use bytes::Bytes;
use futures::StreamExt;
use proto::event::DECISION_KEY;
use proto::{Decided, DecisionKey, Filter, Kind, Outcome, Stream, Subject};

fn cache_key(key: &str) -> String {
    format!("decision:{key}")
}

/// Claims the key for these bytes. `None`: they are the decision. `Some`: another worker's are.
pub(crate) async fn claim(cache: &Cache, key: &DecisionKey, decided: &Bytes, memory: Duration) -> Option<Bytes> {
    match cache.claim(&cache_key(key.as_str()), decided.clone(), memory).await {
        Ok(winner) => winner.filter(|winner| winner != decided),
        Err(error) => {
            // The hold, if there is one, keeps the decision too; for all else the same facts decide the same.
            tracing::warn!(%error, "decision not remembered");
            None
        }
    }
}

/// Fills an empty decision memory from the log, where memory does not outlive the process: every decision at or after a
/// place in the log that is old enough.
///
/// # Errors
/// When the log cannot be read.
pub async fn recall(bus: &Bus, cache: &Cache, from_seq: u64, memory: Duration) -> Result<usize, ReadError> {
    let mut recalled = 0;
    let mut recorded = bus.read(&Filter::All(Stream::Calls), from_seq.saturating_sub(1));
    while let Some(next) = recorded.next().await {
        let event = match next {
            Ok(next) => next.event,
            Err(ReadError::NotAnEvent { .. }) => continue,
            Err(error @ ReadError::Unavailable(_)) => return Err(error),
        };
        let Subject::Call { kind: Kind::Decided, .. } = event.subject else { continue };
        let Some(key) = event.attribute(DECISION_KEY) else { continue };
        // A fallback is nobody's decision: the next ask may do better.
        let decided: Option<Decided> = serde_json::from_slice(&event.data).ok();
        if decided.is_some_and(|decided| decided.outcome != Outcome::Fallback)
            && cache.claim(&cache_key(key), event.data.clone(), memory).await.is_ok()
        {
            recalled += 1;
        }
    }
    Ok(recalled)
}

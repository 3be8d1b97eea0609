//! One decision per key: who claims it first is right, and everyone gives that answer.

use std::time::Duration;

use bus::{Bus, Cache, CacheError, ReadError};
use bytes::Bytes;
use futures::StreamExt;
use proto::{Decided, DecisionKey, Filter, Kind, Outcome, Stream, Subject};

/// Claims the key for these bytes. `None`: they are the decision. `Some`: another worker's are.
///
/// # Errors
/// When the memory does not answer: nobody knows then whose decision stands.
pub(crate) async fn claim(
    cache: &Cache,
    key: &DecisionKey,
    decided: &Bytes,
    memory: Duration,
) -> Result<Option<Bytes>, CacheError> {
    let winner = cache.claim(&key.memory_key(), decided.clone(), memory).await?;
    Ok(winner.filter(|winner| winner != decided))
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
        let Ok(decided) = serde_json::from_slice::<Decided>(&event.data) else { continue };
        // A fallback is nobody's decision: the next ask may do better.
        if decided.outcome != Outcome::Fallback
            && cache.claim(&decided.key.memory_key(), event.data, memory).await.is_ok()
        {
            recalled += 1;
        }
    }
    Ok(recalled)
}

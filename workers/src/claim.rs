//! One decision per key: who claims it first is right, and everyone gives that answer.

use std::time::Duration;

use bus::{Bus, Cache, CacheError, Recorded, Unavailable};
use bytes::Bytes;
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
pub async fn recall(bus: &Bus, cache: &Cache, from_seq: u64, memory: Duration) -> Result<usize, Unavailable> {
    let mut recalled = 0;
    let mut events = bus.events(&Filter::All(Stream::Calls), from_seq.saturating_sub(1));
    while let Some(Recorded { event, .. }) = events.next().await? {
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

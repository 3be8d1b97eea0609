//! Calls that ended before any decision about them was heard of. A live ask about one is refused: it holds nothing for a
//! call that is over. Best effort, like all that is cached; a decision that slips through is settled with the end that
//! waits for it.

use std::time::Duration;

use bus::{Cache, CacheError};
use bytes::Bytes;
use proto::{AppName, CallId};

/// Longer than any callback stays fresh.
const KEPT: Duration = Duration::from_secs(15 * 60);

pub(crate) async fn set(cache: &Cache, app: &AppName, call: &CallId) -> Result<(), CacheError> {
    cache.set(&key(app, call), Bytes::from_static(b"ended"), KEPT).await
}

/// Whether the call has ended as far as anyone knows.
///
/// # Errors
/// When the cache does not answer.
pub async fn stands(cache: &Cache, app: &AppName, call: &CallId) -> Result<bool, CacheError> {
    Ok(cache.get(&key(app, call)).await?.is_some())
}

fn key(app: &AppName, call: &CallId) -> String {
    format!("ended:{app}:{call}")
}

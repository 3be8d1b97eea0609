//! What is remembered for a while: call memory, decisions under their key. Losing it loses no money.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Clock;

mod memory;
mod redis;

pub use self::memory::MemoryCache;
pub use self::redis::RedisCache;

/// Keys are text, values bytes; every value has a time to live. Clones share what they remember.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process, bounded; only for one process that runs all roles.
    Memory(Arc<MemoryCache>),
    /// Redis or Valkey, shared by all processes.
    Redis(RedisCache),
    /// In this process, behind a gate; for tests.
    #[cfg(feature = "storm")]
    Storm(Arc<MemoryCache>, crate::storm::Gate),
}

/// The cache did not answer. The caller decides what that means; for credit it means *no*.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    #[error("connect to the cache at {url}: {why}")]
    Connect { url: String, why: String },
    #[error("{what} in the cache: no answer within {timeout_ms} ms")]
    Timeout { what: &'static str, timeout_ms: u128 },
    #[error("{what} in the cache: {why}")]
    Failed { what: &'static str, why: String },
}

impl Cache {
    pub fn memory(entries_max: usize, clock: Clock) -> Self {
        Self::Memory(Arc::new(MemoryCache::new(entries_max, clock)))
    }

    /// Connects to Redis; every later call answers within `timeout`.
    ///
    /// # Errors
    /// When it cannot be reached now.
    pub async fn redis(url: &str, timeout: Duration) -> Result<Self, CacheError> {
        RedisCache::connect(url, timeout).await.map(Self::Redis)
    }

    /// # Errors
    /// When the cache does not answer; so with all that follow.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        match self {
            Self::Memory(memory) => Ok(memory.get(key)),
            Self::Redis(redis) => redis.get(key).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost("get", gate.around("get", async { memory.get(key) }).await),
        }
    }

    /// # Errors
    /// As [`Cache::get`].
    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        match self {
            Self::Memory(memory) => {
                memory.set(key, value, ttl);
                Ok(())
            }
            Self::Redis(redis) => redis.set(key, value, ttl).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost("set", gate.around("set", async { memory.set(key, value, ttl) }).await),
        }
    }

    /// Sets the value unless the key has one: `None` means it is ours now, `Some` is the value of who came first.
    ///
    /// # Errors
    /// As [`Cache::get`]. After an error nobody knows whether the claim was made; claiming again tells.
    pub async fn claim(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Option<Bytes>, CacheError> {
        match self {
            Self::Memory(memory) => Ok(memory.claim(key, value, ttl)),
            Self::Redis(redis) => redis.claim(key, value, ttl).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => {
                lost("claim", gate.around("claim", async { memory.claim(key, value, ttl) }).await)
            }
        }
    }

    /// # Errors
    /// As [`Cache::get`].
    pub async fn delete(&self, key: &str) -> Result<(), CacheError> {
        match self {
            Self::Memory(memory) => {
                memory.delete(key);
                Ok(())
            }
            Self::Redis(redis) => redis.delete(key).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost("delete", gate.around("delete", async { memory.delete(key) }).await),
        }
    }

    /// Gives a value `ttl` from now on; says whether there was one.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn extend(&self, key: &str, ttl: Duration) -> Result<bool, CacheError> {
        match self {
            Self::Memory(memory) => Ok(memory.extend(key, ttl)),
            Self::Redis(redis) => redis.extend(key, ttl).await,
            #[cfg(feature = "storm")]
            Self::Storm(memory, gate) => lost("extend", gate.around("extend", async { memory.extend(key, ttl) }).await),
        }
    }
}

#[cfg(feature = "storm")]
fn lost<T>(what: &'static str, value: Option<T>) -> Result<T, CacheError> {
    value.ok_or_else(|| CacheError::Failed { what, why: "the storm took it".to_owned() })
}

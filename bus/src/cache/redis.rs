//! The cache all processes share: Redis or Valkey.

use std::time::Duration;

use bytes::Bytes;
use redis::RedisResult;
use redis::aio::ConnectionManager;

use super::CacheError;

/// One connection, shared by all callers, that comes back by itself.
#[derive(Clone)]
pub struct RedisCache {
    connection: ConnectionManager,
    timeout: Duration,
}

impl RedisCache {
    pub(super) async fn connect(url: &str, timeout: Duration) -> Result<Self, CacheError> {
        // The address may hold a password, so errors show only what stands behind it.
        let shown = || url.rsplit('@').next().unwrap_or_default().to_owned();
        let failed = |error: redis::RedisError| CacheError::Connect { url: shown(), why: error.to_string() };
        let client = redis::Client::open(url).map_err(failed)?;
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, client.get_connection_manager());
        let connection = connecting
            .await
            .map_err(|_| CacheError::Timeout { what: "connect", timeout_ms: CONNECT_TIMEOUT.as_millis() })?
            .map_err(failed)?;
        Ok(Self { connection, timeout })
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        self.run("get", redis::cmd("GET").arg(key)).await.map(|value: Option<Vec<u8>>| value.map(Bytes::from))
    }

    pub(super) async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        self.run("set", redis::cmd("SET").arg(key).arg(&value[..]).arg("PX").arg(millis(ttl))).await
    }

    pub(super) async fn claim(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Option<Bytes>, CacheError> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&value[..]).arg("NX").arg("GET").arg("PX").arg(millis(ttl));
        self.run("claim", &command).await.map(|winner: Option<Vec<u8>>| winner.map(Bytes::from))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), CacheError> {
        self.run("delete", redis::cmd("DEL").arg(key)).await
    }

    pub(super) async fn extend(&self, key: &str, ttl: Duration) -> Result<bool, CacheError> {
        self.run("extend", redis::cmd("PEXPIRE").arg(key).arg(millis(ttl))).await
    }

    async fn run<T: redis::FromRedisValue>(&self, what: &'static str, command: &redis::Cmd) -> Result<T, CacheError> {
        let ask = async || command.query_async(&mut self.connection.clone()).await;
        self.within(what, async {
            match ask().await {
                // The first command after a restart finds the old connection dead.
                Err(error) if error.is_connection_dropped() || error.is_io_error() => ask().await,
                answered => answered,
            }
        })
        .await
    }

    async fn within<T>(&self, what: &'static str, call: impl Future<Output = RedisResult<T>>) -> Result<T, CacheError> {
        tokio::time::timeout(self.timeout, call)
            .await
            .map_err(|_| CacheError::Timeout { what, timeout_ms: self.timeout.as_millis() })?
            .map_err(|error| CacheError::Failed { what, why: error.to_string() })
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCache").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Redis counts whole milliseconds and refuses 0 and what overflows.
fn millis(ttl: Duration) -> u64 {
    const MILLIS_MAX: u128 = 100 * 365 * 24 * 3600 * 1000;
    u64::try_from(ttl.as_millis().clamp(1, MILLIS_MAX)).unwrap_or(u64::MAX)
}

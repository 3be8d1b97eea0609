//! The cache: the same promises in memory and on Redis.

use std::time::Duration;

use anyhow::Result;
use bus::{Cache, CacheError, Clock};
use tests::redis::Redis;

use super::eventually;

const TIMEOUT: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_secs(60);

async fn keeps_its_promises(cache: Cache) -> Result<()> {
    assert_eq!(cache.get("k").await?, None);
    cache.set("k", "\u{0}1".into(), LONG).await?;
    assert_eq!(cache.get("k").await?, Some("\u{0}1".into()));
    assert!(cache.extend("k", LONG).await?);
    cache.delete("k").await?;
    assert_eq!(cache.get("k").await?, None);
    assert!(!cache.extend("k", LONG).await?);

    // One of many claims wins, and all others learn its value.
    let mut claiming = tokio::task::JoinSet::new();
    for n in 0..32 {
        let cache = cache.clone();
        claiming.spawn(async move { cache.claim("decision", n.to_string().into(), LONG).await.map(|won| (n, won)) });
    }
    let (mut winners, mut told) = (Vec::new(), Vec::new());
    while let Some(claimed) = claiming.join_next().await {
        match claimed?? {
            (n, None) => winners.push(bytes::Bytes::from(n.to_string())),
            (_, Some(winner)) => told.push(winner),
        }
    }
    assert_eq!(winners.len(), 1);
    assert!(told.len() == 31 && told.iter().all(|value| *value == winners[0]), "{told:?}");

    cache.set("short", "1".into(), Duration::from_millis(30)).await?;
    eventually("it ends", async || Ok(cache.get("short").await?.is_none().then_some(()))).await?;
    assert_eq!(cache.claim("short", "2".into(), LONG).await?, None);
    Ok(())
}

#[tokio::test]
async fn in_memory() -> Result<()> {
    keeps_its_promises(Cache::memory(1000, Clock::System)).await
}

#[tokio::test]
async fn on_redis() -> Result<()> {
    let server = Redis::start()?;
    keeps_its_promises(Cache::redis(&server.url(), TIMEOUT).await?).await
}

#[tokio::test]
async fn a_redis_that_goes_is_an_error_in_time_and_one_that_comes_back_serves() -> Result<()> {
    let mut server = Redis::start()?;
    let cache = Cache::redis(&server.url(), TIMEOUT).await?;
    cache.set("k", "1".into(), LONG).await?;
    server.kill();
    let began = std::time::Instant::now();
    let answer = cache.get("k").await;
    assert!(matches!(answer, Err(CacheError::Timeout { .. } | CacheError::Failed { .. })), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    server.restart()?;
    eventually("it is back", async || Ok(cache.set("k", "2".into(), LONG).await.ok())).await?;
    assert_eq!(cache.get("k").await?, Some("2".into()));
    let nobody = Cache::redis("redis://127.0.0.1:1", TIMEOUT).await;
    assert!(nobody.is_err());
    Ok(())
}

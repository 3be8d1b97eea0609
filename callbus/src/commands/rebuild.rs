//! `callbus rebuild`: what is made from the log, made again.

use std::time::{Duration, Instant};

use bus::Bus;
use futures::{StreamExt, TryStreamExt, stream};
use proto::{Filter, Stream};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use views::{Store, Views};

use super::wallet;
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::output::Output;
use crate::roles::{open_to_read, store};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// # Errors
/// With the exit code of what went wrong. The wallets before it are rebuilt then, those after it are as they were.
pub(crate) async fn wallets(config: &Config, output: Output, named: Vec<String>) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let wallets = if named.is_empty() { wallet::all(&api).await? } else { named };
    let bar = output.bar(wallets.len() as u64, "wallets");
    let pages = stream::iter(wallets).map(async |wallet| {
        let page = api.post::<Value>(&format!("/v1/wallets/{}/rebuild", segment(&wallet)), &json!({})).await;
        bar.inc(1);
        page
    });
    let rebuilt: Vec<Value> = pages.buffered(wallet::AT_ONCE_MAX).try_collect().await?;
    bar.finish_and_clear();
    if output.json {
        output.json(&rebuilt);
        return Ok(());
    }
    let postings: u64 = rebuilt.iter().filter_map(|page| page["postings"].as_u64()).sum();
    output.line(format!("{} wallets rebuilt from {postings} postings", rebuilt.len()));
    let absent = rebuilt.iter().filter(|page| page["seq"] == 0).filter_map(|page| page["wallet"].as_str());
    absent.for_each(|wallet| output.line(format!("{wallet} is in no log: nothing to rebuild")));
    Ok(())
}

/// Empties the tables and sees them filled. Who keeps them fills them; where nobody does, this process does.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn views(config: &Config, environment: &Environment, output: Output) -> Result<(), Failure> {
    let (bus, store, begun) = (open_to_read(config, environment).await?, store(config)?, Instant::now());
    store.prepare().await?;
    store.clear().await?;
    let events = fill(&bus, &store, output).await?;
    let took = begun.elapsed();
    if output.json {
        output.json(&json!({ "events": events, "millis": u64::try_from(took.as_millis()).unwrap_or(u64::MAX) }));
    } else {
        output.line(format!("{events} events in {took:.1?}"));
    }
    Ok(())
}

/// Sees tables filled up to where the log ends now, and says from how many events.
///
/// # Errors
/// When the log or the tables cannot be reached.
pub(super) async fn fill(bus: &Bus, store: &Store, output: Output) -> Result<u64, Failure> {
    let streams = [Stream::Calls, Stream::Wallets];
    let mut ends = [0; 2];
    for (end, stream) in ends.iter_mut().zip(streams) {
        *end = bus.last_seq(&Filter::All(stream)).await?;
    }
    store.prepare().await?;
    let stop = CancellationToken::new();
    let mut filling = JoinSet::new();
    filling.spawn(Views::new(store.clone(), bus.clone()).run(stop.clone()));
    let bar = output.bar(ends.iter().sum(), "events");
    loop {
        let mut done = 0;
        for (end, stream) in ends.iter().zip(streams) {
            done += store.seq(stream).await?.min(*end);
        }
        bar.set_position(done);
        if done == ends.iter().sum::<u64>() {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    stop.cancel();
    filling.join_all().await;
    bar.finish_and_clear();
    Ok(ends.iter().sum())
}

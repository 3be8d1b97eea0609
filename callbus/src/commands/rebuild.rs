//! `callbus rebuild`: what is made from the log, made again.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::wallet;
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::Output;

/// # Errors
/// With the exit code of what went wrong. The wallets before are rebuilt, the others as they were.
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

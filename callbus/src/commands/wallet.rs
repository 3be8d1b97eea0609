//! `callbus wallet`: balances, histories, top-ups.

use serde_json::{Value, json};

use crate::cli::TopUp;
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::config::secret::random_token;
use crate::exit::Failure;
use crate::output::{Output, Tone};

/// Characters of a time without fractions of a second.
const TO_THE_SECOND: usize = "2026-01-02T03:04:05".len();

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn ls(config: &Config, output: Output) -> Result<(), Failure> {
    let page: Value = ApiClient::new(config)?.get("/v1/wallets").await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |wallet: &Value| {
        let facts = &wallet["facts"];
        let [currency, posted, held, available, status] =
            ["currency", "posted", "held", "available", "status"].map(|name| text(&facts[name]));
        [text(&wallet["wallet"]), posted, held, available, currency, status]
    };
    let rows = items(&page["wallets"]).map(row).collect();
    output.table(["WALLET", "BALANCE", "HELD", "AVAILABLE", "CURRENCY", "STATUS"], rows);
    Ok(())
}

pub(crate) async fn show(config: &Config, output: Output, wallet: &str) -> Result<(), Failure> {
    let page: Value = ApiClient::new(config)?.get(&format!("/v1/wallets/{}", segment(wallet))).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    for name in ["posted", "held", "credit_limit", "available", "currency", "status"] {
        output.line(format!("{name:<14}{}", text(&page["facts"][name])));
    }
    let holds: Vec<_> = items(&page["holds"])
        .map(|hold| ["call", "amount", "granted_secs", "prefix", "expires_at"].map(|name| text(&hold[name])))
        .collect();
    if !holds.is_empty() {
        output.line("");
        output.table(["HELD FOR CALL", "AMOUNT", "SECONDS", "PREFIX", "EXPIRES"], holds);
    }
    Ok(())
}

pub(crate) async fn ledger(config: &Config, output: Output, wallet: &str, limit: usize) -> Result<(), Failure> {
    let path = format!("/v1/wallets/{}/ledger?limit={limit}", segment(wallet));
    let page: Value = ApiClient::new(config)?.get(&path).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |line: &Value| {
        let posting = &line["posting"];
        let about = ["call", "note", "id"].into_iter().map(|name| text(&posting[name])).find(|text| !text.is_empty());
        let what = match posting["type"].as_str() {
            Some("TopUpPosted") => "top-up",
            Some("HoldPlaced") => "held",
            Some("CallCharged") => "charged",
            Some("HoldReleased") => "released",
            Some("HoldExpired") => "expired",
            Some(_) | None => "changed",
        };
        let [seq, amount, balance, held] = ["seq", "amount", "balance", "held"].map(|name| text(&line[name]));
        let time = text(&line["time"]).chars().take(TO_THE_SECOND).collect();
        [seq, time, what.to_owned(), amount, balance, held, about.unwrap_or_default()]
    };
    let rows = items(&page["postings"]).map(row).collect();
    output.table(["SEQ", "TIME (UTC)", "WHAT", "AMOUNT", "BALANCE", "HELD", "ABOUT"], rows);
    Ok(())
}

pub(crate) async fn top_up(config: &Config, output: Output, top_up: TopUp) -> Result<(), Failure> {
    let TopUp { wallet, amount, currency, id, note } = top_up;
    let id = match id {
        Some(id) => id,
        None => random_token()?,
    };
    let body = json!({ "id": id, "amount": amount, "currency": currency, "note": note });
    let path = format!("/v1/wallets/{}/topups", segment(&wallet));
    let receipt: Value = ApiClient::new(config)?.post(&path, &body).await?;
    if output.json {
        output.json(&receipt);
        return Ok(());
    }
    let what = if receipt["duplicate"] == true { "was posted before" } else { "posted" };
    let balance = output.toned(Tone::Good, text(&receipt["wallet"]["posted"]));
    output.line(format!("{amount} {currency} {what}; {wallet} has {balance} {currency}"));
    Ok(())
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

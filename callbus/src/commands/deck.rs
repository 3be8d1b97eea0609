//! `callbus deck`: price lists.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::cli::DeckPrice;
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Output;

mod filter;

pub(crate) use filter::Filter;

/// # Errors
/// When a line is wrong, with all that are; nothing is changed then.
pub(crate) async fn import(config: &Config, output: Output, file: &Path, name: &str) -> Result<(), Failure> {
    let csv = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let page: Value = ApiClient::new(config)?.put(&format!("/v1/decks/{}", segment(name)), csv).await?;
    if output.json {
        output.json(&page);
    } else {
        let version = page["version"].as_str().unwrap_or_default();
        output.line(format!("{name}: {} prefixes, version {version}; in use within seconds", page["prefixes"]));
    }
    Ok(())
}

/// The price lists the apps of this configuration name.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn ls(config: &Config, output: Output) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let names: BTreeSet<&str> = config.apps.iter().map(|app| app.deck.as_str()).collect();
    let mut decks = Vec::new();
    for name in names {
        match api.get::<Value>(&format!("/v1/decks/{}", segment(name))).await {
            Ok(page) => decks.push((name, Some(page))),
            Err(failure) if failure.exit == Exit::NotFound => decks.push((name, None)),
            Err(failure) => return Err(failure),
        }
    }
    if output.json {
        let found: Vec<Value> = decks.into_iter().filter_map(|(_, page)| page).collect();
        output.json(&found);
        return Ok(());
    }
    let row = |(name, page): (&str, Option<Value>)| match page {
        Some(page) => {
            let version = page["version"].as_str().unwrap_or_default().to_owned();
            [name.to_owned(), page["prefixes"].to_string(), version]
        }
        None => [name.to_owned(), String::new(), "missing: callbus deck import".to_owned()],
    };
    output.table(["DECK", "PREFIXES", "VERSION"], decks.into_iter().map(row).collect());
    Ok(())
}

/// What a call to a number costs by the price list in use, and each step on the way.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn price(config: &Config, output: Output, asked: &DeckPrice) -> Result<(), Failure> {
    let DeckPrice { number, duration, deck, at } = asked;
    let mut path = format!("/v1/decks/{}/price?number={}&duration={duration}", segment(deck), segment(number));
    if let Some(at) = at {
        path += &format!("&at={at}");
    }
    let page: Value = ApiClient::new(config)?.get(&path).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let currency = text(&page["price"]["currency"]);
    let named = text(&page["destination"]);
    let destination = if named.is_empty() { String::new() } else { format!(" ({named})") };
    for (name, value) in [
        ("deck", format!("{}, version {}", text(&page["deck"]), text(&page["version"]))),
        ("prefix", format!("{}{destination}", text(&page["prefix"]))),
        ("answered", text(&page["at"])),
        ("duration", format!("{} s, billed {} s", page["duration_secs"], page["billed_secs"])),
        ("connect fee", format!("{} {currency}, {}", text(&page["connect_fee"]), text(&page["connect_fee_mode"]))),
    ] {
        output.line(format!("{name:<12}{value}"));
    }
    let row = |step: &Value| {
        let tier = &step["tier"];
        let each = format!("{} per {} s, by {} s", text(&tier["rate"]), tier["unit_secs"], tier["increment_secs"]);
        [
            format!("{} s", step["from_secs"]),
            format!("{} s", step["billed_secs"]),
            each,
            step["period"].as_str().unwrap_or_default().to_owned(),
            text(&step["amount"]),
        ]
    };
    let steps: Vec<_> = page["steps"].as_array().into_iter().flatten().map(row).collect();
    if !steps.is_empty() {
        output.line("");
        output.table(["FROM", "BILLED", "RATE", "PERIOD", "AMOUNT"], steps);
        output.line("");
    }
    let rounding = text(&page["price"]["rounding"]);
    output.line(format!("{:<12}{} {currency} exactly, rounded {rounding}", "sum", text(&page["exact"])));
    output.line(format!("{:<12}{} {currency}", "cost", text(&page["cost"])));
    Ok(())
}

/// Rows of JSON from stdin to stdout; needs no configuration.
///
/// # Errors
/// When stdin cannot be read.
pub(crate) fn filter(filter: Filter, output: Output) -> Result<(), Failure> {
    Ok(output.stream(|out| filter::run(filter, std::io::stdin().lock(), out))?)
}

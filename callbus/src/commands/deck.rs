//! `callbus deck`: price lists.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::cli::{DeckDiff, DeckImport, DeckPrice, DeckSheet};
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{Output, to_the_second};

mod filter;

pub(crate) use filter::Filter;

/// The format of `callbus init`.
const OUR_FORMAT: &str = "callbus";
/// Changes that a dry run lists; all are counted.
const CHANGES_SHOWN: usize = 100;

/// # Errors
/// When a line is wrong, with all that are; nothing is changed then.
pub(crate) async fn import(config: &Config, output: Output, import: &DeckImport) -> Result<(), Failure> {
    let DeckImport { file, name, sheet, from, dry_run } = import;
    let mut query = sheet_query(sheet);
    query.extend(from.map(|from| format!("from={from}")));
    if *dry_run {
        return compare(config, output, name, file, query, CHANGES_SHOWN).await;
    }
    let page = put(config, name, file, &query).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let [version, format] = ["version", "format"].map(|field| text(&page[field]));
    let so_already = if page["unchanged"] == true { " already" } else { "" };
    let (prefixes, from) = (&page["prefixes"], to_the_second(&page["effective_from"]));
    let format = if format == OUR_FORMAT { String::new() } else { format!(" in the format of {format}") };
    output
        .line(format!("{name}: {prefixes} prefixes{format}, version {version}; in force{so_already} from {from} UTC"));
    Ok(())
}

/// Every version, the one that begins last on top.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn versions(config: &Config, output: Output, name: &str) -> Result<(), Failure> {
    let page: Value = ApiClient::new(config)?.get(&format!("/v1/decks/{}/versions", segment(name))).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |line: &Value| {
        let state = if line["in_force"] == true { "in force" } else { "" };
        let [version, from, imported] = ["version", "effective_from", "imported_at"].map(|field| text(&line[field]));
        [version, from, imported, line["prefixes"].to_string(), state.to_owned()]
    };
    let rows = page["versions"].as_array().into_iter().flatten().map(row).collect();
    output.table(["VERSION", "FROM", "IMPORTED", "PREFIXES", ""], rows);
    Ok(())
}

/// Two versions, or what is in force and a file.
///
/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn diff(config: &Config, output: Output, asked: &DeckDiff) -> Result<(), Failure> {
    let DeckDiff { name, old, new, sheet, limit } = asked;
    let Some(new) = new else {
        return compare(config, output, name, Path::new(old), sheet_query(sheet), *limit).await;
    };
    let path = format!("/v1/decks/{}/diff?old={}&new={}&limit={limit}", segment(name), segment(old), segment(new));
    show_diff(output, &ApiClient::new(config)?.get(&path).await?);
    Ok(())
}

async fn compare(
    config: &Config,
    output: Output,
    name: &str,
    file: &Path,
    mut query: Vec<String>,
    limit: usize,
) -> Result<(), Failure> {
    query.push(format!("dry_run=true&limit={limit}"));
    show_diff(output, &put(config, name, file, &query).await?);
    Ok(())
}

async fn put(config: &Config, name: &str, file: &Path, query: &[String]) -> Result<Value, Failure> {
    let csv = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    ApiClient::new(config)?.put(&format!("/v1/decks/{}?{}", segment(name), query.join("&")), csv).await
}

fn sheet_query(sheet: &DeckSheet) -> Vec<String> {
    let format = sheet.format.as_ref().map(|format| format!("as={format}"));
    let currency = sheet.currency.as_ref().map(|currency| format!("currency={}", segment(currency)));
    format.into_iter().chain(currency).collect()
}

fn show_diff(output: Output, page: &Value) {
    if output.json {
        output.json(page);
        return;
    }
    let changes = page["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |change: &Value| {
        let percent = change["percent"].as_str();
        let signed = |text: &str| format!("{}{text} %", if text.starts_with('-') || text == "0" { "" } else { "+" });
        let [prefix, destination, kind] = ["prefix", "destination", "change"].map(|field| text(&change[field]));
        let [old, new] = ["old_cost", "new_cost"].map(|field| text(&change[field]));
        [prefix, destination, kind, old, new, percent.map(signed).unwrap_or_default()]
    };
    if !changes.is_empty() {
        output.table(
            ["PREFIX", "DESTINATION", "CHANGE", "OLD MINUTE", "NEW MINUTE", ""],
            changes.iter().map(row).collect(),
        );
        output.line("");
    }
    let kinds = ["added", "removed", "dearer", "cheaper", "otherwise", "same"];
    let counts = kinds.map(|kind| format!("{} {kind}", page[kind]));
    output.line(format!("{} ({} listed)", counts.join(", "), changes.len()));
}

/// Without the quotes of JSON; nothing for what is not there.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
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

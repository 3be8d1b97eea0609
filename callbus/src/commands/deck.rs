//! `callbus deck`: price lists.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Output;

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

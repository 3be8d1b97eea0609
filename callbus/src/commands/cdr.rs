//! `callbus cdr`: what calls came to.

use std::fs::File;
use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::call::say_behind;
use crate::cli::{CdrFormat, CdrWhich};
use crate::client::{ApiClient, Query};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Characters of a time without fractions of a second.
const TO_THE_SECOND: usize = "2026-01-02T03:04:05".len();

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn ls(config: &Config, output: Output, limit: usize, which: &CdrWhich) -> Result<(), Failure> {
    let mut path = asked(which);
    path.and("limit", Some(limit));
    let page: Value = ApiClient::new(config)?.get(path.as_str()).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |cdr: &Value| {
        let [ended, from, to, result] = ["ended_at", "caller", "callee", "result"].map(|name| text(&cdr[name]));
        let [refused, rule, wallet, billed] = ["refused", "rule", "wallet", "billed_secs"].map(|name| text(&cdr[name]));
        let came_to = if refused.is_empty() { result } else { refused };
        let cost = [text(&cdr["cost"]), text(&cdr["currency"])].join(" ");
        let ended = ended.chars().take(TO_THE_SECOND).collect();
        [ended, from, to, came_to, rule, wallet, billed, cost.trim().to_owned(), text(&cdr["call"])]
    };
    let rows = page["cdrs"].as_array().into_iter().flatten().map(row).collect();
    output.table(["ENDED (UTC)", "FROM", "TO", "CAME TO", "RULE", "WALLET", "BILLED S", "COST", "CALL"], rows);
    say_behind(output, &page);
    Ok(())
}

pub(crate) async fn show(config: &Config, output: Output, call: &str, reveal: bool) -> Result<(), Failure> {
    let mut path = Query::of("/v1/cdrs");
    path.and("call", Some(call)).and("reveal", Some(u8::from(reveal)));
    let page: Value = ApiClient::new(config)?.get(path.as_str()).await?;
    let mut legs: Vec<&Value> = page["cdrs"].as_array().into_iter().flatten().collect();
    if legs.is_empty() {
        say_behind(output, &page);
        let sentence = format!("there is no CDR of {call}: it has not been settled, or there is no such call");
        return Err(Failure::say(Exit::NotFound, sentence));
    }
    if output.json {
        output.json(&page);
        return Ok(());
    }
    // The newest come first; the legs of a call are told in their order.
    legs.reverse();
    for leg in legs {
        for (name, value) in leg.as_object().into_iter().flatten() {
            output.line(format!("{name:<20}{}", text(value)));
        }
        output.line("");
    }
    Ok(())
}

pub(crate) async fn export(
    config: &Config,
    output: Output,
    which: &CdrWhich,
    format: CdrFormat,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let name = match format {
        CdrFormat::Csv => "csv",
        CdrFormat::Json => "json",
        CdrFormat::Parquet => "parquet",
    };
    let mut path = asked(which);
    path.and("format", Some(name));
    if !which.reveal {
        output.aside("numbers are masked; --reveal writes them in full");
    }
    let api = ApiClient::new(config)?;
    let Some(file) = file else {
        if format == CdrFormat::Parquet && stdout().is_terminal() {
            return Err(Failure::say(Exit::Usage, "Parquet is nothing for a terminal: name a file with -o"));
        }
        let taken = |piece: &[u8]| output.stream(|out| out.write_all(piece));
        return api.download(path.as_str(), taken).await;
    };
    // Under its own name it is whole.
    let part = file.with_added_extension("part");
    let failed = || format!("write {}", part.display());
    let mut out = File::create(&part).with_context(failed)?;
    let bar = bar(output);
    let taken = |piece: &[u8]| -> io::Result<()> {
        bar.inc(piece.len() as u64);
        out.write_all(piece)
    };
    if let Err(failure) = api.download(path.as_str(), taken).await {
        let _ = std::fs::remove_file(&part);
        return Err(failure);
    }
    out.sync_all().with_context(failed)?;
    std::fs::rename(&part, file).with_context(|| format!("name {}", file.display()))?;
    bar.finish_and_clear();
    let bytes = bar.position();
    if output.json {
        output.json(&serde_json::json!({ "file": file, "bytes": bytes }));
    } else {
        output.line(format!("{bytes} bytes in {}", file.display()));
    }
    Ok(())
}

fn asked(which: &CdrWhich) -> Query {
    let CdrWhich { time, app, wallet, reveal } = which;
    let mut path = Query::of("/v1/cdrs");
    path.and("since", time.since).and("until", time.until).and("app", app.as_ref()).and("wallet", wallet.as_ref());
    path.and("reveal", Some(u8::from(*reveal)));
    path
}

/// On stderr, where people look; none for programs. Nobody knows beforehand how much it will be.
fn bar(output: Output) -> ProgressBar {
    let shown = !output.json && stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec}");
    ProgressBar::with_draw_target(None, target).with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

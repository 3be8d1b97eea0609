//! `callbus destination`: whom events are delivered to.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::cli::DestinationCommand;
use crate::client::{ApiClient, Query, segment};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Output, Tone};

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn run(config: &Config, output: Output, command: DestinationCommand) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let of = |name: &str| format!("/v1/destinations/{}", segment(name));
    match command {
        DestinationCommand::Ls => {
            let page: Value = api.get("/v1/destinations").await?;
            ls(output, &page);
        }
        DestinationCommand::Show { name } => {
            let page: Value = api.get(&of(&name)).await?;
            show(output, &page);
        }
        DestinationCommand::Put { name, file, recipe } => {
            let mut body = read(&file)?;
            if let Some(recipe) = recipe {
                let mut spec: Map<String, Value> =
                    serde_json::from_str(&body).with_context(|| format!("read {} as a JSON object", file.display()))?;
                let to = spec.get("to").and_then(|to| to["recipe"].as_object());
                let mut settings = to.cloned().unwrap_or_default();
                settings.insert("text".to_owned(), read(&recipe)?.into());
                spec.insert("to".to_owned(), json!({ "recipe": settings }));
                body = json!(spec).to_string();
            }
            let page: Value = api.put(&of(&name), body.into_bytes()).await?;
            changed(output, &page, "it is in force within a second");
        }
        DestinationCommand::Preview { name, seq } => {
            let mut query = Query::of(&format!("{}/preview", of(&name)));
            query.and("seq", seq);
            let page: Value = api.get(query.as_str()).await?;
            preview(output, &page);
        }
        DestinationCommand::Rotate { name } => {
            let page: Value = api.post(&format!("{}/rotate", of(&name)), &json!({})).await?;
            changed(output, &page, "the secret before signs beside it for a day");
        }
        DestinationCommand::Pause { name } => {
            let page: Value = api.post(&format!("{}/pause", of(&name)), &json!({})).await?;
            changed(output, &page, "paused; what comes is parked");
        }
        DestinationCommand::Resume { name } => {
            let page: Value = api.post(&format!("{}/resume", of(&name)), &json!({})).await?;
            changed(output, &page, "resumed; what was parked is sent");
        }
        DestinationCommand::Rm { name } => {
            let page: Value = api.delete(&of(&name)).await?;
            changed(output, &page, "removed; what was not delivered is given up");
        }
    }
    Ok(())
}

fn ls(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    let row = |destination: &Value| {
        let state =
            if destination["paused"] == true { output.toned(Tone::Note, "paused") } else { "active".to_owned() };
        [
            words(&destination["destination"]),
            state,
            words(&destination["is"]["kinds"]),
            words(&destination["is"]["url"]),
        ]
    };
    let rows = page["destinations"].as_array().into_iter().flatten().map(row).collect();
    output.table(["DESTINATION", "STATE", "KINDS", "URL"], rows);
}

fn show(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    output.line(format!(
        "{}, since {}",
        output.toned(Tone::Strong, words(&page["destination"])),
        words(&page["since"])
    ));
    for (name, value) in page["is"].as_object().into_iter().flatten() {
        output.line(format!("  {name}: {}", words(value)));
    }
    for lane in page["lanes"].as_array().into_iter().flatten() {
        let state = match (&lane["gone"], &lane["broken"], page["paused"] == true) {
            (Value::Bool(true), ..) => output.toned(Tone::Bad, "gone: resume it to try again"),
            (_, Value::Bool(true), _) => output.toned(Tone::Bad, "broken: only probes are sent"),
            (_, _, true) => output.toned(Tone::Note, "paused"),
            _ => output.toned(Tone::Good, "sending"),
        };
        let from = lane["behind_from"].as_u64();
        let behind = from.map(|from| format!(", more waits in the log from {from} on")).unwrap_or_default();
        output.line(format!("  group {}: {state}, {} open{behind}", lane["group"]["index"], lane["open"]));
    }
}

fn preview(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    for request in std::iter::once(page).chain(page["then"].as_array().into_iter().flatten()) {
        output.line(format!("{} {}", words(&request["method"]), words(&request["url"])));
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            output.line(format!("{name}: {}", words(value)));
        }
        output.line(format!("\n{}\n", words(&request["body"])));
    }
}

fn changed(output: Output, page: &Value, what: &str) {
    if output.json {
        return output.json(page);
    }
    output.line(format!("{}: {what}", words(&page["destination"])));
    if let Some(secret) = page["secret"].as_str() {
        output.line(format!("its signing secret, shown this once: {}", output.toned(Tone::Strong, secret)));
    }
}

/// Text as it is, lists with commas, all else as JSON.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// `-` is stdin.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read stdin")?;
        return Ok(text);
    }
    Ok(fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?)
}

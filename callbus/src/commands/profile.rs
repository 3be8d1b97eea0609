//! `callbus profile`: callback profiles, as calls name them.

use serde_json::{Value, json};

use crate::cli::ProfileCommand;
use crate::client::{ApiClient, Query, read, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, words};

/// # Errors
/// With the exit code of what went wrong.
pub(crate) async fn run(config: &Config, output: Output, command: ProfileCommand) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let of = |id: &str| format!("/v1/profiles/{}", segment(id));
    match command {
        ProfileCommand::Create { file } => {
            let page: Value = api.post("/v1/profiles", &spec(&file)?).await?;
            changed(output, &page, "created");
        }
        ProfileCommand::Ls { title, limit, offset } => {
            let mut query = Query::of("/v1/profiles");
            query.and("title", title).and("limit", limit).and("offset", offset);
            let page: Value = api.get(query.as_str()).await?;
            ls(output, &page);
        }
        ProfileCommand::Show { id } => {
            let page: Value = api.get(&of(&id)).await?;
            if output.json {
                output.json(&page);
                return Ok(());
            }
            for (name, value) in page.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                output.line(format!("{name}: {}", words(value)));
            }
        }
        ProfileCommand::Set { id, file } => {
            let page: Value = api.patch(&of(&id), &spec(&file)?).await?;
            changed(output, &page, "changed; calls placed before are told as it was");
        }
        ProfileCommand::Rm { id } => {
            let page: Value = api.delete(&of(&id)).await?;
            changed(output, &page, "removed; calls placed before are told still");
        }
        ProfileCommand::Enable { id } => {
            let page: Value = api.post(&format!("{}/enable", of(&id)), &json!({})).await?;
            changed(output, &page, "enabled; what was parked is sent");
        }
        ProfileCommand::Disable { id } => {
            let page: Value = api.post(&format!("{}/disable", of(&id)), &json!({})).await?;
            changed(output, &page, "disabled; what comes is parked");
        }
        ProfileCommand::Duplicate { id, title } => {
            let spec = title.map_or_else(|| json!({}), |title| json!({ "title": title }));
            let page: Value = api.post(&format!("{}/duplicate", of(&id)), &spec).await?;
            let shares = page["auth"]["type"] != "none";
            changed(output, &page, if shares { "created, with the same password" } else { "created" });
        }
        ProfileCommand::Preview { id, file } => {
            let sample = file.map_or_else(|| Ok(json!({})), |file| spec(&file))?;
            let page: Value = api.post(&format!("{}/preview", of(&id)), &sample).await?;
            preview(output, &page);
        }
        ProfileCommand::Report { id, since } => {
            let mut query = Query::of(&format!("{}/report", of(&id)));
            query.and("since", since);
            let page: Value = api.get(query.as_str()).await?;
            report(output, &page);
        }
        ProfileCommand::Retrigger { id, call, delivery } => {
            let wanted = call.map_or_else(|| json!({ "delivery": delivery }), |call| json!({ "call": call }));
            let page: Value = api.post(&format!("{}/retrigger", of(&id)), &wanted).await?;
            if output.json {
                output.json(&page);
            } else {
                output.line(format!("{} are told again, each with the webhook-id it had", page["retriggered"]));
            }
        }
    }
    Ok(())
}

fn spec(file: &std::path::Path) -> Result<Value, Failure> {
    let refused = |error| Failure::say(Exit::Failed, format!("{} is no JSON: {error}", file.display()));
    serde_json::from_str(&read(file)?).map_err(refused)
}

fn ls(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    let row = |profile: &Value| {
        let state = match profile["status"].as_u64() {
            Some(1) => "active".to_owned(),
            Some(2) => output.toned(Tone::Bad, "does not answer"),
            _ => output.toned(Tone::Note, "disabled"),
        };
        [words(&profile["id"]), words(&profile["title"]), state, words(&profile["http_method"]), words(&profile["url"])]
    };
    let rows = page["profiles"].as_array().into_iter().flatten().map(row).collect();
    output.table(["PROFILE", "TITLE", "STATE", "METHOD", "URL"], rows);
}

fn changed(output: Output, page: &Value, what: &str) {
    if output.json {
        return output.json(page);
    }
    output.line(format!("{}: {what}", words(&page["id"])));
    for warning in page["warnings"].as_array().into_iter().flatten() {
        output.line(output.toned(Tone::Note, words(warning)));
    }
    if let Some(secret) = page["secret"].as_str() {
        output.line(format!("its signing secret, shown this once: {}", output.toned(Tone::Strong, secret)));
    }
}

fn preview(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    output.line(format!("{} {}", words(&page["method"]), words(&page["url"])));
    for header in page["headers"].as_array().into_iter().flatten() {
        output.line(format!("{}: {}", words(&header[0]), words(&header[1])));
    }
    output.line(format!("\n{}", words(&page["body"])));
}

fn report(output: Output, page: &Value) {
    if output.json {
        return output.json(page);
    }
    output.line(format!("delivered {}, open {}, given up {}", page["delivered"], page["open"], page["dead"]));
    for (event, states) in page["events"].as_object().into_iter().flatten() {
        let states = states.as_object().into_iter().flatten().map(|(state, count)| format!("{count} {state}"));
        output.line(format!("  {event}: {}", states.collect::<Vec<_>>().join(", ")));
    }
}

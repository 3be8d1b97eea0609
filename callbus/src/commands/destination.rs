//! `callbus destination`: whom events are delivered to.

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};

use crate::cli::DestinationCommand;
use crate::client::{ApiClient, Query, read, segment};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Output, Tone, to_the_second, words};

/// Destinations that are asked about at the same time.
const AT_ONCE: usize = 8;
/// What [`show`] says in words of its own, or what is nobody's business.
const NOT_LISTED: [&str; 11] = [
    "url",
    "to",
    "kinds",
    "from_seq",
    "deliveries_seq",
    "headers",
    "header_values",
    "credentials",
    "credential_values",
    "keys",
    "by",
];

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn run(config: &Config, output: Output, command: DestinationCommand) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    match command {
        DestinationCommand::Ls => ls(&api, output).await?,
        DestinationCommand::Show { name } => show(&api, output, &name).await?,
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

fn of(name: &str) -> String {
    format!("/v1/destinations/{}", segment(name))
}

/// The list does not say how each stands, so each is asked about.
async fn ls(api: &ApiClient, output: Output) -> Result<(), Failure> {
    let page: Value = api.get("/v1/destinations").await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let names = page["destinations"].as_array().into_iter().flatten().map(|one| words(&one["destination"]));
    let shown = stream::iter(names).map(async |name| api.get::<Value>(&of(&name)).await).buffered(AT_ONCE);
    let row = |page: Value| {
        let (tone, state) = state(&page);
        [
            words(&page["destination"]),
            output.toned(tone, state.word),
            words(&page["is"]["kinds"]),
            words(&page["is"]["url"]),
        ]
    };
    let rows = shown.map_ok(row).try_collect().await?;
    output.table(["DESTINATION", "STATE", "KINDS", "URL"], rows);
    Ok(())
}

/// How a destination stands, in a word, and what is to be done about it.
struct State {
    word: &'static str,
    todo: &'static str,
}

fn state(page: &Value) -> (Tone, State) {
    let lanes = || page["lanes"].as_array().into_iter().flatten();
    let any = |what: &str| lanes().any(|lane| lane[what] == true);
    let (tone, word, todo) = if page["paused"] == true {
        (Tone::Note, "paused", "what comes is parked; `callbus destination resume` sends it")
    } else if any("gone") {
        (Tone::Bad, "gone", "it answered 410: nothing is sent until `callbus destination resume`")
    } else if any("waits") {
        let crm = !page["is"]["credentials"].as_array().is_none_or(Vec::is_empty);
        let todo = match (crm, page["is"]["header_values"].is_string()) {
            (true, _) => "its credentials are missing, as after a restore: put it again with them",
            (false, true) => {
                "a secret of it is missing, as after a restore: put it again with its headers, and rotate it"
            }
            (false, false) => "its signing secret is missing, as after a restore: `callbus destination rotate`",
        };
        (Tone::Bad, "no secret", todo)
    } else if any("broken") {
        (Tone::Bad, "broken", "it failed again and again: everything is parked, and one is tried now and then")
    } else if lanes().next().is_none() {
        (Tone::Bad, "not served", "no delivery process answers: does `callbus` or `callbus delivery` run?")
    } else {
        (Tone::Good, "sending", "")
    };
    (tone, State { word, todo })
}

async fn show(api: &ApiClient, output: Output, name: &str) -> Result<(), Failure> {
    let page: Value = api.get(&of(name)).await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let line = |name: &str, value: &str| output.line(format!("{name:<16}{value}"));
    let (tone, state) = state(&page);
    let put = &page["is"];
    line(&words(&page["destination"]), &format!("since {}", to_the_second(&page["since"])));
    line("state", format!("{}  {}", output.toned(tone, state.word), state.todo).trim_end());
    waiting(output, &page);
    if let Some(failed) = last_failure(api, name).await? {
        line("last error", &format!("{}  {}", to_the_second(&failed["noted_at"]), words(&failed["cause"])));
        if tone == Tone::Good {
            line("next try", &to_the_second(&failed["next_at"]));
        }
    }
    line("url", &words(&put["url"]));
    line("kinds", &words(&put["kinds"]));
    let connector = put["to"].as_object().and_then(|to| to.iter().next());
    if let Some((kind, settings)) = connector {
        line("to", kind);
        for (name, value) in settings.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            line(&format!("  {name}"), &words(value));
        }
    }
    let not_shown = |names: &Value| format!("{} (values are not shown)", words(names));
    for what in ["headers", "credentials"] {
        if put[what].as_array().is_some_and(|names| !names.is_empty()) {
            line(what, &not_shown(&put[what]));
        }
    }
    match put["keys"].as_array().map_or(0, Vec::len) {
        0 => {}
        1 => line("signed", "by one secret"),
        _ => line("signed", "by a new secret, and for a day by those before"),
    }
    for (name, value) in put.as_object().into_iter().flatten().filter(|(name, _)| !NOT_LISTED.contains(&name.as_str()))
    {
        line(name, &words(value));
    }
    Ok(())
}

/// What is on its way or waits, group by group where there are several.
fn waiting(output: Output, page: &Value) {
    let lanes: Vec<&Value> = page["lanes"].as_array().into_iter().flatten().collect();
    for lane in &lanes {
        let group = if lanes.len() > 1 { format!("open in {}", words(&lane["group"])) } else { "open".to_owned() };
        let from = lane["behind_from"].as_u64();
        let behind = from.map(|from| format!(", and more waits in the log from {from} on")).unwrap_or_default();
        output.line(format!("{group:<16}{}{behind}", lane["open"]));
    }
}

/// The newest delivery that is to be tried again, once the destination is well.
async fn last_failure(api: &ApiClient, name: &str) -> Result<Option<Value>, Failure> {
    let mut query = Query::of("/v1/deliveries");
    query.and("destination", Some(name)).and("state", Some("failed")).and("limit", Some(1));
    let page: Value = api.get(query.as_str()).await?;
    Ok(Some(page["deliveries"][0].clone()).filter(Value::is_object))
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
    // Where it may not be called, there is no preview.
    output.aside("its address may be called; nothing was sent");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever keeps a destination from being sent to is seen.
    #[test]
    fn a_destination_that_is_not_sent_to_does_not_look_well() {
        let lane = |what: &str| json!({ "group": "1/4", "open": 3, (what): true });
        let crm = json!({ "credentials": ["token"] });
        let signed = json!({ "keys": [{ "name": "destination.crm.key.1" }] });
        for (page, word, todo) in [
            (json!({ "lanes": [lane("")] }), "sending", ""),
            (json!({ "lanes": [lane(""), lane("gone")] }), "gone", "resume"),
            (json!({ "lanes": [lane("broken")] }), "broken", "parked"),
            (json!({ "lanes": [lane("broken")], "paused": true }), "paused", "resume"),
            (json!({ "lanes": [lane("waits")], "paused": true }), "paused", "resume"),
            (json!({ "lanes": [lane("waits")], "is": crm }), "no secret", "put it again"),
            (json!({ "lanes": [lane("waits")], "is": signed }), "no secret", "rotate"),
            (json!({ "lanes": [] }), "not served", "callbus delivery"),
        ] {
            let (_, state) = state(&page);
            assert!(state.word == word && state.todo.contains(todo), "{page}: {}, {}", state.word, state.todo);
        }
    }
}

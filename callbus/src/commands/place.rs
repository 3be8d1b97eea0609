//! `callbus call place|join|hangup`: calls that we place.

use serde_json::{Map, Value, json};

use crate::cli::{CallJoin, CallPlace, CallTarget, CallTerms};
use crate::client::{ApiClient, read, segment};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Output, Tone};

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn place(config: &Config, output: Output, asked: CallPlace) -> Result<(), Failure> {
    let CallPlace { to, from, target: CallTarget { say, menu, connect, policy: _ }, terms } = asked;
    let target = match (say, menu, connect) {
        (Some(text), ..) => json!({ "say": text }),
        (None, Some(name), _) => json!({ "menu": name }),
        (None, None, Some(number)) => json!({ "connect": number }),
        (None, None, None) => json!("policy"),
    };
    let body = [("to", json!(to)), ("from", json!(from)), ("target", target)];
    order(config, output, "/v1/calls/outbound", body, terms).await
}

pub(crate) async fn join(config: &Config, output: Output, asked: CallJoin) -> Result<(), Failure> {
    let CallJoin { from, to, bridge, terms } = asked;
    let body = [("from", json!(from)), ("to", json!(to)), ("bridge", json!(bridge))];
    order(config, output, "/v1/calls/click-to-call", body, terms).await
}

pub(crate) async fn hang_up(config: &Config, output: Output, id: &str) -> Result<(), Failure> {
    let told: Value = ApiClient::new(config)?.delete(&format!("/v1/calls/{}", segment(id))).await?;
    if output.json {
        output.json(&told);
    } else {
        output.line(format!("{id} is being ended; `callbus call show {id}` says when it is over"));
    }
    Ok(())
}

async fn order(
    config: &Config,
    output: Output,
    path: &str,
    body: [(&str, Value); 3],
    terms: CallTerms,
) -> Result<(), Failure> {
    let CallTerms { app, timeout, max_duration, retry, retry_after, at, custom, callback, key } = terms;
    let retry = retry.zip(retry_after).map(|(times, secs)| json!({ "times": times, "interval": secs }));
    // As it stands: what is wrong with it is said where it is read.
    let callback = callback.as_deref().map(read).transpose()?;
    let more = [
        ("app", app.map(Value::from)),
        ("timeout", timeout.map(Value::from)),
        ("max_duration", max_duration.map(Value::from)),
        ("retry", retry),
        ("at", at.map(|at| Value::from(at.to_string()))),
        ("custom", custom.map(Value::from)),
        ("callback", callback.map(Value::from)),
    ];
    let mut fields: Map<String, Value> = body.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    fields.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let placed: Value = ApiClient::new(config)?.post_once(path, &Value::Object(fields), key.as_deref()).await?;
    if output.json {
        output.json(&placed);
    } else {
        output.line(format!("{}  {}", output.toned(Tone::Strong, "call"), placed["call"].as_str().unwrap_or_default()));
    }
    Ok(())
}

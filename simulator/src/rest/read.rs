//! Bodies of requests, read strictly: a field nobody knows is an error, and says so by its code.

use proto::Svaml;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Any JSON.
pub(crate) fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::Request(format!("not JSON: {error}")))
}

/// What is wrong with the fields tells a missing one from a wrong one.
pub(crate) fn fields<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
            Some((name, _)) => Problem::Missing(name.to_owned()),
            None => Problem::Parameter(text),
        }
    })
}

/// SVAML for a call that goes on. Reading is tolerant as for answers, but what was read must hold all that was sent.
///
/// Of the older documents: `startRecording` and `stopRecording` as the action. What they do is an instruction, and the
/// call goes on.
pub(crate) fn svaml(body: &[u8]) -> Result<Svaml, String> {
    let sent = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let sent = recording_as_instruction(sent);
    let svaml: Svaml = serde_json::from_value(sent.clone()).map_err(|error| format!("not SVAML: {error}"))?;
    let read = serde_json::to_value(&svaml).map_err(|error| error.to_string())?;
    match unknown(&sent, &read) {
        Some(name) => Err(format!("{name} is unknown")),
        None => Ok(svaml),
    }
}

fn recording_as_instruction(mut body: Value) -> Value {
    let Some(action) = body.get("action").and_then(Value::as_object) else { return body };
    let name = action.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut instruction = match name.to_ascii_lowercase().as_str() {
        "startrecording" => json!({ "name": "startRecording" }),
        "stoprecording" => json!({ "name": "stopRecording" }),
        _ => return body,
    };
    for (key, value) in action.iter().filter(|(key, _)| *key != "name") {
        let key = if key == "recordingOptions" { "options" } else { key };
        instruction[key] = value.clone();
    }
    body["action"] = json!({ "name": "continue" });
    match body.get_mut("instructions") {
        Some(Value::Array(instructions)) => instructions.push(instruction),
        None | Some(Value::Null) => body["instructions"] = json!([instruction]),
        // It is refused for what it is.
        Some(_) => {}
    }
    body
}

/// The first field that was sent and not read. An absent value is none.
fn unknown(sent: &Value, read: &Value) -> Option<String> {
    match (sent, read) {
        (Value::Object(sent), Value::Object(read)) => sent.iter().find_map(|(key, value)| within(key, value, read)),
        (Value::Array(sent), Value::Array(read)) => sent.iter().zip(read).find_map(|(sent, read)| unknown(sent, read)),
        (_, _) => None,
    }
}

fn within(key: &str, sent: &Value, read: &Map<String, Value>) -> Option<String> {
    // Headers have two spellings.
    let key = if key == "callheaders" { "callHeaders" } else { key };
    let is_empty = sent.is_null() || sent.as_array().is_some_and(Vec::is_empty);
    match read.get(key) {
        Some(read) => unknown(sent, read),
        None if is_empty => None,
        None => Some(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_svaml_is_named_wherever_it_stands() {
        for (body, expected) in [
            (r#"{"action":{"name":"hangup"}}"#, None),
            (r#"{"instructions":[],"action":{"name":"hangup","cause":1}}"#, Some("cause is unknown")),
            (r#"{"instruction":[],"action":{"name":"hangup"},"more":1}"#, Some("more is unknown")),
            (
                r##"{"action":{"name":"RunMenu","menus":[{"id":"main","options":[{"dtmf":1,"action":"return(a)","x":1}]}]}}"##,
                Some("x is unknown"),
            ),
            (r#"{"action":{"name":"connectMxp","callheaders":[{"key":"a","value":"b"}]}}"#, None),
            (r#"{"action":{"name":"StartRecording","recordingOptions":{"format":"mp3"}}}"#, None),
            (r#"{"action":{"name":"stopRecording","why":1}}"#, Some("why is unknown")),
        ] {
            assert_eq!(svaml(body.as_bytes()).err().as_deref(), expected, "{body}");
        }
        assert!(svaml(b"{}").is_err_and(|why| why.contains("missing field `action`")));
    }
}

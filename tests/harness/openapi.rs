//! The OpenAPI document, held against what is replied.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// `docs/openapi.json`, as it is published.
#[derive(Debug)]
pub struct OpenApi(Value);

impl OpenApi {
    pub fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        let mut document = serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?;
        close(&mut document);
        Ok(Self(document))
    }

    /// # Errors
    /// What of a reply is not as the document says.
    pub fn check(&self, verb: &str, path: &str, status: u16, media_type: &str, body: &Value) -> Result<()> {
        let Some(operation) = self.operation(verb, path) else {
            // What is nowhere, or takes no such verb.
            ensure!([401, 404, 405].contains(&status), "{verb} {path} is not in the document, and replies {status}");
            return Ok(());
        };
        let mut reply = operation["responses"]
            .get(status.to_string())
            .with_context(|| format!("{verb} {path} replies {status}, of which the document says nothing: {body}"))?;
        if let Some(reference) = reply["$ref"].as_str() {
            reply = self.0.pointer(reference.trim_start_matches('#')).with_context(|| reference.to_owned())?;
        }
        let content = reply["content"].get(media_type).with_context(|| format!("{verb} {path}: no {media_type}"))?;
        let schema = json!({ "allOf": [content["schema"]], "components": self.0["components"] });
        let schema = jsonschema::options().should_validate_formats(true).build(&schema)?;
        let faults: Vec<String> =
            schema.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if !faults.is_empty() {
            bail!("{verb} {path} replies {status} with what the document does not say: {faults:#?} in {body}");
        }
        Ok(())
    }

    /// Of several paths that fit, the one that says most.
    fn operation(&self, verb: &str, path: &str) -> Option<&Value> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').collect();
            template.len() == parts.len()
                && template.iter().zip(&parts).all(|(said, part)| said.starts_with('{') || said == part)
        };
        let paths = self.0["paths"].as_object()?.iter().filter(|(template, _)| fits(template));
        paths.min_by_key(|(template, _)| template.matches('{').count())?.1.get(verb)
    }
}

/// Closes objects: a reader may pass over a field that the document does not name, a test may not. What is but a part of
/// an object, such as what stands beside a tag, stays open, and the whole is closed.
fn close(document: &mut Value) {
    let mut parts = BTreeSet::new();
    each(document, &mut |fields| {
        if let (Some(part), true) = (fields.get("$ref").and_then(Value::as_str), fields.contains_key("properties")) {
            parts.insert(part.trim_start_matches("#/components/schemas/").to_owned());
        }
    });
    each(document, &mut |fields| {
        if fields.get("properties").is_some_and(|properties| properties.get("type").is_none_or(Value::is_object))
            && !fields.contains_key("additionalProperties")
        {
            fields.insert("unevaluatedProperties".to_owned(), json!(false));
        }
    });
    for part in parts {
        if let Some(fields) = document["components"]["schemas"][&part].as_object_mut() {
            fields.remove("unevaluatedProperties");
        }
    }
}

/// All objects within, whatever they are.
fn each(value: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(fields);
            fields.values_mut().for_each(|value| each(value, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

//! The environment over the file: `CALLBUS__INGRESS__LISTEN`, and `CALLBUS__APPS__0__SECRET` for the first app.

use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::fault::Fault;
use super::file::{File, HttpBase};
use crate::environment::Environment;

/// Apps the environment can name; a number beyond is a typing error, not a list to fill.
const APPS_MAX: usize = 1_000;

/// What OpenTelemetry's own documents name: it counts where `[telemetry] otlp` is not set.
const OTLP: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Reads the file first, so that its own faults have their place, then puts each variable over it.
pub(super) fn read(path: &Path, text: &str, environment: &Environment) -> Result<File, Fault> {
    let mut file: File = toml::from_str(text).map_err(|error| Fault::in_file(path, text, &error))?;
    let mut table: Table = toml::from_str(text).map_err(|error| Fault::in_file(path, text, &error))?;
    for (name, keys, value) in environment.settings() {
        // What a variable holds is text; where the file would hold a number or a list, it is read as TOML.
        let as_text = with(&table, name, &keys, Value::String(value.to_owned()))?;
        let read = match File::deserialize(as_text.clone()) {
            Ok(read) => Ok((read, as_text)),
            Err(error) => match as_toml(value) {
                Some(value) => {
                    let as_toml = with(&table, name, &keys, value)?;
                    File::deserialize(as_toml.clone()).map(|read| (read, as_toml))
                }
                None => Err(error),
            },
        };
        (file, table) = read.map_err(|error| Fault::in_variable(name, &error))?;
    }
    if let (None, Some(address)) = (&file.telemetry.otlp, environment.get(OTLP)) {
        let collector = HttpBase::try_from(address.to_owned());
        file.telemetry.otlp =
            Some(collector.map_err(|error| Fault::setting(OTLP, error, "or leave it unset to trace nothing"))?);
    }
    Ok(file)
}

fn as_toml(value: &str) -> Option<Value> {
    let mut table: Table = toml::from_str(&format!("value = {value}")).ok()?;
    table.remove("value").filter(|value| !value.is_str())
}

fn with(table: &Table, name: &str, keys: &[String], value: Value) -> Result<Table, Fault> {
    let mut whole = Value::Table(table.clone());
    let mut at = &mut whole;
    for (depth, key) in keys.iter().enumerate() {
        let below = || {
            if keys.get(depth + 1).is_some_and(|next| is_index(next)) { array() } else { Value::Table(Table::new()) }
        };
        at = match at {
            Value::Table(table) => table.entry(key.as_str()).or_insert_with(below),
            Value::Array(items) => {
                let index: usize = key.parse().unwrap_or(usize::MAX);
                if index > items.len() || index >= APPS_MAX {
                    let todo = format!("the next free number is {}", items.len());
                    return Err(Fault::setting(name, format!("there is no entry number {key}"), todo));
                }
                if index == items.len() {
                    items.push(below());
                }
                &mut items[index]
            }
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                return Err(Fault::setting(
                    name,
                    format!("{key} is below a setting that has nothing below it"),
                    "see the names in callbus.toml",
                ));
            }
        };
    }
    *at = value;
    let Value::Table(table) = whole else {
        return Err(Fault::setting(name, "it names no setting", "write CALLBUS__SECTION__KEY"));
    };
    Ok(table)
}

fn is_index(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_digit())
}

fn array() -> Value {
    Value::Array(Vec::new())
}

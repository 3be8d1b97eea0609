//! CDRs as files for other programs: CSV, JSON Lines, Parquet.
//!
//! An [`Encoder`] takes a page of rows and gives the bytes of it, so a file of any length needs the memory of one page.
//! Amounts are decimals, times are UTC, and the columns have the same names everywhere.

use std::borrow::Cow;

use jiff::Timestamp;
use money::Micros;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cdrs::CDRS;
use crate::error::Error;
use crate::export::parquet::ParquetFile;
use crate::query::Cdr;
use crate::table::Holds;
use crate::value::Time;

mod parquet;

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    /// One object a line.
    Json,
    Parquet,
}

/// A file on its way.
#[derive(Debug)]
pub enum Encoder {
    Csv { headed: bool },
    Json,
    Parquet(Box<ParquetFile>),
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Csv, Self::Json, Self::Parquet];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }

    /// As HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl Encoder {
    /// # Errors
    /// When the file cannot be begun; so with all that follow.
    pub fn new(format: Format) -> Result<Self, Error> {
        Ok(match format {
            Format::Csv => Self::Csv { headed: false },
            Format::Json => Self::Json,
            Format::Parquet => Self::Parquet(Box::new(ParquetFile::begin()?)),
        })
    }

    /// The bytes of more rows.
    pub fn rows(&mut self, rows: &[Cdr]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Csv { headed } => {
                let mut csv = csv::Writer::from_writer(Vec::new());
                let failed = |error: csv::Error| Error::Export(error.to_string());
                if !std::mem::replace(headed, true) {
                    csv.write_record(columns().map(|(name, ..)| name)).map_err(failed)?;
                }
                for row in rows {
                    csv.write_record(columns().map(|(_, column, holds)| cell(&row[column], holds))).map_err(failed)?;
                }
                csv.into_inner().map_err(|error| Error::Export(error.to_string()))
            }
            Self::Json => {
                let mut lines = Vec::new();
                for row in rows {
                    serde_json::to_writer(&mut lines, &ToldCdr::from(row))?;
                    lines.push(b'\n');
                }
                Ok(lines)
            }
            Self::Parquet(file) => file.rows(rows),
        }
    }

    /// What comes last.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        match self {
            // Without a row there are headings at least.
            Self::Csv { headed: false } => self.rows(&[]),
            Self::Csv { headed: true } | Self::Json => Ok(Vec::new()),
            Self::Parquet(file) => file.finish(),
        }
    }
}

/// A CDR as people and programs are told it: amounts as decimals, and nothing of what is not known.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ToldCdr(Map<String, Value>);

impl From<&Cdr> for ToldCdr {
    fn from(row: &Cdr) -> Self {
        let tell = |(name, column, holds): (&str, &str, Holds)| {
            let value = &row[column];
            let told = match holds {
                Holds::Text | Holds::Integer | Holds::Boolean | Holds::Json => value.clone(),
                Holds::Micros => decimal(value).map_or(Value::Null, Value::from),
                Holds::Time => time(value).map_or(Value::Null, |at| Value::from(at.to_string())),
            };
            (name.to_owned(), told)
        };
        Self(columns().map(tell).filter(|(_, value)| !value.is_null()).collect())
    }
}

impl JsonSchema for ToldCdr {
    fn schema_name() -> Cow<'static, str> {
        "Cdr".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut of = |holds| match holds {
            Holds::Text => generator.subschema_for::<String>(),
            Holds::Integer => generator.subschema_for::<u64>(),
            Holds::Boolean => generator.subschema_for::<bool>(),
            Holds::Micros => generator.subschema_for::<Micros>(),
            Holds::Time => generator.subschema_for::<Timestamp>(),
            Holds::Json => generator.subschema_for::<Value>(),
        };
        let properties: Map<String, Value> =
            columns().map(|(name, _, holds)| (name.to_owned(), of(holds).to_value())).collect();
        json_schema!({
            "type": "object",
            "description": "One leg of a call, and what it came to; one row for a call without a leg. What is not known is absent.",
            "properties": properties,
        })
    }
}

/// Each column as it is called outside and inside, and what it holds.
fn columns() -> impl Iterator<Item = (&'static str, &'static str, Holds)> {
    CDRS.columns.iter().map(|(column, holds)| (column.strip_suffix("_micros").unwrap_or(column), *column, *holds))
}

fn cell(value: &Value, holds: Holds) -> String {
    match holds {
        Holds::Text => value.as_str().map(harmless).unwrap_or_default(),
        Holds::Micros => decimal(value).unwrap_or_default(),
        Holds::Time => time(value).map(|at| at.to_string()).unwrap_or_default(),
        Holds::Integer | Holds::Boolean | Holds::Json if value.is_null() => String::new(),
        Holds::Integer | Holds::Boolean | Holds::Json => value.to_string(),
    }
}

/// A spreadsheet takes what begins like this for a formula. Numbers of phones are none, masked or not.
fn harmless(text: &str) -> String {
    let is_number = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '•');
    match text.chars().next() {
        Some('+') if is_number(&text[1..]) => text.to_owned(),
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => format!("'{text}"),
        Some(_) | None => text.to_owned(),
    }
}

fn decimal(value: &Value) -> Option<String> {
    Some(Micros::new(value.as_i64()?).ok()?.to_string())
}

fn time(value: &Value) -> Option<Time> {
    value.as_str()?.parse::<Timestamp>().ok().map(Time::from)
}

#[cfg(test)]
mod tests;

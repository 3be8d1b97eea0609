//! The OpenAPI document: what each route reads and replies, said by the types of its handler.
//!
//! A handler's parameters say what they [`Reads`] of a request, its result what it [`Replies`]; the table of
//! [`routes`](crate::routes) adds a sentence, and the problems that its types do not tell. The schemas are those that
//! the types derive for `schemars` anyway.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use proto::prose::as_prose;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::problem;

mod describe;
#[cfg(test)]
mod tests;

pub(crate) use describe::{Described, Reads, Replies, json_body};

/// Where a schema stands once it is known of which types the two sides differ, and before.
const SCHEMAS: &str = "#/components/schemas/";
const ASKED: &str = "#/asked/";
const TOLD: &str = "#/told/";

/// What one verb of one path does.
#[derive(Debug)]
pub(crate) struct Operation {
    id: &'static str,
    sentence: &'static str,
    /// It needs no token.
    pub(crate) open: bool,
    path: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    replies: Map<String, Value>,
    problems: BTreeSet<StatusCode>,
}

/// An operation by the name that clients may call it by, in one sentence.
pub(crate) fn op(id: &'static str, sentence: &'static str) -> Operation {
    Operation {
        id,
        sentence,
        open: false,
        path: String::new(),
        parameters: Vec::new(),
        body: None,
        replies: Map::new(),
        problems: BTreeSet::new(),
    }
}

impl Operation {
    /// Problems that are not plain from what the handler reads.
    pub(crate) fn or(mut self, problems: impl IntoIterator<Item = StatusCode>) -> Self {
        self.problems.extend(problems);
        self
    }

    /// For everybody: it needs no token.
    pub(crate) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// The names in braces.
    fn names(&self) -> Vec<String> {
        let named = self.path.split('{').skip(1).filter_map(|part| part.split_once('}'));
        named.map(|(name, _)| name.to_owned()).collect()
    }

    fn into_value(mut self, tag: &str) -> Value {
        if !self.open {
            self.problems.insert(StatusCode::UNAUTHORIZED);
        }
        for status in &self.problems {
            let status = status.as_str();
            self.replies
                .insert(status.to_owned(), json!({ "$ref": format!("#/components/responses/Problem{status}") }));
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.sentence,
            "tags": [tag],
            "responses": self.replies,
        });
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        if self.open {
            operation["security"] = json!([]);
        }
        operation
    }
}

/// The schemas of both sides: who asks may leave out what has a default, who is told finds it there.
#[derive(Debug)]
pub(crate) struct Schemas {
    asked: SchemaGenerator,
    told: SchemaGenerator,
}

impl Schemas {
    /// Of what a request says.
    pub(crate) fn asked<T: JsonSchema>(&mut self) -> Value {
        self.asked.subschema_for::<T>().to_value()
    }

    /// The same with its properties, and no reference.
    pub(crate) fn asked_here<T: JsonSchema>(&mut self) -> Value {
        T::json_schema(&mut self.asked).to_value()
    }

    /// Of what a reply says.
    pub(crate) fn told<T: JsonSchema>(&mut self) -> Value {
        self.told.subschema_for::<T>().to_value()
    }
}

/// All that was written down.
#[derive(Debug)]
pub(crate) struct Document {
    tags: Vec<Value>,
    paths: Map<String, Value>,
    schemas: Schemas,
}

impl Document {
    pub(crate) fn new() -> Self {
        let at = |path: &str| {
            let path = path.trim_matches(['#', '/']);
            SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = format!("/{path}").into())
        };
        let schemas = Schemas {
            asked: at(ASKED).for_deserialize().into_generator(),
            told: at(TOLD).for_serialize().into_generator(),
        };
        Self { tags: Vec::new(), paths: Map::new(), schemas }
    }

    /// A noun that operations are about.
    pub(crate) fn tag(&mut self, name: &str, sentence: &str) {
        self.tags.push(json!({ "name": name, "description": sentence }));
    }

    pub(crate) fn add<H: Described<D>, D>(&mut self, tag: &str, verb: &str, path: &str, mut operation: Operation) {
        operation.path = path.to_owned();
        H::describe(&mut operation, &mut self.schemas);
        let verbs = self.paths.entry(path).or_insert_with(|| json!({}));
        verbs[verb] = operation.into_value(tag);
    }

    pub(crate) fn finish(mut self) -> Value {
        let problem = self.schemas.told::<problem::Details>();
        let content = json!({ problem::CONTENT_TYPE: { "schema": problem } });
        let problems: Map<String, Value> = problem::WHEN
            .iter()
            .map(|(status, when)| {
                (format!("Problem{}", status.as_str()), json!({ "description": when, "content": content }))
            })
            .collect();
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "callbus",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": "Calls, what they cost, and what decides about them.",
                "description": "Every problem is told as problem details (RFC 9457). Amounts are decimals in strings, \
                    times RFC 3339 in UTC, phone numbers E.164; numbers in replies are masked unless reveal=1 asks \
                    for them. An address that does not take a verb answers 405.",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
            "servers": [{ "url": "/", "description": "Where this document was read." }],
            "security": [{ "token": [] }],
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer",
                    "description": "The API's token: `callbus` writes it to `api-token` in its data directory." } },
                "responses": problems,
            },
        });
        let asked = self.schemas.asked.take_definitions(true);
        let told = self.schemas.told.take_definitions(true);
        let differing = differing(&asked, &told);
        let of_asked = |name: &str| match differing.contains(name) {
            true => format!("{name}Input"),
            false => name.to_owned(),
        };
        let mut schemas = told;
        schemas.extend(asked.into_iter().map(|(name, schema)| (of_asked(&name), schema)));
        document["components"]["schemas"] = schemas.into();
        refer(&mut document, &|reference| match (reference.strip_prefix(ASKED), reference.strip_prefix(TOLD)) {
            (Some(name), _) => Some(format!("{SCHEMAS}{}", of_asked(name))),
            (None, Some(name)) => Some(format!("{SCHEMAS}{name}")),
            (None, None) => None,
        });
        as_prose(&mut document);
        document
    }
}

/// The types that are written otherwise when asked than when told, and those that hold such.
fn differing(asked: &Map<String, Value>, told: &Map<String, Value>) -> BTreeSet<String> {
    let both = || asked.iter().filter_map(|(name, asked)| Some((name, asked, told.get(name)?)));
    let plain = |schema: &Value| {
        let mut schema = schema.clone();
        refer(&mut schema, &|reference| Some(reference.rsplit('/').next().unwrap_or_default().to_owned()));
        schema
    };
    let differ = |(name, asked, told): (&String, &Value, &Value)| (plain(asked) != plain(told)).then(|| name.clone());
    let mut differing: BTreeSet<String> = both().filter_map(differ).collect();
    loop {
        let holds_one = |schema: &Value| {
            let schema = schema.to_string();
            differing.iter().any(|name| schema.contains(&format!("\"{ASKED}{name}\"")))
        };
        let more = both().filter(|(name, asked, _)| !differing.contains(*name) && holds_one(asked));
        let more: Vec<String> = more.map(|(name, ..)| name.clone()).collect();
        if more.is_empty() {
            return differing;
        }
        differing.extend(more);
    }
}

/// Writes references anew.
fn refer(value: &mut Value, anew: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref").and_then(anew) {
                    Some(reference) => *value = reference.into(),
                    None => refer(value, anew),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, anew)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

//! What the parameters and results of handlers say of themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{Operation, Schemas};
use crate::address::{Path, Query};
use crate::body::{Body, Shape};
use crate::problem::Problem;
use crate::reply::{Accepted, Created, Either, Posted};
use crate::server::Desk;

const JSON: &str = "application/json";

/// What is read of a request.
pub(crate) trait Reads {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

/// What is replied when all goes well, and what does not go well.
pub(crate) trait Replies {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

/// A handler; `D` are its parameters.
pub(crate) trait Described<D> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

macro_rules! described {
    ($($parameter:ident),*) => {
        impl<H, F, $($parameter),*> Described<($($parameter,)*)> for H
        where
            H: FnOnce($($parameter),*) -> F,
            F: Future<Output: Replies>,
            $($parameter: Reads),*
        {
            fn describe(operation: &mut Operation, schemas: &mut Schemas) {
                $($parameter::describe(operation, schemas);)*
                <F::Output as Replies>::describe(operation, schemas);
            }
        }
    };
}

described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);

impl Operation {
    pub(crate) fn parameter(&mut self, of: &str, name: &str, required: bool, mut schema: Value) {
        let mut parameter = json!({ "name": name, "in": of, "required": required });
        if let Some(description) = schema.as_object_mut().and_then(|schema| schema.remove("description")) {
            parameter["description"] = description;
        }
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self.problems.insert(StatusCode::UNPROCESSABLE_ENTITY);
    }

    /// `content` by media type.
    pub(crate) fn takes(&mut self, required: bool, content: Value) {
        self.body = Some(json!({ "required": required, "content": content }));
        self.problems.extend([StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY]);
    }

    /// What was said of this status before is said too: one or the other.
    pub(crate) fn replies(&mut self, status: StatusCode, description: &str, media_type: &str, schema: Value) {
        let reply =
            self.replies.entry(status.as_str()).or_insert_with(|| json!({ "description": description, "content": {} }));
        let said = &mut reply["content"][media_type]["schema"];
        let before = said.take();
        *said = if before.is_null() { schema } else { json!({ "anyOf": [before, schema] }) };
    }
}

impl Reads for State<Arc<Desk>> {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

impl<T: JsonSchema> Reads for Path<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.asked::<T>();
        // Of several names there is a tuple.
        let each = match schema.get("prefixItems") {
            Some(Value::Array(items)) => items.clone(),
            Some(_) | None => vec![schema],
        };
        for (name, schema) in operation.names().into_iter().zip(each) {
            operation.parameter("path", &name, true, schema);
        }
    }
}

impl<T: JsonSchema> Reads for Query<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.asked_here::<T>();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            operation.parameter("query", name, required.contains(&json!(name)), not_null(schema.clone()));
        }
    }
}

/// What is absent from a query is absent, and not null.
fn not_null(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    fields.retain(|_, value| !value.is_null());
    if let Some(types @ Value::Array(_)) = fields.get_mut("type") {
        let of: Vec<Value> = types.as_array().into_iter().flatten().filter(|of| *of != "null").cloned().collect();
        *types = match of.as_slice() {
            [only] => only.clone(),
            several => several.into(),
        };
    }
    if let Some(Value::Array(mut either)) = fields.remove("anyOf") {
        either.retain(|schema| *schema != json!({ "type": "null" }));
        match either.as_slice() {
            [Value::Object(only)] => fields.extend(only.clone()),
            _ => drop(fields.insert("anyOf".to_owned(), either.into())),
        }
    }
    fields.into()
}

/// A body of JSON with its examples.
pub(crate) fn json_body<T: Shape>(schemas: &mut Schemas) -> Value {
    let mut content = json!({ "schema": schemas.asked::<T>() });
    let example = |(name, json): &(&str, &str)| {
        let value = serde_json::from_str::<Value>(json).unwrap_or_default();
        ((*name).to_owned(), json!({ "value": value }))
    };
    if !T::EXAMPLES.is_empty() {
        content["examples"] = T::EXAMPLES.iter().map(example).collect::<Map<_, _>>().into();
    }
    content
}

impl<T: Shape> Reads for Body<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.takes(true, json!({ JSON: json_body::<T>(schemas) }));
    }
}

impl<T: Shape> Reads for Option<Body<T>> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.takes(false, json!({ JSON: json_body::<T>(schemas) }));
    }
}

/// Whatever can fail is unavailable when the log is.
impl<T: Replies> Replies for Result<T, Problem> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.problems.insert(StatusCode::SERVICE_UNAVAILABLE);
        T::describe(operation, schemas);
    }
}

impl<T: JsonSchema> Replies for Json<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.replies(StatusCode::OK, "As asked.", JSON, schemas.told::<T>());
    }
}

impl<T: JsonSchema> Replies for Created<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.replies(StatusCode::CREATED, "It is there now.", JSON, schemas.told::<T>());
    }
}

impl<T: JsonSchema> Replies for Accepted<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.replies(StatusCode::ACCEPTED, "It is written down, and will be done.", JSON, schemas.told::<T>());
    }
}

impl<T: JsonSchema> Replies for Posted<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        Created::<T>::describe(operation, schemas);
        operation.replies(StatusCode::OK, "It was so before.", JSON, schemas.told::<T>());
    }
}

impl<A: Replies, B: Replies> Replies for Either<A, B> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        A::describe(operation, schemas);
        B::describe(operation, schemas);
    }
}

//! How calls are ordered: as JSON or as a form, and under a key with which the order can be sent again.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use proto::event::json as to_json;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use url::form_urlencoded;

use crate::body::{self, Shape};
use crate::openapi::{Operation, Reads, Schemas, json_body};
use crate::problem::Problem;

const FORM: &str = "application/x-www-form-urlencoded";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// JSON, or a form whose fields have the same names; what is no text in JSON is a JSON document in its field.
#[derive(Debug)]
pub(crate) struct JsonOrForm<T>(pub T);

/// The same key is the same order.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(pub Option<HeaderValue>);

impl<T: Shape, S: Send + Sync> FromRequest<S> for JsonOrForm<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM);
        let bytes = body::read(request, T::BYTES_MAX).await?;
        if is_form { of_form(&bytes).map(Self) } else { body::parse(&bytes).map(Self) }
    }
}

fn of_form<T: Shape>(form: &[u8]) -> Result<T, Problem> {
    let mut fields: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        let text = |text: &str| to_raw_value(text).map_err(Problem::unavailable);
        let value = match name.as_ref() {
            // A plus sign that was not encoded means a blank in a form.
            "to" | "from" | "bridge" => text(&value.replacen(' ', "+", usize::from(value.starts_with(' '))))?,
            "app" | "at" | "custom" | "callback" => text(&value)?,
            _ => RawValue::from_string(value.to_string()).or_else(|_| text(&value))?,
        };
        if fields.insert(name.to_string(), value).is_some() {
            return Err(Problem::Invalid(format!("{name} is there twice")));
        }
    }
    serde_json::from_str(&to_json(&fields))
        .map_err(|error| Problem::Invalid(format!("the form is not {}: {error}", T::SHAPE)))
}

impl<T: Shape> Reads for JsonOrForm<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let json = json_body::<T>(schemas);
        let of_json = || json!({ "contentType": "application/json" });
        let form = json!({
            "schema": json["schema"],
            "encoding": { "target": of_json(), "retry": of_json(), "callback": of_json() },
        });
        operation.takes(true, json!({ "application/json": json, FORM: form }));
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        match (keys.next(), keys.next()) {
            (key, None) => Ok(Self(key.cloned())),
            (_, Some(_)) => Err(Problem::Invalid("Idempotency-Key: it is there twice".to_owned())),
        }
    }
}

impl Reads for IdempotencyKey {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 255,
            "description": "The same key is the same call, however often it is sent." });
        operation.parameter("header", IDEMPOTENCY_KEY, false, schema);
    }
}

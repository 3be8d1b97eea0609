//! The bodies of requests: JSON documents of a known shape, and what they all hold.

use std::error::Error;

use axum::body::to_bytes;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Most bodies are short.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// A note is a line, not a document.
const NOTE_CHARS_MAX: usize = 500;

/// What a body may be.
pub(crate) trait Shape: DeserializeOwned + JsonSchema {
    /// What it is, to whoever sends another.
    const SHAPE: &'static str;
    const BYTES_MAX: usize = BYTES_MAX;
    /// Bodies that people write, by name.
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[];
}

/// A body of JSON. As an `Option` it may be left out.
#[derive(Debug, Default)]
pub(crate) struct Body<T>(pub T);

impl<T: Shape, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&read(request, T::BYTES_MAX).await?).map(Self)
    }
}

impl<T: Shape, S: Send + Sync> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Problem> {
        let bytes = read(request, T::BYTES_MAX).await?;
        if bytes.is_empty() { Ok(None) } else { parse(&bytes).map(Self).map(Some) }
    }
}

/// All of a body, if it is not too large.
pub(crate) async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    to_bytes(request.into_body(), bytes_max).await.map_err(|error| match error.source() {
        Some(source) if source.is::<LengthLimitError>() => Problem::TooLarge { bytes_max },
        // Nobody is left to hear it.
        Some(_) | None => Problem::Invalid("the body did not come whole".to_owned()),
    })
}

pub(crate) fn parse<T: Shape>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::Invalid(format!("the body is not {}: {error}", T::SHAPE)))
}

/// It goes into the log for ever, and to terminals as it is.
pub(crate) fn note(text: String) -> Result<String, Problem> {
    if text.chars().count() > NOTE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Problem::Invalid(format!("a note is one line of at most {NOTE_CHARS_MAX} characters")));
    }
    Ok(text)
}

//! The bodies of requests, and what they all hold.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A note is a line, not a document.
const NOTE_CHARS_MAX: usize = 500;

/// A body of JSON; `shape` says to whoever sends another what it is.
pub(crate) fn parse<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    bytes_max: usize,
    shape: &str,
) -> Result<T, Problem> {
    let body = body.map_err(|_| Problem::TooLarge { bytes_max })?;
    serde_json::from_slice(&body).map_err(|error| Problem::Invalid(format!("the body is not {shape}: {error}")))
}

/// It goes into the log for ever, and to terminals as it is.
pub(crate) fn note(text: String) -> Result<String, Problem> {
    if text.chars().count() > NOTE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Problem::Invalid(format!("a note is one line of at most {NOTE_CHARS_MAX} characters")));
    }
    Ok(text)
}

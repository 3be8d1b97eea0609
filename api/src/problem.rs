//! Every status of the API that is not a success, as problem details (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use money::import::DeckErrors;
use schemars::JsonSchema;
use serde::Serialize;

/// What went wrong. The caller gets a status and a sentence.
#[derive(Debug)]
pub(crate) enum Problem {
    Unauthorized,
    /// What there is none of.
    NotFound(String),
    Method,
    /// The request cannot be understood.
    Invalid(String),
    /// It is understood, and contradicts what is recorded.
    Conflict(String),
    TooLarge {
        bytes_max: usize,
    },
    Deck(DeckErrors),
    /// Somebody this needs is away; again later may help.
    Unavailable(String),
}

pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

/// When each status comes, for the document. 405 belongs to no operation.
pub(crate) const WHEN: [(StatusCode, &str); 6] = [
    (StatusCode::UNAUTHORIZED, "There is no token, or a wrong one."),
    (StatusCode::NOT_FOUND, "There is no such thing."),
    (StatusCode::CONFLICT, "It is understood, and contradicts what is recorded."),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
    (StatusCode::UNPROCESSABLE_ENTITY, "The request cannot be understood; the detail says what of it, and what to do."),
    (StatusCode::SERVICE_UNAVAILABLE, "Somebody this needs is away; again later may help."),
];

/// Problem details (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Details {
    title: &'static str,
    status: u16,
    detail: String,
    /// The bad lines of a price list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<Line>,
}

/// A line that cannot be read, and why.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BadLine")]
struct Line {
    line: u64,
    reason: String,
}

impl Problem {
    /// For whatever could not be read from the log just now.
    pub(crate) fn unavailable(cause: impl ToString) -> Self {
        Self::Unavailable(cause.to_string())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid(_) | Self::Deck(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Unauthorized => "not authorized",
            Self::NotFound(_) => "not found",
            Self::Method => "wrong method",
            Self::Invalid(_) => "not understood",
            Self::Conflict(_) => "refused",
            Self::TooLarge { .. } => "too large",
            Self::Deck(_) => "price list not loaded",
            Self::Unavailable(_) => "not available now",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, title) = (self.status(), self.title());
        let mut lines = Vec::new();
        let detail = match self {
            Self::Unauthorized => "send the API token: Authorization: Bearer <token>".to_owned(),
            Self::NotFound(what) => format!("there is no {what}"),
            Self::Method => "this address does not take that method".to_owned(),
            Self::Invalid(detail) | Self::Conflict(detail) => detail,
            Self::TooLarge { bytes_max } => format!("the body is over {bytes_max} bytes"),
            Self::Deck(errors) => {
                let listed = errors.lines.iter().map(|bad| Line { line: bad.line, reason: bad.reason.to_string() });
                lines = listed.collect();
                format!("{} lines are wrong; nothing was changed", errors.count)
            }
            Self::Unavailable(cause) => {
                tracing::warn!(cause, "answering 503");
                cause
            }
        };
        let details = Details { title, status: status.as_u16(), detail, lines };
        let body = serde_json::to_vec(&details).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

//! What the REST API says when it does not do what it is asked: every code of the documents that can come here.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A field that is unknown, of the wrong type, or of a wrong value.
    #[error("{0}")]
    Parameter(String),
    #[error("{0} is missing")]
    Missing(String),
    /// No JSON, or nothing that can be done as things stand; also the key of another application in a path.
    #[error("{0}")]
    Request(String),
    #[error("Missing or bad authorization header")]
    Authorization,
    #[error("Invalid timestamp header")]
    Timestamp,
    #[error("Invalid signature")]
    Signature,
    #[error("Invalid credentials")]
    Credentials,
    #[error("Not enough credit")]
    Credit,
    #[error("Destination forbidden")]
    Forbidden,
    #[error("Invalid authorization scheme")]
    Scheme,
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("Internal error")]
    Internal,
    #[error("Temporarily down")]
    Down,
}

impl Problem {
    pub(crate) fn parameter(what: impl ToString) -> Self {
        Self::Parameter(what.to_string())
    }

    /// The first three digits are the status.
    fn code(&self) -> u16 {
        match self {
            Self::Parameter(_) => 40_001,
            Self::Missing(_) => 40_002,
            Self::Request(_) => 40_003,
            Self::Authorization => 40_100,
            Self::Timestamp => 40_101,
            Self::Signature => 40_102,
            Self::Credentials => 40_108,
            Self::Credit => 40_200,
            Self::Forbidden => 40_300,
            Self::Scheme => 40_301,
            Self::NotFound(_) => 40_400,
            Self::Internal => 50_000,
            Self::Down => 50_300,
        }
    }
}

impl IntoResponse for Problem {
    /// The schema has the code as text, the fixtures as a number, which is what comes over the wire.
    fn into_response(self) -> Response {
        let body = json!({ "errorCode": self.code(), "message": self.to_string(), "reference": "" });
        let status = StatusCode::from_u16(self.code() / 100).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(body)).into_response()
    }
}

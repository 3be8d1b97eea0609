//! Every HTTP status of the callback path. The caller gets a status and a sentence, the log gets the cause.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// What the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// SVAML, or `{}` where nothing is asked.
    Answer(Bytes),
    /// Nothing here takes callbacks.
    NotHere,
    /// GET or HEAD: the dashboard's test button, or a person.
    Hello,
    /// Another method.
    Method,
    /// Any failure of signature, key, scheme, header or age. The reason stays with us: it would help only a forger.
    Refused,
    TooLarge,
    /// The body did not arrive in time.
    Slow,
    /// Signed, but no callback.
    NotACallback(&'static str),
    /// Neither log nor spool can take it, or the app wants Sinch to try its fallback URL.
    Unavailable,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let text = |status: StatusCode, sentence: &'static str| (status, sentence).into_response();
        match self {
            Self::Answer(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Self::Hello => text(StatusCode::OK, "callbus takes Sinch voice callbacks here, by POST.\n"),
            Self::NotHere => text(StatusCode::NOT_FOUND, "callbacks are not taken at this path\n"),
            Self::Method => text(StatusCode::METHOD_NOT_ALLOWED, "callbacks come by POST\n"),
            Self::Refused => text(StatusCode::UNAUTHORIZED, "the signature was not accepted\n"),
            Self::TooLarge => text(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than a callback may be\n"),
            Self::Slow => text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
            Self::NotACallback(sentence) => text(StatusCode::BAD_REQUEST, sentence),
            Self::Unavailable => text(StatusCode::SERVICE_UNAVAILABLE, "the callback cannot be taken now\n"),
        }
    }
}

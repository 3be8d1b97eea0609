//! Replies that are not simply 200 with JSON.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// 201.
#[derive(Debug)]
pub(crate) struct Created<T>(pub T);

/// 202: it will be done.
#[derive(Debug)]
pub(crate) struct Accepted<T>(pub T);

/// 201 for what is new, 200 for what was so before.
#[derive(Debug)]
pub(crate) enum Posted<T> {
    New(T),
    Before(T),
}

/// One or the other, as the request asks.
#[derive(Debug)]
pub(crate) enum Either<A, B> {
    One(A),
    Other(B),
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Posted<T> {
    fn into_response(self) -> Response {
        match self {
            Self::New(body) => Created(body).into_response(),
            Self::Before(body) => Json(body).into_response(),
        }
    }
}

impl<A: IntoResponse, B: IntoResponse> IntoResponse for Either<A, B> {
    fn into_response(self) -> Response {
        match self {
            Self::One(reply) => reply.into_response(),
            Self::Other(reply) => reply.into_response(),
        }
    }
}

//! What an address says: the names in its path, and its query. What cannot be understood of it is a [`Problem`] like any
//! other.

use axum::extract;
use axum::extract::FromRequestParts;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The names in the path, in its order.
#[derive(Debug)]
pub(crate) struct Path<T>(pub T);

#[derive(Debug)]
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = extract::Path::from_request_parts(parts, state).await;
        let extract::Path(names) = names.map_err(|rejection| {
            Problem::Invalid(if let PathRejection::FailedToDeserializePathParams(failed) = rejection {
                failed.into_kind().to_string()
            } else {
                rejection.body_text()
            })
        })?;
        Ok(Self(names))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = extract::Query::from_request_parts(parts, state).await;
        let extract::Query(query) = query.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
        Ok(Self(query))
    }
}

//! What a request says in its path and its query. The same as axum's, but what is wrong with them is a problem.

use axum::{
    extract::{FromRequestParts, path, rejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use syncbridge_codec::ErrorCode;

use super::{Api, Problem};

/// The parameters in a route's path, percent-decoded once.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, api).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection::PathRejection::FailedToDeserializePathParams(error)) => Err(bad_path(error.into_kind())),
            Err(error) => {
                tracing::error!(%error, "a route's parameters are not those it asks for");
                Err(Problem::new(ErrorCode::Internal, "the route is described wrongly"))
            }
        }
    }
}

fn bad_path(kind: path::ErrorKind) -> Problem {
    let detail = match kind {
        path::ErrorKind::InvalidUtf8InPathParam { key } => format!("`{key}` in the path is not UTF-8"),
        other => format!("the path: {other}"),
    };
    Problem::new(ErrorCode::InvalidRequest, detail)
}

/// The query. Names that `T` does not know are passed over.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(value)| Self(value)).map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Problem::new(ErrorCode::InvalidRequest, format!("the query: {cause}"))
        })
    }
}

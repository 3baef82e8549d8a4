//! What the routes are, for machines: an OpenAPI 3.1 document. It is written by hand, in `openapi.json` beside this file; tests
//! hold it to the routes, to the codes' statuses, and the answers of a running service to it.

use axum::http::header;
use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`, for anybody: it says nothing of this deployment.
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests;

//! The model repository of the Open Inference Protocol, as Triton's clients speak it (its extension `model_repository`): what may be
//! served, and that a model is loaded, replaced or unloaded, for those who may.
//!
//! Everybody whom policies permit `ManageModel` is told why a change was refused, in full: they are its operators.

use super::access::Refused;
use super::error::InferenceAnswer;
use super::{App, Authorized, Caller, Serving};
use crate::change::{Changed, fixed};
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use strongroom_transport::read_body;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Fault, Refusal, Result, document, limits};

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Load,
    Unload,
}

/// The body of a load or an unload; both may have none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// `host[:port]/repo:tag` or `host[:port]/repo@sha256:…`, of a load. Absent: the document's own reference.
    #[serde(default)]
    reference: Option<String>,
    /// Triton's, of an unload; no model depends on another here.
    #[serde(default, rename = "unload_dependents")]
    _unload_dependents: bool,
}

/// A model that may be served.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    name: String,
    version: String,
    state: &'static str,
    reason: &'static str,
}

/// A refusal on its way to somebody who may change models.
struct Managed(Refusal);

/// `POST /v2/repository/index`: what is served, and what was and may be loaded again, as far as the caller may know of it.
pub(super) async fn index(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<Entry>> {
    let served = serving.models.list().map(|(name, manifest)| (name.to_owned(), manifest, true));
    let gone = serving.changes.iter().flat_map(|changes| changes.replaceable());
    let gone = gone.filter(|(name, _)| serving.models.manifest(name).is_err());
    let all = served.chain(gone.map(|(name, manifest)| (name, manifest, false)));
    let seen = all.filter(|(name, manifest, _)| serving.access.may_list(&caller, name, *manifest));
    let entry = |(name, manifest, is_served): (String, Sha256, bool)| Entry {
        name,
        version: manifest.oci(),
        state: if is_served { "READY" } else { "UNAVAILABLE" },
        reason: if is_served { "" } else { "unloaded" },
    };
    Json(seen.map(entry).collect())
}

/// `POST /v2/repository/models/{name}/load` and `…/unload`. It is made whether or not the caller waits for it.
pub(super) async fn change(
    State(app): State<App>,
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    path: core::result::Result<Path<String>, PathRejection>,
    request: Request,
) -> core::result::Result<Response, InferenceAnswer> {
    let (name, action) = target(path)?;
    // The body of somebody who may not is not read.
    serving.authorize_change(&caller, &name)?;
    drop(serving);
    let asked = read(request.into_body()).await?;
    // By what is served now, which may have changed while it was read.
    let serving = app.serving()?;
    let call = serving.authorize_change(&caller, &name)?;
    let changing = tokio::spawn(async move { make(&app, &serving, &call, action, asked).await });
    let made = changing.await.unwrap_or_else(|e| Err(Refusal::new(Code::Internal, "change of a model").because(e)));
    Ok(match made {
        Ok(Changed { manifest, workload, .. }) => {
            let version = manifest.map(|manifest| manifest.oci());
            Json(json!({"name": name, "version": version, "workload": workload})).into_response()
        }
        Err(refusal) => Managed(refusal).into_response(),
    })
}

/// Makes a change, and leaves one line in the log that says what came of it.
async fn make(app: &App, serving: &Serving, call: &Authorized, action: Action, asked: Asked) -> Result<Changed> {
    let made = async {
        let changes = serving.changes.as_ref().ok_or_else(fixed)?;
        match (action, asked.parameters.reference) {
            (Action::Load, reference) => changes.load(app, call, reference.as_deref()).await,
            (Action::Unload, None) => changes.unload(app, call).await,
            (Action::Unload, Some(_)) => Err(Refusal::new(Code::RequestInvalid, "`reference`").want("none, to unload")),
        }
    };
    let made = made.await;
    let (model, kind, identity) = (call.model(), call.identity().kind().as_str(), call.identity().name());
    match &made {
        Ok(Changed { before, manifest, workload }) => {
            let [before, after] = [before, manifest].map(|manifest| manifest.map(|manifest| manifest.oci()));
            tracing::info!(model, before, after, %workload, kind, identity, "model changed");
        }
        Err(refusal) => tracing::warn!(model, kind, identity, %refusal, "model not changed"),
    }
    made
}

/// The name, which may have slashes, and what is asked of it.
fn target(path: core::result::Result<Path<String>, PathRejection>) -> Result<(String, Action)> {
    let path = path.map_or_else(|_| String::new(), |Path(path)| path);
    let (name, action) = match (path.strip_suffix("/load"), path.strip_suffix("/unload")) {
        (Some(name), _) => (name, Action::Load),
        (None, Some(name)) => (name, Action::Unload),
        (None, None) => return Err(Refusal::new(Code::RouteUnknown, "model repository").want("…/load or …/unload")),
    };
    Ok((name.to_owned(), action))
}

/// # Errors
/// `too-large`, `timeout` or `network` reading it; `request-invalid`.
async fn read(body: Body) -> Result<Asked> {
    let body = read_body(body, limits::CHANGE_REQUEST, "request body").await?;
    if body.is_empty() {
        return Ok(Asked::default());
    }
    let parsed = document::parse_json(&body, "request body", limits::CHANGE_REQUEST, Code::RequestInvalid);
    parsed.map_err(|refusal| Refusal { code: Code::RequestInvalid, ..refusal })
}

impl IntoResponse for Managed {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let code = refusal.code;
        let status = match (code, refusal.fault()) {
            // What the caller can mend, in the words of every route.
            (Code::Busy | Code::ModelUnknown | Code::RequestInvalid | Code::NotReady, _) => {
                return InferenceAnswer(refusal).into_response();
            }
            (Code::ReferenceInvalid, _) => StatusCode::BAD_REQUEST,
            // The others are of registry, verifier, document and model: none of them is told as if it were of the request.
            (_, Fault::Refused | Fault::Configuration) => StatusCode::CONFLICT,
            (_, Fault::Environment) => StatusCode::SERVICE_UNAVAILABLE,
            (_, Fault::Bug) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, Json(json!({"error": refusal.to_string(), "code": code}))).into_response();
        response.extensions_mut().insert(Refused(refusal));
        response
    }
}

#[cfg(test)]
mod tests;

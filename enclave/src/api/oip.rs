//! The Open Inference Protocol, version 2, over HTTP (github.com/kserve/open-inference-protocol), with its binary tensor data
//! extension: what is served, and inference by models of tensors.
//!
//! A model's one version is the digest of its manifest. Whoever names a version gets that one or `model-unknown`.

mod binary;
mod json;
mod list;
mod request;
mod response;
mod target;

use super::error::InferenceAnswer as Answer;
use super::{App, Caller, Serving};
use crate::inference::Model;
use crate::inference::tensor::Port;
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use request::Call;
use response::HEADER_LENGTH;
use serde_json::{Value, json};
use std::sync::Arc;
use strongroom_policy::CallAction;
use strongroom_transport::read_body;
use strongroom_wire::{Code, Refusal, Result, limits};
use target::{Action, Target};
use zeroize::Zeroize as _;

type Answered = core::result::Result<Response, Answer>;

pub(super) async fn server() -> Answered {
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(
        json!({"name": "strongroom", "version": version, "extensions": ["binary_tensor_data", "model_repository"]}),
    )
    .into_response())
}

pub(super) async fn live() -> Json<Value> {
    Json(json!({"live": true}))
}

pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let (status, is_ready) =
        if app.is_ready() { (StatusCode::OK, true) } else { (StatusCode::SERVICE_UNAVAILABLE, false) };
    (status, Json(json!({"ready": is_ready})))
}

pub(super) async fn described(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    path: core::result::Result<Path<String>, PathRejection>,
) -> Answered {
    let target = target(path)?;
    let call = serving.authorize(&caller, CallAction::ListModels, &target.name)?;
    let model = serving.models.get(&call)?;
    let version = of_version(model, &target)?;
    match target.action {
        Action::Metadata => {
            let tensors = model.tensors()?;
            let ports = |ports: &[Port]| ports.iter().map(port).collect::<Vec<_>>();
            Ok(Json(json!({
                "name": target.name,
                "versions": [version],
                "platform": "onnxruntime_onnx",
                "inputs": ports(tensors.inputs()),
                "outputs": ports(tensors.outputs()),
            }))
            .into_response())
        }
        Action::Ready => {
            let is_ready = model.is_alive();
            let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Ok((status, Json(json!({"name": target.name, "ready": is_ready}))).into_response())
        }
        Action::Infer => Ok(not_allowed(target.action)),
    }
}

fn port(port: &Port) -> Value {
    json!({"name": port.name, "datatype": port.datatype, "shape": port.shape})
}

pub(super) async fn infer(
    State(app): State<App>,
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    path: core::result::Result<Path<String>, PathRejection>,
    request: Request,
) -> Answered {
    let (head, body) = request.into_parts();
    let target = target(path)?;
    if target.action != Action::Infer {
        return Ok(not_allowed(target.action));
    }
    // The body of somebody who may not is not read.
    let authorized = serving.authorize(&caller, CallAction::Infer, &target.name)?;
    let model = serving.models.get(&authorized)?;
    let version = of_version(model, &target)?;
    let tensors = model.tensors()?;
    // Until the answer: what was read is waited for in other forms.
    let _room = app.room.reserve(&body)?;
    let mut call = read(body, &head.headers).await?;
    let selected = response::select(&call, tensors.outputs().iter().map(|port| port.name.as_str()))?;
    let outputs = tensors.infer(&authorized, core::mem::take(&mut call.inputs)).await?;
    Ok(response::write(&app.room, (&target.name, &version), call.id.as_deref(), &outputs, &selected)?)
}

/// Another method than a target has.
pub(super) async fn other_method(path: core::result::Result<Path<String>, PathRejection>) -> Answered {
    Ok(not_allowed(target(path)?.action))
}

/// That this is asked with another method.
fn not_allowed(action: Action) -> Response {
    let allowed = if action == Action::Infer { "POST" } else { "GET,HEAD" };
    let refusal = Refusal::new(Code::RouteUnknown, "no such method on this route");
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], Answer(refusal)).into_response()
}

/// Reads and parses a body.
///
/// # Errors
/// `too-large`, `timeout` or `network` reading it; else as [`Call::parse`].
async fn read(body: Body, headers: &HeaderMap) -> Result<Call> {
    let json = match headers.get(HEADER_LENGTH) {
        None => None,
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            let invalid = || Refusal::new(Code::RequestInvalid, HEADER_LENGTH.as_str()).got("no length");
            Some(length.ok_or_else(invalid)?)
        }
    };
    let body = read_body(body, limits::API_BODY, "request body").await?;
    let call = Call::parse(&body, json);
    // Unless something still holds a clone, the body can be overwritten; it is a prompt.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    call
}

fn target(path: core::result::Result<Path<String>, PathRejection>) -> Result<Target> {
    // A name that is no text is no model's.
    Target::parse(&path.map_or_else(|_| String::new(), |Path(path)| path))
}

/// The model's version, where that is what is asked for, or none in particular is.
fn of_version(model: &Model, target: &Target) -> Result<String> {
    let version = model.manifest().oci();
    if target.version.as_ref().is_some_and(|wanted| *wanted != version) {
        return Err(Refusal::new(Code::ModelUnknown, "version of the model").want(version));
    }
    Ok(version)
}

#[cfg(test)]
mod tests;

//! The HTTP interface: OpenAI's embeddings, chats, completions and models, classification, the Open Inference Protocol, what describes them, the
//! evidence endpoint, and two probes.
//!
//! A request climbs typed stages: is there anything to ask (`Serving`), who asks ([`Caller`]), what is asked
//! (`embeddings::Call`, `generation::Call`), whether the one may have the other done ([`Authorized`]). A model takes a call only together with an
//! [`Authorized`], so that a route that forgot one would not compile; and that no route forgets to say who it is for, the route
//! table sees to.

mod access;
mod classify;
mod embeddings;
mod error;
mod generation;
mod oip;
mod openapi;
mod request;
mod room;
mod routes;

pub use access::{Access, Authorized, Caller, Identity};

use crate::evidence::Desk;
use crate::inference::Models;
use crate::lease::Tenure;
use crate::stage::Stage;
use access::{Gauges, Metrics};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use core::convert::Infallible;
use error::Answer;
use futures_util::stream;
use room::Room;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use strongroom_policy::CallAction;
use strongroom_transport::exposition;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::watch;

/// What there is once the boot is through.
#[derive(Debug)]
pub struct Serving {
    /// Who may ask, for what, and how much of it.
    pub access: Access,
    /// What may be asked for.
    pub models: Models,
    /// Where evidence is given.
    pub desk: Desk,
    /// How long it may go on.
    pub tenure: Tenure,
}

impl Serving {
    /// Whether all of it runs, every model's thread and the desk, and may.
    pub fn is_whole(&self) -> bool {
        self.models.are_alive() && self.desk.is_alive() && self.tenure.lasts()
    }

    /// Whether `caller` may have `action` done by the model called `name`.
    ///
    /// # Errors
    /// `model-unknown`; `policy-denied`, `policy-failed`, `authorization-empty`.
    pub fn authorize(&self, caller: &Caller, action: CallAction, name: &str) -> Result<Authorized> {
        self.access.authorize(caller, action, name, self.models.manifest(name)?)
    }

    /// Resolves when a part of it has ended, with what that was, or when it may go on no more, with why.
    pub async fn ended(&self) -> Refusal {
        tokio::select! {
            refusal = self.tenure.ended() => refusal,
            model = self.models.ended() => {
                Refusal::new(Code::RuntimeFailed, format!("inference thread of model `{model}`")).got("its end")
            }
            () = self.desk.ended() => Refusal::new(Code::Internal, "evidence worker").got("its end"),
        }
    }
}

/// What the routes share: how far the boot is, and what it ends in.
#[derive(Debug, Clone)]
pub struct App {
    stage: watch::Receiver<Stage>,
    serving: Arc<OnceLock<Serving>>,
    room: Room,
    metrics: Arc<Metrics>,
}

impl App {
    /// An application that is not ready yet; `stage` follows the boot.
    pub fn new(stage: watch::Receiver<Stage>) -> Self {
        let metrics = Arc::new(Metrics::of(routes::paths()));
        Self { stage, serving: Arc::default(), room: Room::default(), metrics }
    }

    /// Makes it ready. It stays so as long as all parts of `serving` run.
    ///
    /// # Errors
    /// `internal` it is ready already.
    pub fn serve(&self, serving: Serving) -> Result<()> {
        self.serving.set(serving).map_err(|_| Refusal::new(Code::Internal, "serving twice"))
    }

    fn serving(&self) -> Result<&Serving> {
        let stage = self.stage();
        // Without a lease nothing more is begun; what was goes on to its end.
        let serving = self.serving.get().filter(|serving| serving.tenure.lasts());
        serving.ok_or_else(|| Refusal::new(Code::NotReady, "enclave").got(stage).want(Stage::Serving))
    }

    /// Whether it serves, whole.
    fn is_ready(&self) -> bool {
        self.serving.get().is_some_and(Serving::is_whole)
    }

    /// How far it is.
    fn stage(&self) -> Stage {
        match self.serving.get() {
            Some(serving) if !serving.is_whole() => Stage::Failed,
            _ => *self.stage.borrow(),
        }
    }

    /// Resolves when a part of what it serves has ended, with what that was.
    pub async fn ended(&self) -> Refusal {
        match self.serving() {
            Ok(serving) => serving.ended().await,
            Err(refusal) => refusal,
        }
    }

    /// `/metrics`, for a listener of its own: numbers that name nobody, for whoever reaches it.
    pub fn metrics_router(self) -> Router {
        Router::new().route("/metrics", get(metrics)).with_state(self)
    }
}

async fn embed(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let serving = app.serving()?;
    let body = request.into_body();
    // Until the answer: what was read is waited for in other forms.
    let _room = app.room.reserve(&body)?;
    let call = embeddings::Call::read(body).await?;
    Ok(call.answer(&caller, serving).await?.into_response())
}

async fn classify(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let serving = app.serving()?;
    let body = request.into_body();
    let _room = app.room.reserve(&body)?;
    let call = classify::Call::read(body).await?;
    Ok(call.answer(&caller, serving).await?.into_response())
}

async fn chat(
    state: State<App>,
    caller: Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    generate(state, caller, generation::Route::Chat, request).await
}

async fn complete(
    state: State<App>,
    caller: Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    generate(state, caller, generation::Route::Text, request).await
}

async fn generate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    route: generation::Route,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let serving = app.serving()?;
    let body = request.into_body();
    let begun = {
        // Until the answer begins.
        let _room = app.room.reserve(&body)?;
        generation::Call::read(route, body).await?.begin(&caller, serving).await?
    };
    Ok(begun.answer().await?)
}

async fn models(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> core::result::Result<Json<Value>, Answer> {
    let serving = app.serving()?;
    let seen = serving.models.list().filter(|(name, manifest)| serving.access.may_list(&caller, name, *manifest));
    let list: Vec<Value> = seen.map(|(name, manifest)| described(name, manifest)).collect();
    Ok(Json(json!({"object": "list", "data": list})))
}

async fn model(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    name: core::result::Result<Path<String>, PathRejection>,
) -> core::result::Result<Json<Value>, Answer> {
    let serving = app.serving()?;
    // A name that is no text is no model's.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let call = serving.authorize(&caller, CallAction::ListModels, &name)?;
    Ok(Json(described(call.model(), serving.models.get(&call)?.manifest())))
}

/// OpenAI's shape of a model. It wants a time of creation; a manifest has none that anyone vouches for.
fn described(name: &str, manifest: Sha256) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "strongroom", "manifest": manifest.oci()})
}

#[derive(Deserialize)]
struct EvidenceQuery {
    nonce: String,
}

async fn evidence_for_nonce(State(app): State<App>, uri: Uri) -> core::result::Result<Response, Answer> {
    let serving = app.serving()?;
    let query = axum::extract::Query::<EvidenceQuery>::try_from_uri(&uri);
    let query = query.map_err(|_| Refusal::malformed("query", "want `nonce`, 64 lower-case hex digits"))?;
    let nonce = Sha256::from_hex(&query.0.nonce).map_err(|refusal| refusal.within("nonce"))?;
    let parts = serving.desk.answer(nonce.0).await?.into_parts();
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_LENGTH, length.into()),
    ];
    Ok((headers, Body::from_stream(stream::iter(parts.map(Ok::<_, Infallible>)))).into_response())
}

async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let stage = app.stage();
    let status = if app.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"stage": stage.to_string()})))
}

async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let serving = app.serving.get();
    let gauges = Gauges {
        ready: serving.is_some_and(Serving::is_whole),
        queued: serving.map_or(0, |serving| serving.models.queued()),
        identities: serving.map_or(0, |serving| serving.access.counted()),
    };
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], app.metrics.text(gauges))
}

#[cfg(test)]
pub(crate) mod tests;

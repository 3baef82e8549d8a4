//! The HTTP interface: OpenAI's embeddings, chats, completions and models, classification of texts and tokens, the Open Inference Protocol, what describes them, the
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
mod repository;
mod request;
mod room;
mod routes;
mod token_classification;

pub use access::{Access, Authorized, Caller, Identity};

use crate::change::Changes;
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
use std::sync::Arc;
use strongroom_policy::CallAction;
use strongroom_transport::exposition;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, evidence};
use tokio::sync::watch;

/// What there is once the boot is through, and after each change of a model ([`crate::change`]) anew. A request is answered by the one that
/// it met.
#[derive(Debug)]
pub struct Serving {
    /// Who may ask, for what, and how much of it.
    pub access: Arc<Access>,
    /// What may be asked for.
    pub models: Models,
    /// The digest of the workload that evidence is bound to.
    pub workload: Sha256,
    /// Where evidence is given.
    pub desk: Desk,
    /// How long it may go on.
    pub tenure: Arc<Tenure>,
    /// What changes models; absent where the document lets none change.
    pub changes: Option<Arc<Changes>>,
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

    /// Whether `caller` may have the model called `name` changed; it need not be served at the moment.
    ///
    /// # Errors
    /// `model-unknown`; `policy-denied`, `policy-failed`, `authorization-empty`.
    pub(crate) fn authorize_change(&self, caller: &Caller, name: &str) -> Result<Authorized> {
        let manifest = self.models.manifest(name).or_else(|refusal| {
            let gone = self.changes.iter().flat_map(|changes| changes.replaceable());
            gone.into_iter().find(|(gone, _)| gone == name).map(|(_, manifest)| manifest).ok_or(refusal)
        })?;
        self.access.authorize(caller, CallAction::ManageModel, name, manifest)
    }

    /// That a request which may be answered by the workload with this digest alone meets that one.
    ///
    /// # Errors
    /// `workload-changed`; `request-invalid`: what is named is no digest.
    pub(crate) fn verify_pinned(&self, pinned: &HeaderValue) -> Result<()> {
        let pinned = pinned.to_str().ok().and_then(|text| Sha256::from_hex(text).ok());
        match pinned {
            Some(pinned) if pinned == self.workload => Ok(()),
            Some(pinned) => Err(Refusal::new(Code::WorkloadChanged, "workload").got(self.workload).want(pinned)),
            None => Err(Refusal::new(Code::RequestInvalid, evidence::WORKLOAD_HEADER).want("64 lower-case hex digits")),
        }
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
    serving: watch::Sender<Option<Arc<Serving>>>,
    room: Room,
    metrics: Arc<Metrics>,
}

impl App {
    /// An application that is not ready yet; `stage` follows the boot.
    pub fn new(stage: watch::Receiver<Stage>) -> Self {
        let metrics = Arc::new(Metrics::of(routes::paths()));
        Self { stage, serving: watch::Sender::default(), room: Room::default(), metrics }
    }

    /// Makes it ready, or serves this from now on in place of what it served. It stays ready as long as all parts of `serving` run.
    pub fn serve(&self, serving: Serving) {
        self.serving.send_replace(Some(Arc::new(serving)));
    }

    fn current(&self) -> Option<Arc<Serving>> {
        self.serving.borrow().clone()
    }

    /// What is served.
    ///
    /// # Errors
    /// `not-ready`: nothing yet, or nothing any more.
    pub(crate) fn serving(&self) -> Result<Arc<Serving>> {
        // Without a lease nothing more is begun; what was goes on to its end.
        let serving = self.current().filter(|serving| serving.tenure.lasts());
        serving.ok_or_else(|| Refusal::new(Code::NotReady, "enclave").got(self.stage()).want(Stage::Serving))
    }

    /// Whether it serves, whole.
    fn is_ready(&self) -> bool {
        self.current().is_some_and(|serving| serving.is_whole())
    }

    /// How far it is.
    fn stage(&self) -> Stage {
        match self.current() {
            Some(serving) if !serving.is_whole() => Stage::Failed,
            _ => *self.stage.borrow(),
        }
    }

    /// Resolves when a part of what it serves has ended, with what that was. What it serves no more ends without a word.
    pub async fn ended(&self) -> Refusal {
        let mut changed = self.serving.subscribe();
        loop {
            let serving = changed.borrow_and_update().clone();
            let Some(serving) = serving.filter(|serving| serving.tenure.lasts()) else {
                return self.serving().err().unwrap_or_else(|| Refusal::new(Code::Internal, "serving"));
            };
            tokio::select! {
                // Looked at first: what was replaced may end at the same time.
                biased;
                Ok(()) = changed.changed() => {}
                refusal = serving.ended() => return refusal,
            }
        }
    }

    /// `/metrics`, for a listener of its own: numbers that name nobody, for whoever reaches it.
    pub fn metrics_router(self) -> Router {
        Router::new().route("/metrics", get(metrics)).with_state(self)
    }
}

async fn embed(
    State(app): State<App>,
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let body = request.into_body();
    // Until the answer: what was read is waited for in other forms.
    let _room = app.room.reserve(&body)?;
    let call = embeddings::Call::read(body).await?;
    Ok(call.answer(&caller, &serving).await?.into_response())
}

async fn classify(
    State(app): State<App>,
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let body = request.into_body();
    let _room = app.room.reserve(&body)?;
    let call = classify::Call::read(body).await?;
    Ok(call.answer(&caller, &serving).await?.write(&app.room)?)
}

async fn classify_tokens(
    State(app): State<App>,
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let body = request.into_body();
    let _room = app.room.reserve(&body)?;
    let call = token_classification::Call::read(body).await?;
    Ok(call.answer(&caller, &serving).await?.write(&app.room)?)
}

async fn chat(
    state: State<App>,
    serving: Extension<Arc<Serving>>,
    caller: Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    generate(state, serving, caller, generation::Route::Chat, request).await
}

async fn complete(
    state: State<App>,
    serving: Extension<Arc<Serving>>,
    caller: Extension<Caller>,
    request: Request,
) -> core::result::Result<Response, Answer> {
    generate(state, serving, caller, generation::Route::Text, request).await
}

async fn generate(
    State(app): State<App>,
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    route: generation::Route,
    request: Request,
) -> core::result::Result<Response, Answer> {
    let body = request.into_body();
    let begun = {
        // Until the answer begins.
        let _room = app.room.reserve(&body)?;
        generation::Call::read(route, body).await?.begin(&caller, &serving).await?
    };
    Ok(begun.answer().await?)
}

async fn models(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
) -> core::result::Result<Json<Value>, Answer> {
    let seen = serving.models.list().filter(|(name, manifest)| serving.access.may_list(&caller, name, *manifest));
    let list: Vec<Value> = seen.map(|(name, manifest)| described(name, manifest)).collect();
    Ok(Json(json!({"object": "list", "data": list})))
}

async fn model(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(caller): Extension<Caller>,
    name: core::result::Result<Path<String>, PathRejection>,
) -> core::result::Result<Json<Value>, Answer> {
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
    let serving = app.current();
    let serving = serving.as_ref();
    let gauges = Gauges {
        ready: serving.is_some_and(|serving| serving.is_whole()),
        queued: serving.map_or(0, |serving| serving.models.queued()),
        identities: serving.map_or(0, |serving| serving.access.counted()),
    };
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], app.metrics.text(gauges))
}

#[cfg(test)]
pub(crate) mod tests;

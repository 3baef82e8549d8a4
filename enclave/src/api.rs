//! The HTTP interface: OpenAI's embeddings, chats, completions and models, the Open Inference Protocol, what describes them, the
//! evidence endpoint, and two probes.
//!
//! A request climbs typed stages: is there anything to ask (`Serving`), who asks ([`Authorized`]), what is asked
//! (`embeddings::Call`, `generation::Call`). A model takes a call only together with an [`Authorized`], which nothing but authentication makes;
//! so a route that forgot it would not compile.

mod authorized;
mod embeddings;
mod error;
mod generation;
mod oip;
mod openapi;
mod request;
mod room;

pub use authorized::{Authorized, Principals};

use crate::evidence::Desk;
use crate::inference::Models;
use crate::lease::Tenure;
use crate::stage::Stage;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use core::convert::Infallible;
use error::Answer;
use futures_util::stream;
use generation::Route;
use room::Room;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, evidence};
use tokio::sync::watch;

/// What there is once the boot is through.
#[derive(Debug)]
pub struct Serving {
    /// Who may ask.
    pub principals: Principals,
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
}

impl App {
    /// An application that is not ready yet; `stage` follows the boot.
    pub fn new(stage: watch::Receiver<Stage>) -> Self {
        Self { stage, serving: Arc::default(), room: Room::default() }
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

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/embeddings", post(embed))
            .route(
                "/v1/chat/completions",
                post(async |app: State<App>, request: Request| generate(app, Route::Chat, request).await),
            )
            .route(
                "/v1/completions",
                post(async |app: State<App>, request: Request| generate(app, Route::Text, request).await),
            )
            .route("/v1/models", get(models))
            // Names have slashes as they please.
            .route("/v1/models/{*name}", get(model))
            .route(evidence::PATH, get(evidence_for_nonce))
            .route("/healthz", get(async || Json(json!({"status": "live"}))))
            .route("/readyz", get(ready))
            .route("/openapi.json", get(openapi::document))
            .merge(oip::routes())
            .fallback(async |uri: Uri| error::nothing(uri.path(), "no such route"))
            .method_not_allowed_fallback(async |uri: Uri| {
                (StatusCode::METHOD_NOT_ALLOWED, error::nothing(uri.path(), "no such method on this route"))
            })
            // Bodies are read by the routes themselves, up to a limit of their own.
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(self)
    }
}

async fn embed(State(app): State<App>, request: Request) -> core::result::Result<Response, Answer> {
    let serving = app.serving()?;
    let (head, body) = request.into_parts();
    // The body of somebody unknown is not read.
    let caller = serving.principals.authenticate(&head.headers)?;
    // Until the answer: what was read is waited for in other forms.
    let _room = app.room.reserve(&body)?;
    let call = embeddings::Call::read(body).await?;
    Ok(call.answer(&caller, &serving.models).await?.into_response())
}

async fn generate(State(app): State<App>, route: Route, request: Request) -> core::result::Result<Response, Answer> {
    let serving = app.serving()?;
    let (head, body) = request.into_parts();
    let caller = serving.principals.authenticate(&head.headers)?;
    let begun = {
        // Until the answer begins.
        let _room = app.room.reserve(&body)?;
        generation::Call::read(route, body).await?.begin(&caller, &serving.models).await?
    };
    Ok(begun.answer().await?)
}

async fn models(State(app): State<App>, headers: HeaderMap) -> core::result::Result<Json<Value>, Answer> {
    let serving = app.serving()?;
    let caller = serving.principals.authenticate(&headers)?;
    let list: Vec<Value> = serving.models.list(&caller).map(|(name, manifest)| described(name, manifest)).collect();
    Ok(Json(json!({"object": "list", "data": list})))
}

async fn model(
    State(app): State<App>,
    name: core::result::Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> core::result::Result<Json<Value>, Answer> {
    let serving = app.serving()?;
    let caller = serving.principals.authenticate(&headers)?;
    // A name that is no text is no model's.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let model = serving.models.get(&caller, &name)?;
    Ok(Json(described(&name, model.manifest())))
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

#[cfg(test)]
pub(crate) mod tests;

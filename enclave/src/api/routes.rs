//! The route table: every route there is, and whom it is for. The router is made of it and of nothing else.

use super::access::Record;
use super::error::{self, Answer, InferenceAnswer};
use super::{
    App, Caller, chat, classify, classify_tokens, complete, embed, evidence_for_nonce, live, model, models, oip,
    openapi, ready, repository,
};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use strongroom_transport::PeerCertificates;
use strongroom_wire::{Refusal, Result, evidence};

/// Bytes of an answer that are given out at once.
const PIECE: usize = 64 * 1024;

/// Whom a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Callers whom the deployment document knows, within their limits. Their [`super::Caller`] is an extension of the request.
    Callers,
    /// Anybody.
    Anybody,
    /// Whoever watches over the process: such requests come every few seconds, and leave no line in the log.
    Probes,
}

/// One method on one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// As axum reads it.
    pub(super) path: &'static str,
    pub(super) of: For,
    /// How its API says no.
    refuse: fn(Refusal) -> Response,
    handler: MethodRouter<App>,
}

/// What stands before a route.
#[derive(Clone)]
struct Gate {
    app: App,
    method: Method,
    path: &'static str,
    of: For,
    refuse: fn(Refusal) -> Response,
}

/// Every route.
pub(super) fn table() -> Vec<Route> {
    let openai = |refusal| Answer(refusal).into_response();
    let inference = |refusal| InferenceAnswer(refusal).into_response();
    let route = |method: Method, path: &'static str, of: For, refuse: fn(Refusal) -> Response, handler| Route {
        method,
        path,
        of,
        refuse,
        handler,
    };
    // Names have slashes as they please, so that one route has all that is asked of models by the one protocol.
    let (name, target) = ("/v1/models/{*name}", "/v2/models/{*target}");
    vec![
        route(Method::POST, "/v1/embeddings", For::Callers, openai, post(embed)),
        route(Method::POST, "/v1/classify", For::Callers, openai, post(classify)),
        route(Method::POST, "/v1/token-classification", For::Callers, openai, post(classify_tokens)),
        route(Method::POST, "/v1/chat/completions", For::Callers, openai, post(chat)),
        route(Method::POST, "/v1/completions", For::Callers, openai, post(complete)),
        route(Method::GET, "/v1/models", For::Callers, openai, get(models)),
        route(Method::GET, name, For::Callers, openai, get(model)),
        route(Method::GET, "/v2", For::Callers, inference, get(oip::server)),
        route(Method::GET, target, For::Callers, inference, get(oip::described).fallback(oip::other_method)),
        route(Method::POST, target, For::Callers, inference, post(oip::infer)),
        route(Method::POST, "/v2/repository/index", For::Callers, inference, post(repository::index)),
        route(Method::POST, "/v2/repository/models/{*target}", For::Callers, inference, post(repository::change)),
        route(Method::GET, evidence::PATH, For::Anybody, openai, get(evidence_for_nonce)),
        route(Method::GET, "/openapi.json", For::Anybody, openai, get(openapi::document)),
        route(Method::GET, "/healthz", For::Probes, openai, get(live)),
        route(Method::GET, "/readyz", For::Probes, openai, get(ready)),
        route(Method::GET, "/v2/health/live", For::Probes, inference, get(oip::live)),
        route(Method::GET, "/v2/health/ready", For::Probes, inference, get(oip::ready)),
    ]
}

/// The paths whose requests are counted.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    table().into_iter().filter(|route| route.of != For::Probes).map(|route| route.path)
}

impl App {
    /// The routes of the table, each behind what stands before it.
    pub fn router(self) -> Router {
        let mut router = Router::new();
        for Route { method, path, of, refuse, handler } in table() {
            let gate = Gate { app: self.clone(), method, path, of, refuse };
            let handler = if of == For::Probes { handler } else { handler.route_layer(from_fn_with_state(gate, pass)) };
            router = router.route(path, handler);
        }
        router
            .fallback(async |uri: Uri| error::nothing(uri.path(), "no such route"))
            .method_not_allowed_fallback(async |uri: Uri| {
                (StatusCode::METHOD_NOT_ALLOWED, error::nothing(uri.path(), "no such method on this route"))
            })
            // Bodies are read by the routes themselves, up to a limit of their own.
            .layer(DefaultBodyLimit::disable())
            .with_state(self)
    }
}

/// Lets a request through to its route once it is known who asks, where the route wants to know; the body of somebody unknown is not
/// read. Records what came of it.
async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let record = Record::begin(gate.method, gate.path, Arc::clone(&gate.app.metrics));
    let passed = match gate.of {
        For::Callers => gate.app.admit(&mut request, &record).await.map(Some),
        For::Anybody | For::Probes => Ok(None),
    };
    let (mut answer, caller) = match passed {
        Ok(caller) => (next.run(request).await, caller),
        Err(refusal) => ((gate.refuse)(refusal), None),
    };
    record.answered(&mut answer);
    until_taken(answer, (caller, record))
}

/// The answer, whose body keeps `held` until the last of it is taken or it is given up. It is given out in pieces, so that whoever takes
/// it slowly has the rest of it counted as theirs.
fn until_taken(answer: Response, held: impl Send + 'static) -> Response {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    let pieces = stream::unfold((body.into_data_stream(), Bytes::new(), held), async |(mut rest, mut whole, held)| {
        while whole.is_empty() {
            match rest.next().await? {
                Ok(more) => whole = more,
                Err(error) => return Some((Err(error), (rest, whole, held))),
            }
        }
        let piece = whole.split_to(whole.len().min(PIECE));
        Some((Ok(piece), (rest, whole, held)))
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

impl App {
    async fn admit(&self, request: &mut Request, record: &Arc<Record>) -> Result<Caller> {
        let shown = request.extensions().get::<PeerCertificates>();
        let serving = self.serving()?;
        let caller = serving.access.admit(request.headers(), shown, record).await?;
        if let Some(pinned) = request.headers().get(evidence::WORKLOAD_HEADER) {
            serving.verify_pinned(pinned)?;
        }
        // What the request is answered by, whatever replaces it meanwhile.
        request.extensions_mut().insert(serving);
        request.extensions_mut().insert(caller.clone());
        Ok(caller)
    }
}

//! A relay: it ends TLS with a key of its own and passes genuine evidence of a genuine enclave on.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_transport::{
    ServeLimits, ServerIdentity, bind, connect_provisional, http, read_body, serve, server_config,
};
use strongroom_wire::evidence::{EvidenceAnswer, PATH};
use strongroom_wire::{Code, Refusal, Result, bytes, limits};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What the relay does with the evidence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Passes it on untouched.
    Untouched,
    /// Writes its own key where the enclave's stood.
    OwnKey,
}

/// A running relay; gone when dropped.
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    others: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

struct Shared {
    target: String,
    manner: Manner,
    spki: Vec<u8>,
    others: Arc<AtomicUsize>,
}

impl Relay {
    /// Stands between clients and `target` (`host:port`).
    pub(crate) fn start(runtime: &Handle, target: &str, manner: Manner) -> Result<Self> {
        let identity = ServerIdentity::generate(&["127.0.0.1".to_owned()])?;
        let tls = server_config(&identity)?;
        let others = Arc::new(AtomicUsize::new(0));
        let spki = identity.spki_der().to_vec();
        let shared = Arc::new(Shared { target: target.to_owned(), manner, spki, others: Arc::clone(&others) });
        let router = Router::new().fallback(answer).with_state(shared);
        let bound = runtime.block_on(bind("127.0.0.1:0"))?;
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        runtime.spawn(serve(bound, Some(tls), router, ServeLimits::default(), until));
        Ok(Self { address, others, _stop: stop })
    }

    /// How many requests other than for evidence it has seen: what a victim gave away.
    pub(crate) fn others(&self) -> usize {
        self.others.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if request.uri().path() != PATH {
        shared.others.fetch_add(1, Ordering::SeqCst);
        return (StatusCode::OK, "thank you for the prompt").into_response();
    }
    match shared.evidence(request.uri().query().unwrap_or_default()).await {
        Ok(body) => ([("content-type", "application/json")], body).into_response(),
        Err(refusal) => (StatusCode::BAD_GATEWAY, refusal.to_string()).into_response(),
    }
}

impl Shared {
    async fn evidence(&self, query: &str) -> Result<Vec<u8>> {
        let body = fetch_evidence(&self.target, query).await?;
        if self.manner == Manner::Untouched {
            return Ok(body);
        }
        let mut answer = EvidenceAnswer::parse(&body)?;
        answer.channel_key = bytes::to_base64(&self.spki);
        serde_json::to_vec(&answer).map_err(|e| Refusal::new(Code::Internal, "relayed evidence").because(e))
    }
}

async fn fetch_evidence(target: &str, query: &str) -> Result<Vec<u8>> {
    let network = |e: hyper::Error| Refusal::new(Code::Network, "relay").because(e);
    let provisional = connect_provisional(target, Duration::from_secs(10)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(provisional.stream)).await.map_err(network)?;
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("{PATH}?{query}")).header("host", target).body(http::empty());
    let request = request.map_err(|e| Refusal::new(Code::Internal, "relay").because(e))?;
    let response = sender.send_request(request).await.map_err(network)?;
    Ok(read_body(response.into_body(), limits::EVIDENCE_ANSWER, "evidence").await?.to_vec())
}

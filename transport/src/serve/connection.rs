//! One accepted connection, from its handshake to its end.

use super::write_deadline::WriteDeadline;
use super::{PeerAddr, ServeLimits};
use crate::client_certificate::PeerCertificates;
use crate::pace::{Pace, Paced};
use crate::spans::Asked;
use crate::trace::Trace;
use axum::Router;
use axum::body::Body;
use core::convert::Infallible;
use core::panic::AssertUnwindSafe;
use core::pin::pin;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) limits: ServeLimits,
}

/// Who is at the other end, as every request on the connection has it.
#[derive(Clone)]
struct Peer {
    addr: PeerAddr,
    shown: Option<PeerCertificates>,
}

/// Serves `stream` until its end, or until `stopping` turns true and the open request is answered.
pub(super) async fn run(stream: TcpStream, peer: PeerAddr, shared: &Shared, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(peer = %peer.0, %error, "connection lost");
    }
    let stream = WriteDeadline::new(stream, shared.limits.idle_timeout);
    let Some(tls) = &shared.tls else {
        return answer_requests(stream, Peer { addr: peer, shown: None }, shared, stopping).await;
    };
    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
    let done = tokio::select! {
        done = time::timeout(shared.limits.handshake_timeout, handshake) => done,
        () = stopped(&mut stopping) => return,
    };
    match done {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().map(PeerCertificates::of);
            answer_requests(stream, Peer { addr: peer, shown }, shared, stopping).await;
        }
        Ok(Err(error)) => tracing::debug!(peer = %peer.0, %error, "tls handshake failed"),
        Err(_) => tracing::debug!(peer = %peer.0, "tls handshake took too long"),
    }
}

/// Resolves once the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

async fn answer_requests<S>(stream: S, peer: Peer, shared: &Shared, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = shared.limits;
    let service = service_fn(|request| answer(shared.router.clone(), request, peer.clone(), limits));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.addr.0, %error, "connection ended early");
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: Peer,
    limits: ServeLimits,
) -> Result<Response<Body>, Infallible> {
    let pace = Pace { patience: limits.idle_timeout, ..Pace::default() };
    let mut request = request.map(|body| Body::new(Paced::new(body, pace)));
    request.extensions_mut().insert(peer.addr);
    if let Some(shown) = peer.shown {
        request.extensions_mut().insert(shown);
    }
    // A panic is a bug, and the panic hook has reported it. Handlers share only what Rust lets them share safely; locks that
    // one leaves poisoned answer for themselves.
    let trace = Trace::of(request.headers());
    let asked = Asked::now(trace, request.method());
    let answer = trace.scope(asked.route(), router.oneshot(request));
    let answer = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a request handler panicked");
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Ok(answer)
    });
    answer.inspect(|answer| asked.answered(answer.status()))
}

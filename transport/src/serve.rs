//! The server loop: how connections are accepted, bounded, answered and ended.

mod connection;
mod peers;
mod write_deadline;

pub use peers::network;

use connection::Shared;
use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;
use peers::Peers;
use rustls::ServerConfig;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time;

/// How long to wait after a failed accept. It fails where the process has no file descriptor left, which only other
/// connections' ends can change.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What peers may use of a server. Every limit holds per connection unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at one time, of all peers together. Further ones wait in the kernel's queue, unaccepted.
    pub max_connections: usize,
    /// Of those, the ones of one peer (one /64 of IPv6); further ones are closed. In front of a proxy, it is the one peer of all.
    pub max_connections_of_peer: usize,
    /// From the accepted connection to the finished TLS handshake.
    pub handshake_timeout: Duration,
    /// From the connection, or the end of the last answer, to the end of the next request's head. It ends both slow heads
    /// (slowloris) and connections that nobody uses.
    pub header_timeout: Duration,
    /// The longest silence of a peer that has the next move: that is sending a body (which must also keep the default
    /// [`crate::pace::Pace`]'s rate), or that does not take what is written to it. Time that a handler takes does not count.
    pub idle_timeout: Duration,
    /// A request's line and header fields, in bytes.
    pub max_header_bytes: usize,
    /// From the stop signal until connections with open requests are cut off.
    pub grace: Duration,
}

impl Default for ServeLimits {
    /// 512 connections, of one peer too (half of the 1024 file descriptors that a process usually has; the others are for files and
    /// outgoing connections), 10 s for a handshake, 20 s for a head (longer than [`crate::HttpClient`] keeps idle
    /// connections), 30 s of silence, heads of 32 KiB (an EAR token in a header fits), 30 s of grace (what supervisors usually
    /// wait before they kill).
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_connections_of_peer: 512,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(30),
            max_header_bytes: 32 * 1024,
            grace: Duration::from_secs(30),
        }
    }
}

/// The address of the peer at the other end of the connection; an extension of every request. In front of a proxy it is
/// the proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// A listening socket, not yet served. Connections that arrive meanwhile wait.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Bound {
    /// The address that is listened on, with the port that was chosen where port 0 was asked for.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

/// Listens on `addr` (`host:port`).
///
/// # Errors
/// `network` the address is none of this machine's, is taken, or is not permitted.
pub async fn bind(addr: &str) -> Result<Bound> {
    let refused = |e| Refusal::new(Code::Network, format!("listening on `{addr}`")).because(e);
    let listener = TcpListener::bind(addr).await.map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    Ok(Bound { listener, local_addr })
}

/// Serves `router` on `bound` over TLS (or plain HTTP where `tls` is none) until `shutdown` resolves, then stops in order:
///
/// 1. no further connection is accepted; idle ones and unfinished handshakes are closed;
/// 2. open requests are answered, their connections closed after it;
/// 3. what is still open after [`ServeLimits::grace`] is cut off.
///
/// A handler that panics costs its own request a status of 500 and nothing else.
///
/// # Errors
/// `configuration-invalid` a limit with which nothing could be served. No peer's doing ends the loop.
pub async fn serve(
    bound: Bound,
    tls: Option<Arc<ServerConfig>>,
    router: axum::Router,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    for most in [limits.max_connections, limits.max_connections_of_peer] {
        if most == 0 || most > Semaphore::MAX_PERMITS {
            let invalid = Refusal::new(Code::ConfigurationInvalid, "most connections of a server, or of one peer");
            return Err(invalid.got(most).want(format!("1 to {}", Semaphore::MAX_PERMITS)));
        }
    }
    let Bound { listener, local_addr } = bound;
    let shared = Arc::new(Shared { router, tls, limits });
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let peers = Arc::new(Peers::default());
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (slot, stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            // Finished connections are forgotten as they finish; how one ended was its own matter.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some(place) = peers.place(peer.ip(), limits.max_connections_of_peer) else {
            tracing::debug!(%peer, "closed: too many connections of one peer");
            continue;
        };
        let (shared, stopping) = (Arc::clone(&shared), stopping.clone());
        connections.spawn(async move {
            connection::run(stream, PeerAddr(peer), &shared, stopping).await;
            drop((slot, place));
        });
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if time::timeout(limits.grace, drained).await.is_err() {
        tracing::warn!(%local_addr, connections = connections.len(), "cutting off requests that outlast the grace period");
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection, taken only once there is a slot for it. Nothing is lost where it is dropped before it resolves.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, TcpStream, SocketAddr) {
    // The semaphore is never closed, so there is always a slot in the end.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (slot, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT that arrives after this call, whether or not the future was polled by then.
///
/// Must be called within a Tokio runtime. Where a signal cannot be watched it keeps its default action, which ends the
/// process.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async move {
        let first = |watched: std::io::Result<tokio::signal::unix::Signal>| async move {
            match watched {
                Ok(mut watched) => drop(watched.recv().await),
                Err(_) => core::future::pending().await,
            }
        };
        tokio::select! {
            () = first(terminate) => {}
            () = first(interrupt) => {}
        }
    }
}

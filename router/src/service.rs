//! The recipe: feeds are fetched, guests looked at, connections brought to them, until the stop signal.

use crate::backends::Backends;
use crate::config::Config;
use crate::connection;
use crate::feed::Feeds;
use crate::greetings::Greetings;
use crate::metrics::{self, Metrics};
use crate::tenants::Tenants;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;
use strongroom_transport::{Bound, ServeLimits, bind, serve};
use strongroom_wire::{Code, Refusal, Result};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Between two feeds, where the verifier keeps none back; and after one that was not taken.
const PAUSE: Duration = Duration::from_millis(250);
/// Files of the router's own: feeds, probes, `/metrics`.
const FILES: u64 = 1024;
/// After a failed accept, as where no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) feeds: Feeds,
    pub(crate) backends: Backends,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) greetings: Greetings,
    pub(crate) metrics: Metrics,
    /// Connections that are open, whether they were brought to a guest or not.
    pub(crate) open: AtomicU64,
    /// Counts connections, so that guests of equal load take turns.
    pub(crate) turn: AtomicUsize,
}

/// A router with its sockets bound, not yet answering.
pub struct Service {
    shared: Arc<Shared>,
    listener: TcpListener,
    local: SocketAddr,
    admin: Bound,
    connections: usize,
    probe: Duration,
    grace: Duration,
}

impl Service {
    /// Binds what `config` names.
    ///
    /// # Errors
    /// `network`: an address that cannot be listened on; `key-invalid`, `configuration-invalid`.
    pub async fn start(config: &Config) -> Result<Self> {
        make_room(config.connections)?;
        let refused = |e| Refusal::new(Code::Network, format!("listening on `{}`", config.listen)).because(e);
        let listener = TcpListener::bind(&config.listen).await.map_err(refused)?;
        let shared = Shared {
            feeds: Feeds::new(config.client()?, config.feed_key()?, config.feeds()?),
            backends: Backends::default(),
            tenants: Arc::default(),
            greetings: Greetings::default(),
            open: AtomicU64::new(0),
            metrics: Metrics::default(),
            turn: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            local: listener.local_addr().map_err(refused)?,
            listener,
            admin: bind(&config.admin_listen).await?,
            connections: config.connections.min(Semaphore::MAX_PERMITS),
            probe: config.probe(),
            grace: config.grace(),
        })
    }

    /// Where clients connect to.
    pub const fn addr(&self) -> SocketAddr {
        self.local
    }

    /// Where `/readyz` and `/metrics` are.
    pub const fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Brings connections to guests until `shutdown`; then takes no more, and cuts those off that are open after the grace.
    ///
    /// # Errors
    /// Those of [`serve()`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { shared, listener, local: _, admin, connections, probe, grace } = self;
        let (stop, stopping) = watch::channel(false);
        let (cut, cutting) = watch::channel(false);
        let until = |mut stopping: watch::Receiver<bool>| async move { drop(stopping.wait_for(|stop| *stop).await) };
        let accepting = async {
            let mut open = JoinSet::new();
            tokio::select! {
                () = accept(&shared, &listener, &mut open, connections, &cutting) => {}
                () = until(stopping.clone()) => {}
            }
            drop(listener);
            let drained = async { while open.join_next().await.is_some() {} };
            if timeout(grace, drained).await.is_err() {
                tracing::warn!(connections = open.len(), "cutting off connections that outlast the grace period");
                cut.send_replace(true);
                while open.join_next().await.is_some() {}
            }
        };
        // While it drains, too: who is revoked then is cut off then.
        let until_drained = async {
            tokio::select! {
                () = accepting => {}
                () = shared.backends.probe(&shared.feeds, probe) => {}
                () = renew(&shared) => {}
            }
        };
        let signal = async {
            shutdown.await;
            stop.send_replace(true);
        };
        let limits = ServeLimits { grace, ..ServeLimits::default() };
        let admin = serve(admin, None, metrics::routes(Arc::clone(&shared)), limits, until(stopping.clone()));
        let (admin, ..) = tokio::join!(admin, until_drained, signal);
        admin
    }
}

/// Sees to it that the process may have two files open for each connection, and some for itself: without them, guests that are
/// well would look as if they were gone.
///
/// # Errors
/// `configuration-invalid`.
fn make_room(connections: usize) -> Result<()> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(FILES);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).map_err(|e| {
        Refusal::new(Code::ConfigurationInvalid, "`connections`: open files (RLIMIT_NOFILE)")
            .got(limit.maximum.map_or_else(|| "no limit".to_owned(), |most| most.to_string()))
            .want(wanted)
            .because(e)
    })
}

/// Accepts connections, as many at a time as `most`. Never ends.
async fn accept(
    shared: &Arc<Shared>,
    listener: &TcpListener,
    open: &mut JoinSet<()>,
    most: usize,
    cut: &watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(most));
    loop {
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await.ok();
        let (stream, peer) = loop {
            tokio::select! {
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => break accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        let (shared, cut) = (Arc::clone(shared), cut.clone());
        open.spawn(async move {
            shared.open.fetch_add(1, Ordering::Relaxed);
            let ended = connection::serve(&shared, stream, peer.ip(), cut).await;
            shared.open.fetch_sub(1, Ordering::Relaxed);
            if let Err(refusal) = &ended {
                tracing::debug!(%peer, %refusal, "connection ended");
            }
            shared.metrics.count_end(ended.err().map(|refusal| refusal.code));
            drop(slot);
        });
    }
}

/// Fetches feeds. Never ends.
async fn renew(shared: &Shared) {
    let mut turn = 0_usize;
    loop {
        match shared.feeds.renew(turn).await {
            // An update of what was received this moment.
            Ok(()) => drop(shared.feeds.read(|feed, _| shared.backends.update(feed))),
            Err(refusal) => {
                tracing::warn!(%refusal, "feed not taken");
                shared.metrics.count_feed(refusal.code);
                turn = turn.wrapping_add(1);
            }
        }
        sleep(PAUSE).await;
    }
}

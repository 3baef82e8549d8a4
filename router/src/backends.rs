//! The guests that connections go to: how many each has, whether it can be reached, and who is cut off.

use crate::feed::Feeds;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_wire::feed::{BackendState, Feed};
use strongroom_wire::{Code, Refusal, Result};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a guest may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// All guests of the newest feed, and those that still have connections, by lease.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    known: Mutex<HashMap<String, Arc<Guest>>>,
}

/// A guest.
#[derive(Debug)]
pub(crate) struct Guest {
    addr: SocketAddr,
    open: AtomicU64,
    unreachable: AtomicBool,
    revoked: watch::Sender<bool>,
}

/// One connection of a guest, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<Guest>);

impl Backends {
    /// Takes a feed over: new guests are known, those that are revoked lose their connections, and those that are gone and have
    /// none are forgotten.
    pub(crate) fn update(&self, feed: &Feed) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stated: HashMap<_, _> = feed.routes.values().flat_map(|route| &route.backends).collect();
        known.retain(|lease, guest| stated.contains_key(lease) || guest.load() > 0);
        for (lease, backend) in stated {
            let guest = known.entry(lease.clone()).or_insert_with(|| Arc::new(Guest::at(backend.addr)));
            // A lease is of one guest at one place; what says otherwise is another guest, as is one whose quarantine ended.
            let released = backend.state != BackendState::Revoked && *guest.revoked.borrow();
            if guest.addr != backend.addr || released {
                guest.revoked.send_replace(true);
                *guest = Arc::new(Guest::at(backend.addr));
            }
            if backend.state == BackendState::Revoked {
                guest.revoked.send_replace(true);
            }
        }
    }

    /// The guest that holds a lease, if it is known.
    pub(crate) fn get(&self, lease: &str) -> Option<Arc<Guest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(lease).cloned()
    }

    /// Guests that can be reached, and all; and their connections.
    pub(crate) fn count(&self) -> (u64, u64, u64) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().fold((0, 0, 0), |(reachable, all, open), guest| {
            (reachable + u64::from(guest.is_reachable()), all + 1, open.saturating_add(guest.load()))
        })
    }

    /// Looks at all guests, at every `pause`, whether they accept a connection. Never ends.
    pub(crate) async fn probe(&self, feeds: &Feeds, pause: Duration) {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Guests of a feed that is stale get no connection in any case.
            let live = |feed: &Feed, now: u64| {
                let backends = feed.routes.values().flat_map(|route| &route.backends);
                let live = backends.filter(|(_, one)| one.state == BackendState::Live && one.expires > now);
                live.filter_map(|(lease, _)| self.get(lease)).collect::<Vec<_>>()
            };
            let mut looks = JoinSet::new();
            for guest in feeds.read(live).unwrap_or_default() {
                looks.spawn(async move { drop(guest.connect().await) });
            }
            looks.join_all().await;
        }
    }
}

impl Guest {
    fn at(addr: SocketAddr) -> Self {
        let (open, unreachable) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { addr, open, unreachable, revoked: watch::Sender::new(false) }
    }

    /// Its connections.
    pub(crate) fn load(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it took the last connection that was tried.
    pub(crate) fn is_reachable(&self) -> bool {
        !self.unreachable.load(Ordering::Relaxed)
    }

    /// Tells when it is revoked.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.revoked.subscribe()
    }

    /// Counts a connection that is about to be made.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.open.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(self))
    }

    /// Connects, and remembers whether that went well.
    ///
    /// # Errors
    /// `network`, `timeout`.
    pub(crate) async fn connect(&self) -> Result<TcpStream> {
        let what = || format!("guest at {}", self.addr);
        let connected = match timeout(CONNECT, TcpStream::connect(self.addr)).await {
            Ok(connected) => connected.map_err(|e| Refusal::new(Code::Network, what()).because(e)),
            Err(_) => Err(Refusal::new(Code::Timeout, what()).want(format!("a connection within {CONNECT:?}"))),
        };
        self.unreachable.store(connected.is_err(), Ordering::Relaxed);
        connected
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

//! A registry and a client of it.

use axum::Router;
use std::net::SocketAddr;
use std::time::Duration;
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_registry_client::{Access, Patience, Reference, RegistryClient};
use strongroom_transport::ServeLimits;
use strongroom_wire::{Code, Result};
use tempfile::TempDir;

/// Three attempts, without long waits.
pub(crate) const PATIENCE: Patience = Patience {
    attempts: 3,
    first_wait: Duration::from_millis(5),
    longest_wait: Duration::from_millis(50),
    answer: Duration::from_secs(10),
};

/// When everything happens.
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) struct Peer {
    pub(crate) registry: RunningRegistry,
    pub(crate) client: RegistryClient,
    pub(crate) folder: TempDir,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("registry"));
        change(&mut config);
        let registry = RunningRegistry::start(config).await.unwrap();
        let client = client(&registry, Access::default());
        Self { registry, client, folder }
    }

    /// `<registry>/<rest>`.
    pub(crate) fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.registry.addr())).unwrap()
    }
}

/// A client over plain HTTP, patient for the time of a test.
pub(crate) fn client(registry: &RunningRegistry, access: Access) -> RegistryClient {
    client_at(registry.addr(), access)
}

/// [`client`] of whatever listens at `addr`.
pub(crate) fn client_at(addr: SocketAddr, access: Access) -> RegistryClient {
    let access = Access { plain_http: true, patience: PATIENCE, ..access };
    RegistryClient::new(&addr.to_string(), access).unwrap()
}

/// Serves `router` on loopback until the test's runtime ends.
pub(crate) async fn serve_router(router: Router) -> SocketAddr {
    let bound = strongroom_transport::bind("127.0.0.1:0").await.unwrap();
    let addr = bound.local_addr();
    tokio::spawn(strongroom_transport::serve(bound, None, router, ServeLimits::default(), core::future::pending()));
    addr
}

/// The code of a refusal.
pub(crate) fn code<T: core::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code
}

/// Bytes in which every position can be told from its neighbours.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(31) ^ (i >> 8)).to_le_bytes()[0]).collect()
}

//! A registry and a client of it.

use std::time::Duration;
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_registry_client::{Access, Patience, Reference, RegistryClient};
use strongroom_wire::{Code, Result};
use tempfile::TempDir;

/// Three attempts, without long waits.
pub const PATIENCE: Patience = Patience {
    attempts: 3,
    first_wait: Duration::from_millis(5),
    longest_wait: Duration::from_millis(50),
    answer: Duration::from_secs(2),
};

pub struct Peer {
    pub registry: RunningRegistry,
    pub client: RegistryClient,
    pub folder: TempDir,
}

impl Peer {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("registry"));
        change(&mut config);
        let registry = RunningRegistry::start(config).await.unwrap();
        let client = client(&registry, Access::default());
        Self { registry, client, folder }
    }

    /// `<registry>/<rest>`.
    pub fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.registry.addr())).unwrap()
    }
}

/// A client over plain HTTP, patient for the time of a test.
pub fn client(registry: &RunningRegistry, access: Access) -> RegistryClient {
    let access = Access { plain_http: true, patience: PATIENCE, ..access };
    RegistryClient::new(&registry.addr().to_string(), access).unwrap()
}

/// The code of a refusal.
pub fn code<T: core::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code
}

/// Bytes in which every position can be told from its neighbours.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(31) ^ (i >> 8)).to_le_bytes()[0]).collect()
}

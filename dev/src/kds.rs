//! AMD's service, played: what the verifier asks for chips whose host hands out no certificates.

use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_devkit::amd::{Hierarchy, Vek};
use strongroom_devkit::vendors::Vendors;
use strongroom_wire::{Refusal, Result};
use tokio::runtime::Runtime;

/// How long its revocation lists last: longer than any demo.
const LASTS: u64 = 7 * 24 * 60 * 60;

/// The service, on a thread of its own.
pub(crate) struct Kds {
    vendors: Vendors,
    _runtime: Runtime,
}

impl Kds {
    /// Starts one that knows no chip.
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| Refusal::io("runtime", &e))?;
        let vendors = runtime.block_on(Vendors::start())?;
        Ok(Self { vendors, _runtime: runtime })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        self.vendors.url()
    }

    /// Knows this chip from now on.
    pub(crate) fn know(&self, hierarchy: &Hierarchy, vek: &Vek) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.vendors.add_amd(hierarchy, vek, now.saturating_sub(LASTS)..now.saturating_add(LASTS))
    }

    /// How many requests for chips there were.
    pub(crate) fn chips_asked(&self) -> usize {
        self.vendors.asked().iter().filter(|path| path.contains("SPL=")).count()
    }
}

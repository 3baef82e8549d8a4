//! What `make bench` measures of this crate alone, and nothing else uses.

use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::store::{Database, Store};
use serde_json::json;
use std::path::Path;
use strongroom_wire::{Realm, Result};

/// The audit log of a store that has nothing else.
#[derive(Debug)]
pub struct AuditLog {
    store: Store,
    /// As large as an appraisal with thirty checks.
    decision: Event,
}

impl AuditLog {
    /// Makes one in `folder`.
    ///
    /// # Errors
    /// `io`, `store-failed`.
    pub async fn make(folder: &Path) -> Result<Self> {
        let database = Database::sqlite(&folder.join("verifier.sqlite"));
        let store = Store::open(database, &folder.join("master"), Realm::Vendor).await?;
        let check = json!({ "name": "measurement", "ok": true, "got": "4d".repeat(24), "want": "4d".repeat(24) });
        let detail = json!({ "appraisal": vec![check; 30] });
        let decision = Event { kind: Kind::Release, subject: "models/tiny/v1".into(), code: None, detail };
        Ok(Self { store, decision })
    }

    /// Appends a decision, and returns its number once it is durable.
    ///
    /// # Errors
    /// `store-failed`.
    pub async fn append(&self) -> Result<u64> {
        self.store.record(&Clock::system(), &self.decision).await.map(|recorded| recorded.seq())
    }
}

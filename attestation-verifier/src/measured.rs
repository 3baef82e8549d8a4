//! What `make bench` measures of this crate alone, and nothing else uses.

use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::store::Store;
use serde_json::json;
use std::path::Path;
use strongroom_wire::{Realm, Result};

/// The audit log of a store that has nothing else.
#[derive(Debug)]
pub struct AuditLog(Store);

impl AuditLog {
    /// Makes one in `folder`.
    ///
    /// # Errors
    /// `io`, `store-failed`.
    pub async fn make(folder: &Path) -> Result<Self> {
        Store::open(&folder.join("verifier.sqlite"), &folder.join("master"), Realm::Vendor).await.map(Self)
    }

    /// Appends a decision as large as an appraisal with thirty checks, and returns its number once it is durable.
    ///
    /// # Errors
    /// `store-failed`.
    pub async fn append(&self) -> Result<u64> {
        let check = json!({ "name": "measurement", "ok": true, "got": "4d".repeat(24), "want": "4d".repeat(24) });
        let detail = json!({ "appraisal": vec![check; 30] });
        let event = Event { kind: Kind::Release, subject: "models/tiny/v1".into(), code: None, detail };
        self.0.record(&Clock::system(), &event).await.map(|recorded| recorded.seq())
    }
}

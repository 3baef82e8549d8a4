//! SQLite's write-ahead log is moved into the file beside the transactions. By itself it is moved by whoever commits while that log is
//! long, and all who wait for that commit wait for the disk twice over.

use super::database::Database;
use sqlx::AnyPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;

/// Commits after which it is moved: at full load some MiB, and a small part of what one commits by itself
/// ([`Database::connect`]) should this ever not keep up.
const EVERY: u32 = 16;

/// Moves it. It waits for no transaction, and none waits for it.
#[derive(Debug)]
pub(super) struct Backfill {
    pool: AnyPool,
    commits: u32,
    /// One does at a time.
    moving: Arc<AtomicBool>,
}

impl Backfill {
    /// By a connection of `pool`. `None`: a server sees to it by itself.
    pub(super) fn new(database: &Database, pool: AnyPool) -> Option<Self> {
        (!database.is_shared()).then(|| Self { pool, commits: 0, moving: Arc::default() })
    }

    /// Says that something was committed. Where it begins to move what was committed by then, the handle ends with that.
    pub(super) fn committed(&mut self) -> Option<JoinHandle<()>> {
        self.commits = self.commits.saturating_add(1);
        if self.commits < EVERY || self.moving.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.commits = 0;
        let (pool, moving) = (self.pool.clone(), Arc::clone(&self.moving));
        Some(tokio::spawn(async move {
            if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&pool).await {
                tracing::warn!(%error, "the store's write-ahead log grows");
            }
            moving.store(false, Ordering::Release);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, Kind};
    use crate::clock::Clock;
    use crate::store::Store;
    use serde_json::json;
    use strongroom_wire::Realm;

    #[tokio::test]
    async fn what_was_committed_is_moved_into_the_file_beside_an_open_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let database = Database::sqlite(&path);
        let store = Store::open(database.clone(), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let length = || std::fs::metadata(&path).unwrap().len();
        let detail = json!({ "n": "x".repeat(20_000) });
        let large = Event { kind: Kind::Admin, subject: "-".into(), code: None, detail };
        // Fewer than make the store itself begin.
        let before = length();
        for _ in 0..EVERY / 2 {
            store.record(&Clock::of(|| 5), &large).await.unwrap();
        }
        assert_eq!(length(), before);
        let held = store.begin().await.unwrap();
        let mut backfill = Backfill::new(&database, database.pool(true).unwrap()).unwrap();
        for _ in 1..EVERY {
            assert!(backfill.committed().is_none());
        }
        backfill.committed().unwrap().await.unwrap();
        assert!(length() > before + 100_000);
        drop(held);
    }
}

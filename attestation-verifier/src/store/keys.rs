//! Stored keys: encrypted under the master key, immutable at their id, disabled for good or enabled.

use super::{Store, failed, from_integer, to_integer};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// What may be known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct KeyMetadata {
    /// `<repo>/<type>/<tag>`.
    pub id: String,
    /// Seconds since 1970.
    pub created: UnixTime,
    /// Whether it can be released.
    pub enabled: bool,
}

/// A key as it is stored, still encrypted.
#[derive(Debug)]
pub(crate) struct StoredKey {
    /// What may be known of it.
    pub metadata: KeyMetadata,
    sealed: Vec<u8>,
}

/// What a put came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The key is new.
    Created(KeyMetadata),
    /// The very same key was there already.
    Unchanged(KeyMetadata),
}

impl Store {
    /// Stores a key at a new id.
    ///
    /// # Errors
    /// `key-exists`: another value is at that id; `store-failed`.
    pub(crate) async fn put_key(&self, id: &ResourcePath, value: &[u8], now: UnixTime) -> Result<Put> {
        let sealed = self.master.seal(id.as_str(), value)?;
        let insert =
            "INSERT INTO keys (id, sealed, created, state) VALUES (?, ?, ?, 'enabled') ON CONFLICT (id) DO NOTHING";
        let insert = sqlx::query(insert).bind(id.as_str()).bind(sealed).bind(to_integer(now)?);
        let inserted = insert.execute(&self.pool).await.map_err(failed("keys"))?.rows_affected();
        if inserted == 1 {
            return Ok(Put::Created(KeyMetadata { id: id.to_string(), created: now, enabled: true }));
        }
        let stored = self.key(id).await?;
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(&self.open_key(&stored)?, value);
        same.map_err(|_| Refusal::new(Code::KeyExists, "key").got(id))?;
        Ok(Put::Unchanged(stored.metadata))
    }

    /// The key at an id, still encrypted.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`.
    pub(crate) async fn key(&self, id: &ResourcePath) -> Result<StoredKey> {
        let select = sqlx::query("SELECT id, created, state, sealed FROM keys WHERE id = ?").bind(id.as_str());
        let row = select.fetch_optional(&self.pool).await.map_err(failed("keys"))?;
        let row = row.ok_or_else(|| Refusal::new(Code::KeyUnknown, "key").got(id))?;
        Ok(StoredKey { metadata: metadata(&row)?, sealed: row.try_get("sealed").map_err(failed("keys"))? })
    }

    /// The value of a key.
    pub(crate) fn open_key(&self, key: &StoredKey) -> Result<Zeroizing<Vec<u8>>> {
        self.master.open(&key.metadata.id, &key.sealed)
    }

    /// All keys by id.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyMetadata>> {
        let rows = sqlx::query("SELECT id, created, state FROM keys ORDER BY id").fetch_all(&self.pool).await;
        rows.map_err(failed("keys"))?.iter().map(metadata).collect()
    }

    /// Disables a key for good.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`.
    pub(crate) async fn disable_key(&self, id: &ResourcePath) -> Result<KeyMetadata> {
        let update = sqlx::query("UPDATE keys SET state = 'disabled' WHERE id = ?").bind(id.as_str());
        update.execute(&self.pool).await.map_err(failed("keys"))?;
        self.key(id).await.map(|key| key.metadata)
    }
}

fn metadata(row: &SqliteRow) -> Result<KeyMetadata> {
    let state: String = row.try_get("state").map_err(failed("keys"))?;
    Ok(KeyMetadata {
        id: row.try_get("id").map_err(failed("keys"))?,
        created: from_integer(row.try_get("created").map_err(failed("keys"))?)?,
        enabled: state == "enabled",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::Realm;

    fn id(text: &str) -> ResourcePath {
        ResourcePath::parse(text).unwrap()
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(&path, &folder.path().join("master"), Realm::Vendor).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn key_is_immutable_at_its_id() {
        let (_folder, store) = store().await;
        let first = store.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        let metadata = KeyMetadata { id: "a/b/c".into(), created: 5, enabled: true };
        assert_eq!(first, Put::Created(metadata.clone()));
        assert_eq!(store.put_key(&id("a/b/c"), b"one", 9).await.unwrap(), Put::Unchanged(metadata));
        assert_eq!(store.put_key(&id("a/b/c"), b"two", 9).await.unwrap_err().code, Code::KeyExists);
        let stored = store.key(&id("a/b/c")).await.unwrap();
        assert_eq!(store.open_key(&stored).unwrap().as_slice(), b"one");
    }

    #[tokio::test]
    async fn key_at_another_id_than_it_was_stored_at_does_not_open() {
        let (_folder, store) = store().await;
        store.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        let mut stored = store.key(&id("a/b/c")).await.unwrap();
        stored.metadata.id = "a/b/d".into();
        assert_eq!(store.open_key(&stored).unwrap_err().code, Code::StoreFailed);
    }

    #[tokio::test]
    async fn disabled_key_stays_disabled() {
        let (_folder, store) = store().await;
        store.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        assert!(!store.disable_key(&id("a/b/c")).await.unwrap().enabled);
        assert!(!store.disable_key(&id("a/b/c")).await.unwrap().enabled);
        assert!(matches!(store.put_key(&id("a/b/c"), b"one", 5).await.unwrap(), Put::Unchanged(k) if !k.enabled));
        let enable = sqlx::query("UPDATE keys SET state = 'enabled'").execute(&store.pool).await;
        assert!(enable.unwrap_err().to_string().contains("stays disabled"));
        assert_eq!(store.disable_key(&id("a/b/d")).await.unwrap_err().code, Code::KeyUnknown);
    }

    #[tokio::test]
    async fn value_is_not_in_the_database_file() {
        let (folder, store) = store().await;
        store.put_key(&id("a/b/c"), b"a value that is looked for", 5).await.unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(12).any(|window| window == b"a value that"));
        }
    }
}

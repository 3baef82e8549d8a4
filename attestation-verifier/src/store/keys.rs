//! Stored keys: encrypted under the master key, immutable at their id, disabled for good or enabled. Whose one is and what it is
//! called by may change.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Store, Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use crate::tags::Tags;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

pub(super) const TABLE: Table = Table {
    name: "keys",
    key: &["id"],
    names: "SELECT id, 0, mac FROM keys ORDER BY id",
    rewrap: |row, old, new| {
        let key = stored(row, old)?;
        let sealed = new.seal(&key.metadata.id, &key.open(old)?)?;
        let key = StoredKey { sealed, ..key };
        Ok(Rewrapped { mac: new.mac(key.content().bytes()), sealed: Some(key.sealed) })
    },
};

/// What may be known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct KeyMetadata {
    /// `<repo>/<type>/<tag>`.
    pub id: String,
    /// Seconds since 1970.
    pub created: UnixTime,
    /// Whether it can be released.
    pub enabled: bool,
    /// Whose it is and what it is called by.
    #[serde(flatten)]
    pub tags: Tags,
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
    /// The value of a key.
    pub(crate) fn open_key(&self, key: &StoredKey) -> Result<Zeroizing<Vec<u8>>> {
        key.open(&self.master)
    }
}

impl Transaction<'_> {
    /// Stores a key at a new id.
    ///
    /// # Errors
    /// `key-exists`: another value is at that id; `store-failed`; `store-tampered`.
    pub(crate) async fn put_key(&mut self, id: &ResourcePath, value: &[u8], now: UnixTime) -> Result<Put> {
        if let Some(stored) = self.find_key(id).await? {
            let same = verify_slices_are_equal(&stored.open(self.master)?, value);
            same.map_err(|_| Refusal::new(Code::KeyExists, "key").got(id))?;
            return Ok(Put::Unchanged(stored.metadata));
        }
        let metadata = KeyMetadata { id: id.to_string(), created: now, enabled: true, tags: Tags::default() };
        let stored = StoredKey { metadata, sealed: self.master.seal(id.as_str(), value)? };
        let insert =
            "INSERT INTO keys (id, sealed, created, state, owner, labels, mac) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let insert = sqlx::query(insert).bind(id.as_str()).bind(&stored.sealed).bind(to_integer(now)?);
        let insert = insert.bind(stored.metadata.state()).bind(stored.metadata.tags.owner());
        let insert = insert.bind(stored.metadata.tags.lines()).bind(self.master.mac(stored.content().bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("keys"))?;
        self.authenticate_rows().await?;
        Ok(Put::Created(stored.metadata))
    }

    /// [`Self::put_key`] and [`Self::label_key`] of a new key. Without tags, the tags of one that is there stay.
    ///
    /// # Errors
    /// As there; `key-exists`: also the same value with other tags.
    pub(crate) async fn put_labelled_key(
        &mut self,
        id: &ResourcePath,
        value: &[u8],
        tags: Tags,
        now: UnixTime,
    ) -> Result<Put> {
        match self.put_key(id, value, now).await? {
            put if tags.is_empty() => Ok(put),
            Put::Created(_) => self.label_key(id, tags).await.map(Put::Created),
            Put::Unchanged(key) if key.tags == tags => Ok(Put::Unchanged(key)),
            Put::Unchanged(key) => {
                let refusal = Refusal::new(Code::KeyExists, "owner and labels of the key");
                Err(refusal.got(key.tags).want(format!("{tags}, by `strongroom key label`")))
            }
        }
    }

    /// The key at an id, still encrypted.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`; `store-tampered`.
    pub(crate) async fn key(&mut self, id: &ResourcePath) -> Result<StoredKey> {
        self.find_key(id).await?.ok_or_else(|| Refusal::new(Code::KeyUnknown, "key").got(id))
    }

    async fn find_key(&mut self, id: &ResourcePath) -> Result<Option<StoredKey>> {
        self.verify_rows().await?;
        let select = "SELECT id, created, state, owner, labels, sealed, mac FROM keys WHERE id = $1";
        let row = sqlx::query(select).bind(id.as_str()).fetch_optional(&mut *self.sql).await.map_err(failed("keys"))?;
        row.map(|row| stored(&row, self.master)).transpose()
    }

    /// All keys by id.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn keys(&mut self) -> Result<Vec<KeyMetadata>> {
        self.verify_rows().await?;
        let rows = sqlx::query("SELECT id, created, state, owner, labels, sealed, mac FROM keys ORDER BY id");
        let rows = rows.fetch_all(&mut *self.sql).await.map_err(failed("keys"))?;
        rows.iter().map(|row| stored(row, self.master).map(|key| key.metadata)).collect()
    }

    /// Disables a key for good.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`; `store-tampered`.
    pub(crate) async fn disable_key(&mut self, id: &ResourcePath) -> Result<KeyMetadata> {
        let key = self.key(id).await?;
        self.update_key(StoredKey { metadata: KeyMetadata { enabled: false, ..key.metadata }, ..key }).await
    }

    /// Says anew whose a key is and what it is called by.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`; `store-tampered`.
    pub(crate) async fn label_key(&mut self, id: &ResourcePath, tags: Tags) -> Result<KeyMetadata> {
        let key = self.key(id).await?;
        self.update_key(StoredKey { metadata: KeyMetadata { tags, ..key.metadata }, ..key }).await
    }

    async fn update_key(&mut self, key: StoredKey) -> Result<KeyMetadata> {
        let update = sqlx::query("UPDATE keys SET state = $1, owner = $2, labels = $3, mac = $4 WHERE id = $5");
        let update = update.bind(key.metadata.state()).bind(key.metadata.tags.owner()).bind(key.metadata.tags.lines());
        let update = update.bind(self.master.mac(key.content().bytes())).bind(&key.metadata.id);
        update.execute(&mut *self.sql).await.map_err(failed("keys"))?;
        self.authenticate_rows().await?;
        Ok(key.metadata)
    }
}

impl KeyMetadata {
    const fn state(&self) -> &'static str {
        if self.enabled { "enabled" } else { "disabled" }
    }
}

impl StoredKey {
    fn open(&self, master: &MasterKey) -> Result<Zeroizing<Vec<u8>>> {
        master.open(&self.metadata.id, &self.sealed)
    }

    /// What its row is authenticated by.
    fn content(&self) -> Content {
        let KeyMetadata { id, created, tags, .. } = &self.metadata;
        let fields = |content: Content| {
            let content = content.field(id.as_bytes()).number(*created);
            content.field(self.metadata.state().as_bytes()).field(&self.sealed)
        };
        // A row without tags is as it was before there were any.
        if tags.is_empty() {
            return fields(Content::of("strongroom/stored-key-row/v1"));
        }
        let content = fields(Content::of("strongroom/stored-key-row/v2"));
        content.field(tags.owner().as_bytes()).field(tags.lines().as_bytes())
    }
}

fn stored(row: &AnyRow, master: &MasterKey) -> Result<StoredKey> {
    let error = failed("keys");
    let state: String = row.try_get("state").map_err(&error)?;
    let metadata = KeyMetadata {
        id: row.try_get("id").map_err(&error)?,
        created: from_integer(row.try_get("created").map_err(&error)?)?,
        enabled: state == "enabled",
        tags: Tags::stored(row.try_get("owner").map_err(&error)?, row.try_get("labels").map_err(&error)?),
    };
    let key = StoredKey { metadata, sealed: row.try_get("sealed").map_err(&error)? };
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    master.verify(&format!("stored key `{}`", key.metadata.id), key.content().bytes(), &mac)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use strongroom_wire::Realm;

    fn id(text: &str) -> ResourcePath {
        ResourcePath::parse(text).unwrap()
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn key_is_immutable_at_its_id() {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        let first = rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        let metadata = KeyMetadata { id: "a/b/c".into(), created: 5, enabled: true, tags: Tags::default() };
        assert_eq!(first, Put::Created(metadata.clone()));
        assert_eq!(rows.put_key(&id("a/b/c"), b"one", 9).await.unwrap(), Put::Unchanged(metadata));
        assert_eq!(rows.put_key(&id("a/b/c"), b"two", 9).await.unwrap_err().code, Code::KeyExists);
        let stored = rows.key(&id("a/b/c")).await.unwrap();
        assert_eq!(store.open_key(&stored).unwrap().as_slice(), b"one");
    }

    #[tokio::test]
    async fn key_at_another_id_than_it_was_stored_at_does_not_open() {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        let mut stored = rows.key(&id("a/b/c")).await.unwrap();
        stored.metadata.id = "a/b/d".into();
        assert_eq!(store.open_key(&stored).unwrap_err().code, Code::StoreFailed);
    }

    #[tokio::test]
    async fn disabled_key_stays_disabled() {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        assert!(!rows.disable_key(&id("a/b/c")).await.unwrap().enabled);
        assert!(!rows.disable_key(&id("a/b/c")).await.unwrap().enabled);
        assert!(matches!(rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap(), Put::Unchanged(k) if !k.enabled));
        let enable = sqlx::query("UPDATE keys SET state = 'enabled'").execute(&mut *rows.sql).await;
        assert!(enable.unwrap_err().to_string().contains("stays disabled"));
        assert_eq!(rows.disable_key(&id("a/b/d")).await.unwrap_err().code, Code::KeyUnknown);
    }

    fn tags(query: &str) -> Tags {
        Tags::parse(query).unwrap()
    }

    #[tokio::test]
    async fn owner_and_labels_change_and_the_value_and_the_state_stay() {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        let (first, second) = (tags("owner=alice&label=eu"), tags("label=us&label=gold"));
        let put = rows.put_labelled_key(&id("a/b/c"), b"one", first.clone(), 5).await.unwrap();
        assert!(matches!(put, Put::Created(key) if key.tags == first));
        for again in [first.clone(), Tags::default()] {
            let put = rows.put_labelled_key(&id("a/b/c"), b"one", again, 6).await.unwrap();
            assert!(matches!(put, Put::Unchanged(key) if key.tags == first));
        }
        let put = rows.put_labelled_key(&id("a/b/c"), b"one", second.clone(), 6).await;
        assert_eq!(put.unwrap_err().code, Code::KeyExists);
        rows.disable_key(&id("a/b/c")).await.unwrap();
        assert_eq!(rows.label_key(&id("a/b/c"), second.clone()).await.unwrap().tags, second);
        let stored = rows.key(&id("a/b/c")).await.unwrap();
        assert_eq!((stored.metadata.enabled, &stored.metadata.tags), (false, &second));
        assert_eq!(store.open_key(&stored).unwrap().as_slice(), b"one");
        assert!(rows.label_key(&id("a/b/c"), Tags::default()).await.unwrap().tags.is_empty());
        assert!(rows.keys().await.unwrap()[0].tags.is_empty());
        assert_eq!(rows.label_key(&id("a/b/d"), second).await.unwrap_err().code, Code::KeyUnknown);
    }

    #[tokio::test]
    async fn owner_or_label_changed_without_the_master_key_is_noticed() {
        for (statement, expected) in [
            ("UPDATE keys SET owner = 'alice'", None),
            ("UPDATE keys SET owner = 'bob'", Some(Code::StoreTampered)),
            ("UPDATE keys SET owner = '', labels = 'alice' || char(10) || 'eu' || char(10)", Some(Code::StoreTampered)),
            ("UPDATE keys SET labels = labels || 'gold' || char(10)", Some(Code::StoreTampered)),
            ("UPDATE keys SET owner = '', labels = ''", Some(Code::StoreTampered)),
        ] {
            let (_folder, store) = store().await;
            let mut rows = store.begin().await.unwrap();
            rows.put_labelled_key(&id("a/b/c"), b"one", tags("owner=alice&label=eu"), 5).await.unwrap();
            sqlx::query(statement).execute(&mut *rows.sql).await.unwrap();
            let code = rows.key(&id("a/b/c")).await.err().map(|refusal| refusal.code);
            assert_eq!(code, expected, "{statement}");
        }
    }

    #[tokio::test]
    async fn value_is_not_in_the_database_file() {
        let (folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        rows.put_key(&id("a/b/c"), b"a value that is looked for", 5).await.unwrap();
        rows.commit_unrecorded().await.unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(12).any(|window| window == b"a value that"));
        }
    }
}

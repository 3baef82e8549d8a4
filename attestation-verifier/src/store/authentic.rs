//! What the master key authenticates beside the values of keys: each row of keys and policies, and the set of all of them, so
//! that none can be changed, put in or taken out without it. All of the file put back to what it once was is not noticed.

use super::{Transaction, failed};
use sqlx::Row as _;
use strongroom_wire::{Code, Refusal, Result};

/// The name in `meta` of what authenticates the set.
const ROWS: &str = "rows";

/// Bytes to authenticate, field by field, each of which says how long it is.
pub(super) struct Content(Vec<u8>);

impl Content {
    /// Of what; no two kinds of content share a label.
    pub(super) fn of(label: &str) -> Self {
        Self(Vec::new()).field(label.as_bytes())
    }

    pub(super) fn field(mut self, bytes: &[u8]) -> Self {
        // Lengths in memory are below 2^64.
        self.0.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.field(&number.to_be_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Transaction<'_> {
    /// Authenticates the set of rows as it is now: after every change to one.
    pub(super) async fn authenticate_rows(&mut self) -> Result<()> {
        let content = self.rows().await?;
        self.set_meta(ROWS, &self.master.mac(content.bytes())).await
    }

    /// Authenticates the empty set, which is what a new store holds, whatever this one holds.
    pub(super) async fn authenticate_no_rows(&mut self) -> Result<()> {
        self.set_meta(ROWS, &self.master.mac(set(&[], &[]).bytes())).await
    }

    /// Verifies the set of rows: before every use of one. The rows themselves are verified as they are read.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn verify_rows(&mut self) -> Result<()> {
        let content = self.rows().await?;
        let mac = self.meta(ROWS).await?;
        let mac =
            mac.ok_or_else(|| Refusal::new(Code::StoreTampered, "store: keys and policies are not authenticated"))?;
        self.master.verify("store: the set of keys and policies", content.bytes(), &mac)
    }

    async fn rows(&mut self) -> Result<Content> {
        let keys = self.macs("SELECT mac FROM keys ORDER BY id").await?;
        let policies = self.macs("SELECT mac FROM policies ORDER BY id, version").await?;
        Ok(set(&keys, &policies))
    }

    async fn macs(&mut self, select: &'static str) -> Result<Vec<Vec<u8>>> {
        let rows = sqlx::query(select).fetch_all(&mut *self.sql).await.map_err(failed("rows"))?;
        rows.iter().map(|row| row.try_get(0).map_err(failed("rows"))).collect()
    }
}

fn set(keys: &[Vec<u8>], policies: &[Vec<u8>]) -> Content {
    Content::of("strongroom/stored-rows/v1").field(&keys.concat()).field(&policies.concat())
}

#[cfg(test)]
mod tests {
    use crate::store::Store;
    use crate::store::policies::tests::policy_text;
    use std::path::Path;
    use strongroom_wire::kbs::ResourcePath;
    use strongroom_wire::{Code, Realm, Result};

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(&folder.join("verifier.sqlite"), &folder.join("master"), Realm::Vendor).await
    }

    async fn execute(store: &Store, statement: &'static str) {
        sqlx::query(statement).execute(&store.pool).await.unwrap();
    }

    /// A store with two keys, one of them disabled, and two versions of a policy.
    async fn filled(folder: &Path) -> Store {
        let store = open(folder).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        let [on, off] = ["a/b/on", "a/b/off"].map(|id| ResourcePath::parse(id).unwrap());
        transaction.put_key(&on, b"one", 5).await.unwrap();
        transaction.put_key(&off, b"two", 5).await.unwrap();
        transaction.disable_key(&off).await.unwrap();
        for first in [1, 2] {
            transaction.put_policy(&on, policy_text(first).as_bytes(), 5).await.unwrap();
        }
        transaction.sql.commit().await.unwrap();
        store
    }

    #[tokio::test]
    async fn untouched_rows_are_read_and_what_was_not_committed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let mut dropped = store.begin().await.unwrap();
        dropped.disable_key(&ResourcePath::parse("a/b/on").unwrap()).await.unwrap();
        drop(dropped);
        drop(store);
        let store = open(folder.path()).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        let keys = transaction.keys().await.unwrap();
        assert_eq!(keys.iter().map(|key| key.enabled).collect::<Vec<_>>(), [false, true]);
        assert_eq!(transaction.policies().await.unwrap()[0].metadata.version, 2);
    }

    #[tokio::test]
    async fn rows_changed_put_in_or_taken_out_without_the_master_key_are_noticed() {
        for statement in [
            "UPDATE keys SET state = 'enabled' WHERE id = 'a/b/off'",
            "UPDATE keys SET state = 'disabled' WHERE id = 'a/b/on'",
            "UPDATE keys SET created = 6 WHERE id = 'a/b/on'",
            "UPDATE keys SET mac = (SELECT mac FROM keys WHERE id = 'a/b/on') WHERE id = 'a/b/off'",
            "UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE id = 'a/b/off') WHERE id = 'a/b/on'",
            "DELETE FROM keys WHERE id = 'a/b/off'",
            "UPDATE policies SET toml = (SELECT toml FROM policies WHERE version = 1) WHERE version = 2",
            "UPDATE policies SET version = 3 WHERE version = 1",
            "DELETE FROM policies WHERE version = 2",
            "INSERT INTO policies SELECT 'a/b/off', version, toml, created, mac FROM policies WHERE version = 1",
            "DELETE FROM meta WHERE name = 'rows'",
            "DELETE FROM meta WHERE name IN ('rows', 'master-key-check')",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = filled(folder.path()).await;
            for trigger in ["DROP TRIGGER keys_are_immutable", "DROP TRIGGER keys_stay_disabled"] {
                execute(&store, trigger).await;
            }
            execute(&store, statement).await;
            let mut transaction = store.begin().await.unwrap();
            let keys = transaction.keys().await.err();
            let policies = transaction.policies().await.err();
            let codes = [keys, policies].map(|refusal| refusal.map(|refusal| refusal.code));
            assert!(codes.contains(&Some(Code::StoreTampered)), "{statement}: {codes:?}");
        }
    }

    #[tokio::test]
    async fn store_whose_rows_are_not_those_that_were_authenticated_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        execute(&store, "DELETE FROM policies WHERE version = 2").await;
        drop(store);
        assert_eq!(open(folder.path()).await.unwrap_err().code, Code::StoreTampered);
    }
}

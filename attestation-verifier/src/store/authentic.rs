//! What the master key authenticates beside the values of keys: each row of keys and policies, the set of all of them, and
//! the end of the audit log, its checkpoint, together with that set, so that none can be changed, put in, renamed, taken out or cut
//! off without it. All of the file put back to what it once was is not noticed here; nor is the log alone, back to no further than
//! the last change of a key or policy. Who remembers a checkpoint notices both.

use super::log::Keys;
use super::tables::{Name, TABLES, Table};
use super::{Transaction, failed, log};
use strongroom_tlog::SignedNote;
use strongroom_wire::{Code, Refusal, Result};

/// The name in `meta` of what authenticates the set.
pub(super) const ROWS: &str = "rows";
/// The name in `meta` of what authenticates the end of the audit log.
pub(super) const HEAD: &str = "audit-head";

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
    ///
    /// # Errors
    /// `store-tampered`: the end of the log is not the one that was authenticated with the set as it was; `store-failed`.
    pub(super) async fn authenticate_rows(&mut self) -> Result<()> {
        let (last, _) = log::head(&mut self.sql, Keys { master: self.master, log: self.log }).await?;
        self.authenticate_all(&last).await
    }

    /// Authenticates the set of rows as it is now, and `last` as the end of the audit log, whatever was authenticated before.
    pub(super) async fn authenticate_all(&mut self, last: &SignedNote) -> Result<()> {
        let content = self.rows().await?;
        self.set_meta(ROWS, &self.master.mac(content.bytes())).await?;
        log::authenticate(&mut self.sql, last, Keys { master: self.master, log: self.log }).await
    }

    /// Authenticates the empty set, which is what a new store holds, whatever this one holds.
    pub(super) async fn authenticate_nothing(&mut self) -> Result<()> {
        let nothing = TABLES.iter().map(|table| (table.name, Vec::new())).collect::<Vec<_>>();
        self.set_meta(ROWS, &self.master.mac(set(&nothing).bytes())).await
    }

    /// Verifies the set of rows: before the first use of one. The rows themselves are verified as they are read.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn verify_rows(&mut self) -> Result<()> {
        if self.verified {
            return Ok(());
        }
        let content = self.rows().await?;
        let mac = self.meta(ROWS).await?;
        let mac =
            mac.ok_or_else(|| Refusal::new(Code::StoreTampered, "store: keys and policies are not authenticated"))?;
        self.master.verify("store: the set of keys and policies", content.bytes(), &mac)?;
        self.verified = true;
        Ok(())
    }

    async fn rows(&mut self) -> Result<Content> {
        let mut tables = Vec::new();
        for table in &TABLES {
            tables.push((table.name, self.names(table).await?));
        }
        Ok(set(&tables))
    }

    pub(super) async fn names(&mut self, table: &Table) -> Result<Vec<Name>> {
        let error = failed("rows");
        let rows = sqlx::query(table.names).fetch_all(&mut *self.sql).await.map_err(&error)?;
        rows.iter().map(Name::of).collect::<sqlx::Result<_>>().map_err(&error)
    }
}

/// What all rows are authenticated by: each by what it is found by and its own code, which would only be looked at once it was
/// found.
fn set(tables: &[(&str, Vec<Name>)]) -> Content {
    tables.iter().enumerate().fold(Content::of("strongroom/stored-rows/v2"), |content, (at, (table, rows))| {
        let content = match at {
            // Keys and policies, which every store had from the start.
            0 | 1 => content,
            // A table that came later says nothing while it is empty: a store from before it still authenticates.
            _ if rows.is_empty() => return content,
            _ => content.field(table.as_bytes()),
        };
        // Lengths in memory are below 2^64.
        let content = content.number(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        rows.iter().fold(content, |content, row| {
            content.field(row.id.as_bytes()).field(&row.version.to_be_bytes()).field(&row.mac)
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::audit::{Event, Kind};
    use crate::store::policies::tests::policy_text;
    use crate::store::schema::tests::{put_back, take_triggers};
    use crate::store::{Database, Store};
    use std::path::Path;
    use strongroom_wire::kbs::ResourcePath;
    use strongroom_wire::{Code, Realm, Result};

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
    }

    async fn execute(store: &Store, statement: &'static str) {
        sqlx::query(statement).execute(&store.pool).await.unwrap();
    }

    /// A store with two keys, one of them disabled, two versions of a policy, and one of another.
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
        let other = ResourcePath::parse("a/b/other").unwrap();
        transaction.put_policy(&other, policy_text(3).as_bytes(), 5).await.unwrap();
        transaction.commit_unrecorded().await.unwrap();
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
        assert_eq!(keys.iter().map(|key| key.state.as_str()).collect::<Vec<_>>(), ["disabled", "enabled"]);
        assert_eq!(transaction.policies().await.unwrap()[0].metadata.version, 2);
    }

    /// What every way to read says of a store in which `statement` was executed behind its back.
    async fn codes_after(statement: &'static str) -> [Option<Code>; 4] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let triggers = take_triggers(&store).await;
        execute(&store, statement).await;
        put_back(&store, triggers).await;
        let mut transaction = store.begin().await.unwrap();
        let [on, off] = ["a/b/on", "a/b/off"].map(|id| ResourcePath::parse(id).unwrap());
        let keys = [transaction.key(&off).await.err(), transaction.keys().await.err()];
        let policies = [transaction.policy(&on).await.err(), transaction.policies().await.err()];
        let [[key, keys], [policy, policies]] = [keys, policies];
        [key, keys, policy, policies].map(|refusal| refusal.map(|refusal| refusal.code))
    }

    #[tokio::test]
    async fn rows_changed_put_in_or_taken_out_without_the_master_key_are_noticed() {
        assert_eq!(codes_after("SELECT 1").await, [None; 4]);
        for statement in [
            "UPDATE keys SET state = 'enabled' WHERE id = 'a/b/off'",
            "UPDATE keys SET state = 'disabled' WHERE id = 'a/b/on'",
            "UPDATE keys SET created = 6 WHERE id = 'a/b/on'",
            "UPDATE keys SET mac = (SELECT mac FROM keys WHERE id = 'a/b/on') WHERE id = 'a/b/off'",
            "UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE id = 'a/b/off') WHERE id = 'a/b/on'",
            "DELETE FROM keys WHERE id = 'a/b/off'",
            "UPDATE policies SET toml = (SELECT toml FROM policies WHERE version = 1) WHERE version = 2",
        ] {
            let codes = codes_after(statement).await;
            assert!(codes.contains(&Some(Code::StoreTampered)), "{statement}: {codes:?}");
        }
        // What is not about a row but about which rows there are, no way to read misses.
        for statement in [
            // The order of all rows stays the same: a policy is taken back, a disabled key's id is free.
            "UPDATE policies SET id = 'a/b/other', version = 0 WHERE version = 2",
            "UPDATE keys SET id = 'a/b/offf' WHERE id = 'a/b/off'",
            "UPDATE policies SET version = -1 WHERE id = 'a/b/on' AND version = 1",
            "UPDATE policies SET version = 3 WHERE version = 1 AND id = 'a/b/on'",
            "DELETE FROM policies WHERE version = 2",
            "INSERT INTO policies SELECT 'a/b/off', version, toml, created, mac FROM policies WHERE id = 'a/b/other'",
            "DELETE FROM meta WHERE name = 'rows'",
            "DELETE FROM meta WHERE name IN ('rows', 'stamp')",
        ] {
            assert_eq!(codes_after(statement).await, [Some(Code::StoreTampered); 4], "{statement}");
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

    #[tokio::test]
    async fn rows_put_back_to_what_once_authenticated_are_noticed_by_the_end_of_the_log() {
        for put_back in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let store = filled(folder.path()).await;
            execute(&store, "CREATE TEMP TABLE kept AS SELECT * FROM meta WHERE name = 'rows'").await;
            let mut transaction = store.begin().await.unwrap();
            let other = ResourcePath::parse("a/b/other").unwrap();
            transaction.put_policy(&other, policy_text(4).as_bytes(), 5).await.unwrap();
            let event = Event { kind: Kind::Admin, subject: "-".into(), code: None, detail: serde_json::json!({}) };
            transaction.commit(6, &event).await.unwrap();
            if put_back {
                execute(&store, "DELETE FROM policies WHERE id = 'a/b/other' AND version = 2").await;
                execute(&store, "INSERT OR REPLACE INTO meta SELECT * FROM kept").await;
            }
            let expected = put_back.then_some(Code::StoreTampered);
            let mut transaction = store.begin().await.unwrap();
            let version = transaction.policy(&other).await.unwrap().metadata.version;
            assert_eq!(version, if put_back { 1 } else { 2 }, "the set by itself authenticates");
            let put = transaction.put_policy(&other, policy_text(5).as_bytes(), 6).await;
            assert_eq!(put.err().map(|refusal| refusal.code), expected);
            drop(transaction);
            let recorded = store.begin().await.unwrap().commit(7, &event).await;
            assert_eq!(recorded.err().map(|refusal| refusal.code), expected);
            drop(store);
            assert_eq!(open(folder.path()).await.err().map(|refusal| refusal.code), expected);
        }
    }
}

//! What the master key authenticates beside the values of keys: each row of keys and policies, the set of all of them, and
//! the end of the audit log, its checkpoint, together with that set, so that none can be changed, put in, renamed, taken out or cut
//! off without it. All of the file put back to what it once was is not noticed here; nor is the log alone, back to no further than
//! the last change of a key or policy. Who remembers a checkpoint notices both.

use super::end::End;
use super::log::Keys;
use super::rows::{self, Rows};
use super::tables::{Name, Table};
use super::{Sql, Transaction, failed, log, meta};
use crate::master_key::MasterKey;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::Arc;
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
    /// Has the set of rows authenticated anew when this is committed: after every change to one of `table`.
    ///
    /// # Errors
    /// `internal`: the set was not verified before it was changed.
    pub(super) fn changed(&mut self, table: &Table) -> Result<()> {
        self.writing_rows().map(|rows| rows.change(table))
    }

    /// The same where the row with this id, of a table without versions, has another code now.
    ///
    /// # Errors
    /// As [`Self::changed`].
    pub(super) fn changed_row(&mut self, table: &Table, id: &str, mac: &[u8]) -> Result<()> {
        self.writing_rows().map(|rows| rows.change_row(table, id, mac))
    }

    fn writing_rows(&mut self) -> Result<&mut Rows> {
        let rows = self.sql.writing_mut()?.rows_mut().map(Arc::make_mut);
        rows.ok_or_else(|| Refusal::new(Code::Internal, "store: rows changed that were not verified"))
    }

    /// Authenticates the set of rows as it is now, and `last` as the end of the audit log, whatever was authenticated before.
    pub(super) async fn authenticate_all(&mut self, last: &SignedNote) -> Result<()> {
        let mac = self.master.mac(Rows::read(&mut self.sql).await?.content().bytes());
        log::authenticate(&mut self.sql, last, &mac, Keys { master: self.master, log: self.log }).await
    }

    /// Authenticates the empty set, which is what a new store holds, whatever this one holds.
    pub(super) async fn authenticate_nothing(&mut self) -> Result<Vec<u8>> {
        let mac = self.master.mac(rows::nothing().bytes());
        self.set_meta(ROWS, &mac).await.map(|()| mac)
    }

    /// Verifies the set of rows: before the first use of one. The rows themselves are verified as they are read.
    ///
    /// It is verified with the end of the log, which goes on from where it was seen last: by who writes not again where nobody else can
    /// have committed anything since, by who reads alone in its own transaction, once.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn verify_rows(&mut self) -> Result<()> {
        let sql = match &mut self.sql {
            Sql::Writing(writing) => return writing.verify_rows().await,
            Sql::Reading(_) if self.rows.is_some() => return Ok(()),
            Sql::Reading(sql) => sql,
        };
        let head = log::head(sql, Keys { master: self.master, log: self.log }).await?;
        // Of the last that is no later than what is seen here: others may have committed since this began.
        let last = self.documents.last.get().filter(|last| last.size <= head.checkpoint.size());
        let last = last.or_else(|| self.last.clone());
        if let Some(last) = &last {
            log::verify_goes_on(sql, Keys { master: self.master, log: self.log }, last, &head).await?;
        }
        let rows = Arc::new(Rows::read(sql).await?);
        verify(&rows, &head.rows, self.master)?;
        let log::Head { note, checkpoint, rows: code } = head;
        self.documents.last.keep(last.as_ref(), End::new(note, checkpoint.size(), code.clone()));
        self.documents.last.learn(&code, &rows);
        self.rows = Some(rows);
        Ok(())
    }

    /// The rows that there have to be: for who compares every row that it reads with them ([`verify_read`]). Who reads alone takes the
    /// set that was in force when it began, or is by now, where its code says so.
    ///
    /// # Errors
    /// As [`Self::verify_rows`].
    async fn rows(&mut self) -> Result<Option<Arc<Rows>>> {
        if let (Sql::Reading(sql), None) = (&mut self.sql, &self.rows) {
            if self.known.is_none() {
                let mac = meta(sql, ROWS).await?.ok_or_else(unauthenticated)?;
                let find = |last: Option<Arc<End>>| last.and_then(|last| last.rows_of(&mac));
                self.known = find(self.last.clone()).or_else(|| find(self.documents.last.get()));
            }
            if let Some(rows) = &self.known {
                return Ok(Some(Arc::clone(rows)));
            }
        }
        self.verify_rows().await?;
        Ok(match &mut self.sql {
            Sql::Writing(writing) => writing.rows_mut().cloned(),
            Sql::Reading(_) => self.rows.clone(),
        })
    }

    /// The rows that `table` has to have, by the set that was verified. `None`: this transaction itself changed some, and the database
    /// alone knows.
    ///
    /// # Errors
    /// As [`Self::verify_rows`].
    pub(super) async fn names(&mut self, table: &Table) -> Result<Option<Arc<Vec<Name>>>> {
        let rows = self.rows().await?;
        Ok(rows.and_then(|rows| rows.of(table).cloned()))
    }
}

/// Verifies that these are the rows that the master key authenticated.
///
/// # Errors
/// `store-tampered`.
pub(super) fn verify(rows: &Rows, mac: &[u8], master: &MasterKey) -> Result<()> {
    master.verify("store: the set of keys and policies", rows.content().bytes(), mac)
}

pub(super) fn unauthenticated() -> Refusal {
    Refusal::new(Code::StoreTampered, "store: keys and policies are not authenticated")
}

/// Verifies that the rows that were read of `table` are those that it has to have, by their codes, in whatever order. What was changed
/// in the same transaction (`None`) is what the transaction made of it.
///
/// # Errors
/// `store-tampered`; `store-failed`.
pub(super) fn verify_read<'a>(
    table: &Table,
    want: Option<impl Iterator<Item = &'a Name>>,
    got: &[AnyRow],
) -> Result<()> {
    let Some(want) = want else { return Ok(()) };
    let mut want: Vec<&[u8]> = want.map(|name| name.mac.as_slice()).collect();
    let got: sqlx::Result<Vec<Vec<u8>>> = got.iter().map(|row| row.try_get("mac")).collect();
    let mut got = got.map_err(failed(table.name))?;
    want.sort_unstable();
    got.sort_unstable();
    match want.into_iter().eq(got.iter().map(Vec::as_slice)) {
        true => Ok(()),
        false => Err(Refusal::new(Code::StoreTampered, format!("store: rows of `{}` changed behind it", table.name))),
    }
}

#[cfg(test)]
mod tests {
    use crate::audit::{Event, Kind};
    use crate::store::policies::tests::policy_text;
    use crate::store::schema::tests::{put_back, take_triggers};
    use crate::store::{Database, Store, StoredPolicy};
    use std::path::Path;
    use std::sync::Arc;
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
        transaction.commit_in_test().await.unwrap();
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
            let version = |stored: Result<Arc<StoredPolicy>>| stored.map(|stored| stored.metadata.version);
            let alone = version(store.begin_reading().await.unwrap().policy(&other).await);
            assert_eq!(alone.as_ref().ok(), (!put_back).then_some(&2));
            assert_eq!(alone.err().map(|refusal| refusal.code), expected);
            let mut transaction = store.begin().await.unwrap();
            let read = version(transaction.policy(&other).await);
            assert_eq!(read.err().map(|refusal| refusal.code), expected);
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

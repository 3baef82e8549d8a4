//! The memory of the newest revocation lists that were seen: an older one is refused, across restarts too.

use super::authentic::{Content, verify_read};
use super::tables::{Rewrapped, Table};
use super::{Store, Transaction, failed, from_integer, to_integer};
use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::master_key::MasterKey;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use strongroom_appraisal::{Seen, SeenKind};
use strongroom_wire::{Code, Refusal, Result};

pub(super) const TABLE: Table = Table {
    name: "seen",
    key: &["kind", "subject"],
    names: "SELECT kind, subject, number, mac FROM seen ORDER BY kind, subject",
    rewrap: |row, old, new| {
        let (kind, subject, number) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(kind, &subject, number).bytes()), sealed: None })
    },
};

impl Store {
    /// Holds something against the memory, and keeps durably, with an entry of the log, what `compare` raised in it, whatever it says.
    /// `compare` may be asked twice: at first of what was committed last, so that the usual case, in which nothing is new, waits for
    /// nobody.
    ///
    /// # Errors
    /// Those of `compare`; `store-failed`; `store-tampered`.
    pub(crate) async fn compare(&self, clock: &Clock, compare: impl Fn(&mut Seen) -> Result<()>) -> Result<()> {
        let before = self.begin_reading().await?.seen().await?;
        let mut raised = before.clone();
        let outcome = compare(&mut raised);
        if raised == before {
            return outcome;
        }
        let mut transaction = self.begin().await?;
        let before = transaction.seen().await?;
        let mut raised = before.clone();
        let outcome = compare(&mut raised);
        let newest = transaction.put_seen(&before, &raised).await?;
        // Another may have brought the same meanwhile.
        if !newest.is_empty() {
            let detail = json!({ "seen": newest });
            let event = Event { kind: Kind::Endorsements, subject: "newest".to_owned(), code: None, detail };
            transaction.commit(clock.now(), &event).await?;
        }
        outcome
    }
}

impl Transaction<'_> {
    /// All of the memory.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn seen(&mut self) -> Result<Seen> {
        let names = self.names(&TABLE).await?;
        if let Some(seen) = self.documents.seen.get(names.as_ref()) {
            return Ok(Seen::clone(&seen));
        }
        let rows = sqlx::query("SELECT kind, subject, number, mac FROM seen").fetch_all(&mut *self.sql).await;
        let rows = rows.map_err(failed("seen"))?;
        verify_read(&TABLE, names.as_ref().map(|names| names.iter()), &rows)?;
        let mut seen = Seen::default();
        for row in &rows {
            let (kind, subject, number) = authentic(row, self.master)?;
            seen.check_and_raise(kind, &subject, number)?;
        }
        Ok(Seen::clone(&self.documents.seen.put(names, seen)))
    }

    /// Says what of it is new.
    async fn put_seen(&mut self, before: &Seen, raised: &Seen) -> Result<Vec<Value>> {
        let mut newest = Vec::new();
        let insert = "INSERT INTO seen (kind, subject, number, mac) VALUES ($1, $2, $3, $4)
             ON CONFLICT (kind, subject) DO UPDATE SET number = excluded.number, mac = excluded.mac";
        for (kind, subject, number) in raised.iter() {
            // Beyond what SQLite counts to, all are as new.
            let number = number.min(i64::MAX.unsigned_abs());
            if before.highest(kind, subject) == Some(number) {
                continue;
            }
            let insert = sqlx::query(insert).bind(kind.as_str()).bind(subject).bind(to_integer(number)?);
            let insert = insert.bind(self.master.mac(content(kind, subject, number).bytes()));
            insert.execute(&mut *self.sql).await.map_err(failed("seen"))?;
            newest.push(json!({ "kind": kind, "subject": subject, "number": number }));
        }
        if !newest.is_empty() {
            self.changed(&TABLE)?;
        }
        Ok(newest)
    }
}

/// What a row is authenticated by.
fn content(kind: SeenKind, subject: &str, number: u64) -> Content {
    Content::of("strongroom/stored-seen-row/v1")
        .field(kind.as_str().as_bytes())
        .field(subject.as_bytes())
        .number(number)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(SeenKind, String, u64)> {
    let error = failed("seen");
    let kind: String = row.try_get("kind").map_err(&error)?;
    let subject: String = row.try_get("subject").map_err(&error)?;
    let number = from_integer(row.try_get("number").map_err(&error)?)?;
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let kind: SeenKind = serde_json::from_value(Value::String(kind))
        .map_err(|error| Refusal::new(Code::StoreTampered, "stored memory of what was seen").because(error))?;
    master.verify("stored memory of what was seen", content(kind, &subject, number).bytes(), &mac)?;
    Ok((kind, subject, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use crate::store::schema::tests::{put_back, take_triggers};
    use sqlx::AssertSqlSafe;
    use std::path::Path;
    use strongroom_wire::Realm;

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
    }

    async fn raise(store: &Store, subject: &'static str, number: u64) -> Option<Code> {
        let raise = |seen: &mut Seen| seen.check_and_raise(SeenKind::CrlNumber, subject, number);
        let outcome = store.compare(&Clock::of(|| 6), raise).await;
        outcome.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn newest_is_remembered_across_restarts_by_subject() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        assert_eq!([raise(&store, "amd/Milan", 7).await, raise(&store, "amd/Genoa", 3).await], [None, None]);
        drop(store);
        let store = open(folder.path()).await.unwrap();
        let back = Some(Code::CollateralRolledBack);
        assert_eq!([raise(&store, "amd/Milan", 6).await, raise(&store, "amd/Milan", 8).await], [back, None]);
        assert_eq!([raise(&store, "amd/Milan", 7).await, raise(&store, "amd/Genoa", 3).await], [back, None]);
    }

    #[tokio::test]
    async fn number_beyond_what_is_kept_counts_as_the_highest_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let highest = i64::MAX.unsigned_abs();
        assert_eq!([raise(&store, "amd/Milan", u64::MAX).await, raise(&store, "amd/Milan", highest).await], [None; 2]);
        assert_eq!(raise(&store, "amd/Milan", highest - 1).await, Some(Code::CollateralRolledBack));
    }

    #[tokio::test]
    async fn what_was_raised_is_kept_though_the_comparison_ends_in_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let compare = |seen: &mut Seen| {
            seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", 7)?;
            seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", 6)
        };
        let outcome = store.compare(&Clock::of(|| 6), compare).await;
        assert_eq!(outcome.unwrap_err().code, Code::CollateralRolledBack);
        assert_eq!(raise(&store, "amd/Milan", 6).await, Some(Code::CollateralRolledBack));
    }

    #[tokio::test]
    async fn memory_that_was_lowered_renamed_or_emptied_behind_the_store_s_back_is_noticed() {
        for (statement, tampered) in [
            ("SELECT 1", false),
            ("UPDATE seen SET number = 9", true),
            ("UPDATE seen SET subject = 'amd/Genoa'", true),
            ("UPDATE seen SET kind = 'other'", true),
            ("DELETE FROM seen", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await.unwrap();
            assert_eq!(raise(&store, "amd/Milan", 7).await, None);
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            let code = tampered.then_some(Code::StoreTampered);
            assert_eq!(raise(&store, "amd/Milan", 8).await, code, "{statement}");
            drop(store);
            assert_eq!(open(folder.path()).await.err().map(|refusal| refusal.code), code, "{statement}");
        }
        // It only grows, whoever writes.
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        assert_eq!(raise(&store, "amd/Milan", 7).await, None);
        assert!(sqlx::query("UPDATE seen SET number = 6").execute(&store.pool).await.is_err());
    }

    #[tokio::test]
    async fn memory_put_back_with_all_that_authenticated_it_is_noticed_while_it_is_open() {
        for is_put_back in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await.unwrap();
            assert_eq!(raise(&store, "amd/Milan", 7).await, None);
            for table in ["seen", "meta", "tiles", "leaves"] {
                let copy = AssertSqlSafe(format!("CREATE TEMP TABLE old_{table} AS SELECT * FROM {table}"));
                sqlx::query(copy).execute(&store.pool).await.unwrap();
            }
            assert_eq!(raise(&store, "amd/Milan", 8).await, None);
            if is_put_back {
                let triggers = take_triggers(&store).await;
                for table in ["seen", "meta", "tiles", "leaves"] {
                    let old = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old_{table}");
                    sqlx::raw_sql(AssertSqlSafe(old)).execute(&store.pool).await.unwrap();
                }
                put_back(&store, triggers).await;
            }
            let code = if is_put_back { Code::StoreTampered } else { Code::CollateralRolledBack };
            assert_eq!(raise(&store, "amd/Milan", 7).await, Some(code), "who reads alone");
            let writing = store.begin().await.unwrap().seen().await;
            assert_eq!(writing.err().map(|refusal| refusal.code), is_put_back.then_some(Code::StoreTampered));
        }
    }

    #[tokio::test]
    async fn what_is_newer_is_in_the_log_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        for (number, entries) in [(7, 1), (7, 1), (6, 1), (8, 2)] {
            raise(&store, "amd/Milan", number).await;
            let log = store.begin_reading().await.unwrap().audit(0, 10, Some("endorsements")).await.unwrap();
            assert_eq!(log.len(), entries, "{number}");
            let seen = json!([{ "kind": "crl-number", "subject": "amd/Milan", "number": number.max(7) }]);
            assert_eq!((log[entries - 1].detail["seen"].clone(), log[entries - 1].time), (seen, 6));
        }
    }
}

//! The audit log in the store.

use super::{Store, Transaction, failed, from_integer, to_integer};
use crate::audit::Event;
use crate::clock::Clock;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::audit::{Link, Row, verify_chain};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Rows that are read at a time when the log is verified.
const PAGE: u64 = 1000;

/// Proof that a decision is on disk. Only [`Transaction::commit`] makes one, and without one no key leaves the store.
#[derive(Debug)]
pub(crate) struct Recorded {
    seq: u64,
}

impl Recorded {
    /// The number of its row.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }
}

impl Store {
    /// Records a decision that changes nothing else, at the time that it is when it is its turn.
    ///
    /// # Errors
    /// `store-failed`: nothing was recorded.
    pub(crate) async fn record(&self, clock: &Clock, event: &Event) -> Result<Recorded> {
        let transaction = self.begin().await?;
        transaction.commit(clock.now(), event).await
    }
}

impl Transaction<'_> {
    /// Appends a decision and returns once it, and everything that this transaction changed, is durable. `time` was read
    /// after the transaction began.
    ///
    /// # Errors
    /// `store-failed`: nothing was appended and nothing changed.
    pub(crate) async fn commit(mut self, time: UnixTime, event: &Event) -> Result<Recorded> {
        let error = failed("audit");
        let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1");
        let last = match last.fetch_optional(&mut *self.sql).await.map_err(&error)? {
            Some(row) => Link { seq: from_integer(row.try_get("seq").map_err(&error)?)?, hash: hash(&row, "hash")? },
            None => Link::START,
        };
        let row = event.row(last, time);
        let insert = "INSERT INTO audit (seq, time, kind, subject, code, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(to_integer(row.seq)?)
            .bind(to_integer(row.time)?)
            .bind(&row.kind)
            .bind(&row.subject)
            .bind(&row.code)
            .bind(&row.detail)
            .bind(row.previous.0.as_slice())
            .bind(row.hash.0.as_slice())
            .execute(&mut *self.sql)
            .await
            .map_err(&error)?;
        self.sql.commit().await.map_err(&error)?;
        Ok(Recorded { seq: row.seq })
    }

    /// At most `limit` rows after number `after`, in order.
    pub(crate) async fn audit(&mut self, after: u64, limit: u64) -> Result<Vec<Row>> {
        let select = "SELECT seq, time, kind, subject, code, detail, previous, hash FROM audit
             WHERE seq > ? ORDER BY seq LIMIT ?";
        let select = sqlx::query(select).bind(to_integer(after)?).bind(to_integer(limit)?);
        select.fetch_all(&mut *self.sql).await.map_err(failed("audit"))?.iter().map(row).collect()
    }

    pub(super) async fn verify_audit(&mut self) -> Result<()> {
        let mut last = Link::START;
        loop {
            let rows = self.audit(last.seq, PAGE).await?;
            if rows.is_empty() {
                return Ok(());
            }
            last = verify_chain(&rows, last)?;
        }
    }
}

fn row(row: &SqliteRow) -> Result<Row> {
    let error = failed("audit");
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&error);
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(&error).and_then(from_integer);
    Ok(Row {
        seq: number("seq")?,
        time: number("time")?,
        kind: text("kind")?,
        subject: text("subject")?,
        code: text("code")?,
        detail: text("detail")?,
        previous: hash(row, "previous")?,
        hash: hash(row, "hash")?,
    })
}

fn hash(row: &SqliteRow, name: &str) -> Result<Sha256> {
    let bytes: Vec<u8> = row.try_get(name).map_err(failed("audit"))?;
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| Refusal::new(Code::StoreFailed, "audit hash").want("32 bytes"))?;
    Ok(Sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;
    use std::path::Path;
    use strongroom_wire::Realm;

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(&folder.join("verifier.sqlite"), &folder.join("master"), Realm::Vendor).await
    }

    fn at(now: u64) -> Clock {
        Clock::of(move || now)
    }

    async fn rows(store: &Store, after: u64, limit: u64) -> Vec<Row> {
        store.begin().await.unwrap().audit(after, limit).await.unwrap()
    }

    fn event(n: u64) -> Event {
        Event { kind: Kind::Admin, subject: format!("call {n}"), code: None, detail: serde_json::json!({ "n": n }) }
    }

    #[tokio::test]
    async fn rows_are_numbered_chained_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        for n in 1..=20 {
            assert_eq!(store.record(&at(100 + n), &event(n)).await.unwrap().seq(), n);
        }
        verify_chain(&rows(&store, 0, 100).await, Link::START).unwrap();
        let page = rows(&store, 5, 3).await;
        assert_eq!(page.iter().map(|row| row.seq).collect::<Vec<_>>(), [6, 7, 8]);
        drop(store);
        assert_eq!(rows(&open(folder.path()).await.unwrap(), 0, 100).await.len(), 20);
    }

    #[tokio::test]
    async fn rows_can_neither_be_changed_nor_deleted_and_a_forced_change_is_noticed_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        for n in 1..=3 {
            store.record(&at(n), &event(n)).await.unwrap();
        }
        for statement in ["UPDATE audit SET code = 'x' WHERE seq = 2", "DELETE FROM audit WHERE seq = 3"] {
            let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
            assert!(refused.to_string().contains("append-only"), "{refused}");
        }
        sqlx::query("DROP TRIGGER audit_is_append_only_update").execute(&store.pool).await.unwrap();
        sqlx::query("UPDATE audit SET subject = 'x' WHERE seq = 2").execute(&store.pool).await.unwrap();
        drop(store);
        assert_eq!(open(folder.path()).await.unwrap_err().code, Code::StoreTampered);
    }
}

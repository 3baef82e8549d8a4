//! The audit log in the store.

use super::{Store, failed, from_integer, to_integer};
use crate::audit::{Event, Row};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Rows that are read at a time when the log is verified.
const PAGE: u64 = 1000;

/// Proof that a decision is on disk. Only [`Store::record`] makes one, and without one no key leaves the store.
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
    /// Appends a decision and returns once it is durable.
    ///
    /// # Errors
    /// `store-failed`: nothing was appended.
    pub(crate) async fn record(&self, time: UnixTime, event: &Event) -> Result<Recorded> {
        let error = failed("audit");
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(&error)?;
        let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1");
        let last = last.fetch_optional(&mut *transaction).await.map_err(&error)?;
        let last = match last {
            Some(row) => Some((from_integer(row.try_get("seq").map_err(&error)?)?, hash(&row, "hash")?)),
            None => None,
        };
        let row = Row::after(last, time, event);
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
            .execute(&mut *transaction)
            .await
            .map_err(&error)?;
        transaction.commit().await.map_err(&error)?;
        Ok(Recorded { seq: row.seq })
    }

    /// At most `limit` rows after number `after`, in order.
    pub(crate) async fn audit(&self, after: u64, limit: u64) -> Result<Vec<Row>> {
        let select = "SELECT seq, time, kind, subject, code, detail, previous, hash FROM audit
             WHERE seq > ? ORDER BY seq LIMIT ?";
        let select = sqlx::query(select).bind(to_integer(after)?).bind(to_integer(limit)?);
        select.fetch_all(&self.pool).await.map_err(failed("audit"))?.iter().map(row).collect()
    }

    pub(super) async fn verify_audit(&self) -> Result<()> {
        let mut last = None;
        loop {
            let rows = self.audit(last.map_or(0, |(seq, _)| seq), PAGE).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                last = Some(row.verify_after(last)?);
            }
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
    use crate::audit::{Kind, verify_chain};
    use std::path::Path;
    use strongroom_wire::Realm;

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(&folder.join("verifier.sqlite"), &folder.join("master"), Realm::Vendor).await
    }

    fn event(n: u64) -> Event {
        Event { kind: Kind::Admin, subject: format!("call {n}"), code: None, detail: serde_json::json!({ "n": n }) }
    }

    #[tokio::test]
    async fn rows_are_numbered_chained_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        for n in 1..=20 {
            assert_eq!(store.record(100 + n, &event(n)).await.unwrap().seq(), n);
        }
        verify_chain(&store.audit(0, 100).await.unwrap()).unwrap();
        let page = store.audit(5, 3).await.unwrap();
        assert_eq!(page.iter().map(|row| row.seq).collect::<Vec<_>>(), [6, 7, 8]);
        drop(store);
        assert_eq!(open(folder.path()).await.unwrap().audit(0, 100).await.unwrap().len(), 20);
    }

    #[tokio::test]
    async fn rows_can_neither_be_changed_nor_deleted_and_a_forced_change_is_noticed_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        for n in 1..=3 {
            store.record(n, &event(n)).await.unwrap();
        }
        for statement in ["UPDATE audit SET code = 'x' WHERE seq = 2", "DELETE FROM audit WHERE seq = 3"] {
            let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
            assert!(refused.to_string().contains("append-only"), "{refused}");
        }
        sqlx::query("DROP TRIGGER audit_is_append_only_update").execute(&store.pool).await.unwrap();
        sqlx::query("UPDATE audit SET subject = 'x' WHERE seq = 2").execute(&store.pool).await.unwrap();
        drop(store);
        assert_eq!(open(folder.path()).await.unwrap_err().code, Code::StoreFailed);
    }
}

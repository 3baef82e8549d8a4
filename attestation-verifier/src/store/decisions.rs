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
    /// `store-failed`, `store-tampered`: nothing was recorded.
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
    /// `store-failed`: nothing was appended and nothing changed; `store-tampered`: nor was it, since the log does not end
    /// where it did.
    pub(crate) async fn commit(mut self, time: UnixTime, event: &Event) -> Result<Recorded> {
        let error = failed("audit");
        let last = self.last().await?;
        self.verify_head(last).await?;
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
        self.authenticate_head(Link { seq: row.seq, hash: row.hash }).await?;
        self.sql.commit().await.map_err(&error)?;
        Ok(Recorded { seq: row.seq })
    }

    /// The place of the last row, as the table says.
    pub(super) async fn last(&mut self) -> Result<Link> {
        let error = failed("audit");
        let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1");
        match last.fetch_optional(&mut *self.sql).await.map_err(&error)? {
            Some(row) => {
                Ok(Link { seq: from_integer(row.try_get("seq").map_err(&error)?)?, hash: hash(&row, "hash")? })
            }
            None => Ok(Link::START),
        }
    }

    /// At most `limit` rows after number `after`, in order.
    pub(crate) async fn audit(&mut self, after: u64, limit: u64) -> Result<Vec<Row>> {
        let select = "SELECT seq, time, kind, subject, code, detail, previous, hash FROM audit
             WHERE seq > ? ORDER BY seq LIMIT ?";
        let select = sqlx::query(select).bind(to_integer(after)?).bind(to_integer(limit)?);
        select.fetch_all(&mut *self.sql).await.map_err(failed("audit"))?.iter().map(row).collect()
    }

    /// Verifies all of the log: its chain, and that it ends where it was authenticated to end.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn verify_audit(&mut self) -> Result<()> {
        let mut last = Link::START;
        loop {
            let rows = self.audit(last.seq, PAGE).await?;
            if rows.is_empty() {
                return self.verify_head(last).await;
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
    use crate::store::schema::tests::{put_back, take_triggers};
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
        let triggers = take_triggers(&store).await;
        sqlx::query("UPDATE audit SET subject = 'x' WHERE seq = 2").execute(&store.pool).await.unwrap();
        put_back(&store, triggers).await;
        drop(store);
        assert_eq!(open(folder.path()).await.unwrap_err().code, Code::StoreTampered);
    }

    /// Hashes the log again from the row of this number on, so that its chain holds.
    async fn chain_again(store: &Store, from: u64) {
        let mut last = Link::START;
        let rows = rows(store, 0, 100).await;
        let triggers = take_triggers(store).await;
        for mut row in rows {
            if row.seq >= from {
                row.previous = last.hash;
                row.hash = row.compute_hash();
                let update = sqlx::query("UPDATE audit SET previous = ?, hash = ? WHERE seq = ?");
                let update = update.bind(row.previous.0.to_vec()).bind(row.hash.0.to_vec());
                update.bind(to_integer(row.seq).unwrap()).execute(&store.pool).await.unwrap();
            }
            last = row.verify_after(last).unwrap();
        }
        put_back(store, triggers).await;
    }

    #[tokio::test]
    async fn log_rewritten_prolonged_or_cut_off_with_its_chain_whole_is_noticed_at_the_next_row_and_at_start() {
        for (statement, tampered) in [
            ("SELECT 1", false),
            ("UPDATE audit SET subject = 'x' WHERE seq = 1", true),
            ("UPDATE audit SET code = 'x' WHERE seq = 3", true),
            ("DELETE FROM audit WHERE seq = 3", true),
            ("DELETE FROM audit", true),
            (
                "INSERT INTO audit SELECT 4, time, kind, subject, code, detail, hash, hash FROM audit WHERE seq = 3",
                true,
            ),
            ("DELETE FROM meta WHERE name = 'audit-head'", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await.unwrap();
            for n in 1..=3 {
                store.record(&at(n), &event(n)).await.unwrap();
            }
            let triggers = take_triggers(&store).await;
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            put_back(&store, triggers).await;
            chain_again(&store, 1).await;
            let before = rows(&store, 0, 100).await.len();
            let expected = tampered.then_some(Code::StoreTampered);
            let recorded = store.record(&at(4), &event(4)).await;
            assert_eq!(recorded.err().map(|refusal| refusal.code), expected, "{statement}");
            assert_eq!(rows(&store, 0, 100).await.len() > before, !tampered, "{statement}");
            drop(store);
            assert_eq!(open(folder.path()).await.err().map(|refusal| refusal.code), expected, "{statement}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_has_no_effect() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let id = strongroom_wire::kbs::ResourcePath::parse("a/b/c").unwrap();
        for full in [true, false] {
            if full {
                // Of this connection alone: nothing of it is in the file.
                let trigger =
                    "CREATE TEMP TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk full'); END";
                store.execute(trigger).await;
            } else {
                store.execute("DROP TRIGGER full").await;
            }
            let mut transaction = store.begin().await.unwrap();
            transaction.put_key(&id, b"value", 5).await.unwrap();
            let recorded = transaction.commit(6, &event(1)).await;
            assert_eq!(recorded.err().map(|refusal| refusal.code), full.then_some(Code::StoreFailed));
            assert_eq!(store.begin().await.unwrap().keys().await.unwrap().is_empty(), full);
        }
    }
}

//! Everything that hangs on the master key, under another one, in one transaction: a crash leaves all of it under the one key
//! or all of it under the other.

use super::authentic::{HEAD, ROWS};
use super::authorities::AUTHORITIES;
use super::identity::IDENTITY;
use super::log::{self, CHECKPOINT};
use super::log_key::{self, LOG_KEY};
use super::rows;
use super::tables::{APART, Datum, Name, Rewrapped, TABLES, Table};
use super::witnessed::WITNESSED;
use super::{Recorded, STAMP, Sql, Store, Transaction, failed};
use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::master_key::MasterKey;
use serde_json::{Map, Value, json};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row as _};
use strongroom_wire::{Code, Refusal, Result};

impl Store {
    /// Puts everything under `new`; this store is then of no use any more.
    ///
    /// # Errors
    /// `store-tampered`: a row, or which rows there are, or the end of the audit log, is not as it was left; `store-failed`: the
    /// database, or an entry that this program does not know. Nothing was changed, except where [`Self::clean`] says so.
    pub(crate) async fn rewrap(self, new: &MasterKey, clock: &Clock) -> Result<Recorded> {
        let recorded = self.begin().await?.rewrap(new, clock).await?;
        self.clean().await?;
        Ok(recorded)
    }

    /// Takes out of the files what is in no row any more: out of the pages of the database, which are all written anew, and then
    /// out of the write-ahead log, which is emptied.
    ///
    /// # Errors
    /// `store-failed`: the store is under its new key, and what was encrypted under the old one may be in its files still.
    pub(crate) async fn clean(&self) -> Result<()> {
        let left = || {
            Refusal::new(Code::StoreFailed, "store: under the new master key, but old values may be left in its files")
                .want("run again")
        };
        for statement in self.database.rewriting() {
            sqlx::query(*statement).execute(&self.pool).await.map_err(|e| left().because(e))?;
        }
        match self.truncate().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(left().because("something else reads it")),
            Err(e) => Err(left().because(e)),
        }
    }

    /// Takes out of the files what a transaction took out of a row: its page was overwritten, and is in the write-ahead log as it
    /// was. Where somebody reads that log, it stays there until the next time.
    pub(crate) async fn forget_erased(&self) {
        let why = match self.truncate().await {
            Ok(true) => return,
            Ok(false) => "something else reads it".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(why, "an erased value stays in the store's write-ahead log");
    }

    /// Empties the write-ahead log, unless something else reads it.
    async fn truncate(&self) -> sqlx::Result<bool> {
        let Some(checkpoint) = self.database.emptying() else { return Ok(true) };
        sqlx::query_scalar(checkpoint).fetch_one(&self.pool).await.map(|busy: i64| busy == 0)
    }
}

impl Transaction<'_> {
    /// 1. Refuse entries that nobody here knows: they may hang on the old key. Tables are those of the migrations.
    /// 2. Verify the set of rows and the end of the log under the old key.
    /// 3. Carry over the rows, each verified and opened under the old key; then read each back under the new.
    /// 4. The same for the stamp, the log's key, a shared identity, the authorities, the set and the end of the log. Sessions end.
    /// 5. Append to the log, and commit.
    async fn rewrap(mut self, new: &MasterKey, clock: &Clock) -> Result<Recorded> {
        // 1.
        self.verify_known().await?;
        // 2.
        self.verify_rows().await?;
        let keys = log::Keys { master: self.master, log: self.log };
        let log::Head { note: last, .. } = log::head(&mut self.sql, keys).await?;
        let stamp = self.master.open(STAMP, &self.sealed_stamp().await?)?;
        let log_key = self.meta(LOG_KEY).await?.unwrap_or_default();
        let log_key = log_key::open(&log_key, self.master)?;
        let authorities = self.meta(AUTHORITIES).await?;
        let authorities = authorities.map(|sealed| self.master.open(AUTHORITIES, &sealed)).transpose()?;
        // 3.
        let mut counts = Map::new();
        for table in TABLES.iter().chain(&APART) {
            let rows = self.rewrap_rows(table, new).await?;
            counts.insert(table.name.to_owned(), json!(rows));
        }
        // 4.
        let old = self.master;
        let mut renewed = Transaction { master: new, ..self };
        if let Sql::Writing(writing) = &mut renewed.sql {
            writing.under(new);
        }
        renewed.set_meta(STAMP, &new.seal(STAMP, &stamp)?).await?;
        renewed.set_meta(LOG_KEY, &new.seal(LOG_KEY, log_key.as_ref())?).await?;
        if let Some(authorities) = authorities {
            renewed.set_meta(AUTHORITIES, &new.seal(AUTHORITIES, &authorities)?).await?;
        }
        renewed.authenticate_all(&last).await?;
        renewed.rewrap_identity(old, new).await?;
        renewed.end_sessions().await?;
        // 5.
        let detail = Value::Object(counts);
        let event = Event { kind: Kind::Admin, subject: "rewrap under another master key".into(), code: None, detail };
        renewed.commit(clock.now(), &event).await
    }

    async fn verify_known(&mut self) -> Result<()> {
        let known = [STAMP, ROWS, HEAD, CHECKPOINT, LOG_KEY, WITNESSED, IDENTITY, AUTHORITIES];
        let rows = sqlx::query("SELECT name FROM meta").fetch_all(&mut *self.sql).await.map_err(failed("rewrap"))?;
        for row in rows {
            let name: String = row.try_get(0).map_err(failed("rewrap"))?;
            if !known.contains(&name.as_str()) {
                let unknown = Refusal::new(Code::StoreFailed, "store: entry of `meta`");
                return Err(unknown.got(name).want(known.join(", ")));
            }
        }
        Ok(())
    }

    /// Gives how many there are.
    async fn rewrap_rows(&mut self, table: &Table, new: &MasterKey) -> Result<usize> {
        let (names, keys) = (rows::names(&mut self.sql, table).await?, self.primary_keys(table).await?);
        for key in &keys {
            let row = self.row(table, key).await?;
            let renewed = (table.rewrap)(&row, self.master, new)?;
            self.renew(table, key, renewed).await?;
        }
        for key in &keys {
            (table.rewrap)(&self.row(table, key).await?, new, new)?;
        }
        let of = |names: &[Name]| names.iter().map(|n| (n.id.clone(), n.version)).collect::<Vec<_>>();
        if of(&names) != of(&rows::names(&mut self.sql, table).await?) || names.len() != keys.len() {
            return Err(Refusal::new(Code::Internal, format!("rows of `{}` lost on the way", table.name)));
        }
        Ok(names.len())
    }

    /// The primary keys of all rows.
    async fn primary_keys(&mut self, table: &Table) -> Result<Vec<Vec<Datum>>> {
        let error = failed(table.name);
        let select = AssertSqlSafe(format!("SELECT {} FROM {}", table.key.join(", "), table.name));
        let rows = sqlx::query(select).fetch_all(&mut *self.sql).await.map_err(&error)?;
        let key = |row: &AnyRow| (0..table.key.len()).map(|at| Datum::of(row, at)).collect();
        rows.iter().map(key).collect::<sqlx::Result<_>>().map_err(&error)
    }

    async fn row(&mut self, table: &Table, key: &[Datum]) -> Result<AnyRow> {
        let select = AssertSqlSafe(format!("SELECT * FROM {} WHERE {}", table.name, is(table, 1)));
        bind(sqlx::query(select), key).fetch_one(&mut *self.sql).await.map_err(failed(table.name))
    }

    /// Puts what a row has under another key into it.
    async fn renew(&mut self, table: &Table, key: &[Datum], renewed: Rewrapped) -> Result<()> {
        let Rewrapped { mac, sealed } = renewed;
        let sets = if sealed.is_some() { "mac = $1, sealed = $2" } else { "mac = $1" };
        let first = if sealed.is_some() { 3 } else { 2 };
        let update = AssertSqlSafe(format!("UPDATE {} SET {sets} WHERE {}", table.name, is(table, first)));
        let update = sealed.into_iter().fold(sqlx::query(update).bind(mac), |update, sealed| update.bind(sealed));
        bind(update, key).execute(&mut *self.sql).await.map(drop).map_err(failed(table.name))
    }
}

/// That a row has the primary key in the parameters from number `first` on.
fn is(table: &Table, first: usize) -> String {
    let equal = |(at, column): (usize, &&str)| format!("{column} = ${}", first.saturating_add(at));
    table.key.iter().enumerate().map(equal).collect::<Vec<_>>().join(" AND ")
}

fn bind<'q>(query: Query<'q, Any, AnyArguments>, values: &[Datum]) -> Query<'q, Any, AnyArguments> {
    values.iter().fold(query, |query, value| match value {
        Datum::Number(number) => query.bind(*number),
        Datum::Text(text) => query.bind(text.clone()),
        Datum::Bytes(bytes) => query.bind(bytes.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_file;
    use crate::store::Database;
    use crate::store::policies::tests::policy_text;
    use std::path::Path;
    use strongroom_wire::Realm;
    use strongroom_wire::kbs::ResourcePath;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];
    const PLANTED: &str =
        "CREATE TRIGGER planted AFTER INSERT ON keys BEGIN DELETE FROM policies WHERE version = 2; END";

    fn key(bytes: [u8; 32]) -> MasterKey {
        MasterKey::from_file_bytes(&bytes).unwrap()
    }

    async fn open(folder: &Path, bytes: [u8; 32]) -> Result<Store> {
        Store::open_under(Database::sqlite(&folder.join("verifier.sqlite")), key(bytes), Realm::Vendor).await
    }

    fn clock() -> Clock {
        Clock::of(|| 9)
    }

    fn id(text: &str) -> ResourcePath {
        ResourcePath::parse(text).unwrap()
    }

    /// A store under [`OLD`] with keys, one of them disabled, and policies in several versions.
    async fn filled(folder: &Path) -> Store {
        private_file::create(&folder.join("master"), &OLD).unwrap();
        let path = folder.join("verifier.sqlite");
        private_file::create(&path, b"").unwrap();
        let store = Store::open(Database::sqlite(&path), &folder.join("master"), Realm::Vendor).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        for n in 0..150_u8 {
            transaction.put_key(&id(&format!("a/b/{n}")), &[n; 32], 5).await.unwrap();
        }
        transaction.disable_key(&id("a/b/7")).await.unwrap();
        for first in [1, 2] {
            transaction.put_policy(&id("a/b/1"), policy_text(first).as_bytes(), 5).await.unwrap();
        }
        let event = Event { kind: Kind::Admin, subject: "-".into(), code: None, detail: json!({}) };
        transaction.commit(6, &event).await.unwrap();
        store
    }

    /// Everything that is to stay as it is, and the length of the log.
    async fn content(store: &Store) -> (Vec<(String, &'static str, u64, Vec<u8>)>, Vec<(String, u64, Vec<u8>)>, usize) {
        let mut transaction = store.begin().await.unwrap();
        let mut keys = Vec::new();
        for metadata in transaction.keys().await.unwrap() {
            let stored = transaction.key(&id(&metadata.id)).await.unwrap();
            let value = store.open_key(&stored).unwrap().to_vec();
            keys.push((metadata.id, metadata.state.as_str(), metadata.created, value));
        }
        let policies = transaction.policies().await.unwrap();
        let policies = policies.iter().map(|one| (one.metadata.id.clone(), one.metadata.version, one.toml.clone()));
        let policies = policies.collect();
        (keys, policies, transaction.audit(0, 100, None).await.unwrap().len())
    }

    async fn code(folder: &Path, bytes: [u8; 32]) -> Option<Code> {
        open(folder, bytes).await.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn store_is_the_same_under_the_new_key_and_opens_with_the_old_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let (keys, policies, rows) = content(&store).await;
        assert_eq!(store.rewrap(&key(NEW), &clock()).await.unwrap().seq(), 2);
        assert_eq!(code(folder.path(), OLD).await, Some(Code::KeyInvalid));
        let store = open(folder.path(), NEW).await.unwrap();
        assert_eq!(content(&store).await, (keys, policies, rows + 1), "and one row of the log says so");
        // Still immutable, still disabled, and as good as new.
        assert!(sqlx::query("UPDATE keys SET created = 1").execute(&store.pool).await.is_err());
        let mut transaction = store.begin().await.unwrap();
        transaction.put_key(&id("a/b/new"), b"value", 9).await.unwrap();
        assert_eq!(transaction.put_key(&id("a/b/1"), b"other", 9).await.unwrap_err().code, Code::KeyExists);
    }

    #[tokio::test]
    async fn nothing_that_was_encrypted_under_the_old_key_is_left_in_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let rows = sqlx::query("SELECT sealed FROM keys").fetch_all(&store.pool).await.unwrap();
        let old: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
        let found = || {
            let files = std::fs::read_dir(folder.path()).unwrap();
            let files: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
            let is_in = |value: &&Vec<u8>| files.iter().any(|f| f.windows(16).any(|w| w == &value[12..28]));
            old.iter().filter(is_in).count()
        };
        assert_eq!(found(), 150);
        store.rewrap(&key(NEW), &clock()).await.unwrap();
        assert_eq!(found(), 0);
    }

    #[tokio::test]
    async fn what_an_interrupted_run_left_is_cleaned_by_the_next_and_who_reads_the_store_keeps_it_from_that() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let path = folder.path().join("verifier.sqlite");
        let rows = sqlx::query("SELECT sealed FROM keys").fetch_all(&store.pool).await.unwrap();
        let old: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
        store.begin().await.unwrap().rewrap(&key(NEW), &clock()).await.unwrap();
        drop(store);

        let store = open(folder.path(), NEW).await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 1").execute(&store.pool).await.unwrap();
        let reader = Store::open_under(Database::sqlite(&path), key(NEW), Realm::Vendor).await.unwrap();
        let mut reading = reader.begin_reading().await.unwrap();
        // It reads the log from its first row on.
        reading.keys().await.unwrap();
        let refused = store.clean().await.unwrap_err();
        assert_eq!(refused.code, Code::StoreFailed);
        assert!(refused.to_string().contains("under the new master key"), "{refused}");
        drop(reading);
        drop(reader);
        store.clean().await.unwrap();
        let file = std::fs::read(&path).unwrap();
        assert!(!old.iter().any(|value| file.windows(16).any(|w| w == &value[12..28])));
        assert_eq!(std::fs::metadata(folder.path().join("verifier.sqlite-wal")).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn crash_after_any_write_leaves_the_store_under_exactly_one_of_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        store.clean().await.unwrap();
        let new = key(NEW);
        // As `Store::rewrap`, without the flush that takes the log of writes away.
        store.begin().await.unwrap().rewrap(&new, &clock()).await.unwrap();
        let [database, log] =
            ["", "-wal"].map(|suffix| std::fs::read(folder.path().join(format!("verifier.sqlite{suffix}"))).unwrap());
        // SQLite's file format, §4.1: a header of 32 bytes, then frames of 24 bytes and a page each.
        let page = usize::from(u16::from_be_bytes([database[16], database[17]]));
        let frames = (log.len() - 32) / (24 + page);
        assert!(frames > 4, "{frames}");
        let mut renewed = Vec::new();
        for frame in 0..=frames {
            for half in [0, page / 2] {
                let crashed = tempfile::tempdir().unwrap();
                private_file::create(&crashed.path().join("verifier.sqlite"), &database).unwrap();
                let written = (32 + frame * (24 + page) + half).min(log.len());
                private_file::create(&crashed.path().join("verifier.sqlite-wal"), &log[..written]).unwrap();
                let codes = (code(crashed.path(), OLD).await, code(crashed.path(), NEW).await);
                let is_new = codes.1.is_none();
                let invalid = Some(Code::KeyInvalid);
                assert_eq!(codes, if is_new { (invalid, None) } else { (None, invalid) }, "{written} bytes of the log");
                renewed.push(is_new);
            }
        }
        assert!(renewed.is_sorted() && !renewed[0] && renewed[renewed.len() - 1], "{renewed:?}");
    }

    #[tokio::test]
    async fn store_with_a_changed_row_or_an_unknown_table_or_entry_is_not_rewrapped_and_stays_as_it_is() {
        for (statement, expected) in [
            ("SELECT 1", None),
            ("UPDATE policies SET created = 7", Some(Code::StoreTampered)),
            ("UPDATE meta SET value = x'00' WHERE name = 'audit-head'", Some(Code::StoreTampered)),
            ("DELETE FROM policies", Some(Code::StoreTampered)),
            ("CREATE TABLE more (id TEXT, mac BLOB)", Some(Code::StoreTampered)),
            (PLANTED, Some(Code::StoreTampered)),
            ("DELETE FROM meta WHERE name = 'stamp'", Some(Code::StoreTampered)),
            ("INSERT INTO meta VALUES ('more', x'00')", Some(Code::StoreFailed)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = filled(folder.path()).await;
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            let dump = "SELECT name, hex(value) FROM meta UNION ALL SELECT id, hex(sealed) || hex(mac) FROM keys
                        UNION ALL SELECT id, hex(mac) FROM policies";
            let rows = async || {
                let path = folder.path().join("verifier.sqlite");
                let pool = Database::sqlite(&path).pool(true).unwrap();
                let rows = sqlx::query(dump).fetch_all(&pool).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(String, String)>>()
            };
            let before = rows().await;
            let refused = store.rewrap(&key(NEW), &clock()).await.err().map(|refusal| refusal.code);
            assert_eq!(refused, expected, "{statement}");
            assert_eq!(rows().await == before, expected.is_some(), "{statement}");
        }
    }

    #[tokio::test]
    async fn every_table_of_a_store_is_known_and_those_with_codes_of_their_own_are_carried_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let select = "SELECT t.name, EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE name = 'mac')
                      FROM sqlite_schema AS t WHERE type = 'table' ORDER BY t.name";
        let rows = sqlx::query(select).fetch_all(&store.pool).await.unwrap();
        let tables: Vec<_> = rows.iter().map(|row| (row.get(0), row.get::<i64, _>(1) == 1)).collect();
        let mut known: Vec<_> = TABLES.iter().chain(&APART).map(|table| (table.name.to_owned(), true)).collect();
        // In these, nothing but what `meta` holds hangs on the master key.
        known.extend(["_sqlx_migrations", "leaves", "meta", "nonces", "tiles"].map(|name| (name.to_owned(), false)));
        // Which end.
        known.push(("sessions".to_owned(), true));
        known.sort();
        assert_eq!(tables, known);
    }
}

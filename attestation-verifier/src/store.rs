//! Everything that outlives a restart, in one SQLite file: keys (encrypted), release policies, the documents that these take
//! something from, promotion statements and what they speak against, the newest revocation lists, the audit log, and the stamp of its realm, sealed under
//! its master key.
//!
//! Write-ahead log with `synchronous = FULL`: what was committed survives a power cut. One connection that writes, so that one
//! transaction follows the other: what one reads is what is in force, and rows of the audit log are in the order of time.

mod authentic;
mod decisions;
mod documents;
mod keys;
mod policies;
mod promotion_facts;
mod promotions;
mod rewrap;
mod schema;
mod seen;
mod tables;
mod verified;

pub(crate) use decisions::Recorded;
pub(crate) use documents::PolicyInForce;
pub(crate) use keys::{Put, StoredKey};
pub(crate) use policies::StoredPolicy;
pub(crate) use promotion_facts::Place;
pub(crate) use promotions::{Kept, StoredPromotion};

use crate::master_key::MasterKey;
use crate::private_file;
use schema::Schema;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _, SqlSafeStr as _, Sqlite};
use std::path::Path;
use strongroom_wire::{Code, Realm, Refusal, Result};
use verified::VerifiedDocuments;

/// The store of one verifier.
#[derive(Debug)]
pub(crate) struct Store {
    pool: SqlitePool,
    /// Read alone, beside the transactions: for whom nothing is decided yet.
    reading: SqlitePool,
    master: MasterKey,
    schema: Schema,
    documents: VerifiedDocuments,
}

/// Everything that is read and written goes through one of these. What it changed is in force, and on record, once
/// [`Transaction::commit`] returned; where it is dropped instead, nothing was changed. No two are open at a time: who waits
/// for something else must not hold one.
pub(crate) struct Transaction<'a> {
    sql: sqlx::Transaction<'static, Sqlite>,
    master: &'a MasterKey,
    documents: &'a VerifiedDocuments,
    /// Whether the set of rows is the one that was authenticated, of which nobody else changes any meanwhile.
    verified: bool,
}

/// The name in `meta` of the realm, which only the store's own master key opens. No key id, since it has no slashes.
const STAMP: &str = "stamp";

impl Store {
    /// Opens the store in `path`, makes it where it is absent, brings its schema up to date and verifies its audit log.
    /// `master_key` is the file of its master key, made together with the store.
    ///
    /// # Errors
    /// `realm-mismatch`: it was made in another realm; `key-invalid`: another master key, or the stamp was changed;
    /// `key-missing`; `store-failed`: no such database; `store-tampered`: its audit log, keys, policies or schema were changed;
    /// `file-mode-unsafe`; `io`.
    pub(crate) async fn open(path: &Path, master_key: &Path, realm: Realm) -> Result<Self> {
        let first_start = !path.try_exists().map_err(|e| Refusal::io(path.display(), &e))?;
        let master = MasterKey::load(master_key, first_start)?;
        if first_start {
            // SQLite gives its other files the mode of this one.
            private_file::create(path, b"")?;
        }
        let store = Self::connect(path, master).await?;
        store.stamp(realm).await?;
        store.verify(realm).await?;
        Ok(store)
    }

    /// [`Self::open`] of a store that is there and has its stamp, under this master key.
    ///
    /// # Errors
    /// As there; `store-failed` also where there is none; `store-tampered` also where it has no stamp.
    pub(crate) async fn open_under(path: &Path, master: MasterKey, realm: Realm) -> Result<Self> {
        let store = Self::connect(path, master).await?;
        store.verify(realm).await?;
        Ok(store)
    }

    async fn connect(path: &Path, master: MasterKey) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let pool =
            SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(failed("opening"))?;
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        let reading = SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options);
        migrations().run(&pool).await.map_err(|e| failed("migrations")(e.into()))?;
        Ok(Self { pool, reading, master, schema: Schema::expected().await?, documents: VerifiedDocuments::default() })
    }

    /// Begins the next transaction; waits for the one before to end.
    ///
    /// # Errors
    /// `store-tampered`: a table, an index, a view or a trigger is not one that the migrations made; `store-failed`.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>> {
        let sql = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("transaction"))?;
        self.transaction(sql).await
    }

    /// What was committed last, for reading alone. It waits for no transaction and holds up none: what anybody may cause to
    /// be read goes through here. By what it says no key is released: that is
    /// looked at again by who writes.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) async fn begin_reading(&self) -> Result<Transaction<'_>> {
        let sql = self.reading.begin().await.map_err(failed("reading"))?;
        self.transaction(sql).await
    }

    /// No other transaction changes the schema before this one ends.
    async fn transaction(&self, mut sql: sqlx::Transaction<'static, Sqlite>) -> Result<Transaction<'_>> {
        self.schema.verify(&mut sql).await?;
        Ok(Transaction { sql, master: &self.master, documents: &self.documents, verified: false })
    }

    /// Executes a statement as no transaction of the service does.
    #[cfg(test)]
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.pool).await.unwrap();
    }

    /// Answers only where the database does.
    pub(crate) async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop).map_err(failed("ping"))
    }

    /// Stamps a store that has no stamp, because it is new.
    async fn stamp(&self, realm: Realm) -> Result<()> {
        let mut transaction = self.begin().await?;
        if transaction.meta(STAMP).await?.is_some() {
            return Ok(());
        }
        transaction.set_meta(STAMP, &self.master.seal(STAMP, realm.to_string().as_bytes())?).await?;
        transaction.authenticate_nothing().await?;
        transaction.sql.commit().await.map_err(failed("meta"))
    }

    /// Verifies the stamp, then all of the log and which rows there are.
    async fn verify(&self, realm: Realm) -> Result<()> {
        let mut transaction = self.begin().await?;
        let stamped = self.master.open(STAMP, &transaction.sealed_stamp().await?).map_err(|_| {
            Refusal::new(Code::KeyInvalid, "master key")
                .got("not the one that this store was made with, or its stamp was changed")
        })?;
        let realm = realm.to_string();
        if stamped.as_slice() != realm.as_bytes() {
            let stamped = String::from_utf8_lossy(&stamped);
            return Err(Refusal::new(Code::RealmMismatch, "store").got(stamped).want(realm));
        }
        transaction.verify_audit().await?;
        transaction.verify_rows().await
    }
}

impl Transaction<'_> {
    async fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = ?").bind(name).fetch_optional(&mut *self.sql).await;
        row.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(failed("meta"))
    }

    async fn sealed_stamp(&mut self) -> Result<Vec<u8>> {
        let stamp = self.meta(STAMP).await?;
        stamp.ok_or_else(|| Refusal::new(Code::StoreTampered, "store: it has no stamp"))
    }

    async fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let insert = sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)").bind(name).bind(value);
        insert.execute(&mut *self.sql).await.map(drop).map_err(failed("meta"))
    }
}

impl core::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Transaction")
    }
}

fn migrations() -> Migrator {
    let migration = |(number, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let all = [
        (1, "store", include_str!("../migrations/0001_store.sql")),
        (2, "provenance", include_str!("../migrations/0002_provenance.sql")),
        (3, "promotions", include_str!("../migrations/0003_promotions.sql")),
        (4, "promotion facts", include_str!("../migrations/0004_promotion_facts.sql")),
    ];
    Migrator::with_migrations(all.map(migration).to_vec())
}

/// Database errors name tables and files, never values.
fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> Refusal {
    move |error| Refusal::new(Code::StoreFailed, format!("store: {what}")).because(error)
}

/// SQLite knows signed numbers only.
fn to_integer(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|e| Refusal::new(Code::StoreFailed, "number out of range").because(e))
}

fn from_integer(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|e| Refusal::new(Code::StoreFailed, "number out of range").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::digest::Sha256;

    async fn open(folder: &Path, realm: Realm) -> Result<Store> {
        Store::open(&folder.join("verifier.sqlite"), &folder.join("master"), realm).await
    }

    #[tokio::test]
    async fn store_opens_again_in_its_realm_and_in_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let test = Realm::Test(Sha256([1; 32]));
        open(folder.path(), test).await.unwrap().ping().await.unwrap();
        assert!(open(folder.path(), test).await.is_ok());
        for other in [Realm::Vendor, Realm::Test(Sha256([2; 32]))] {
            assert_eq!(open(folder.path(), other).await.unwrap_err().code, Code::RealmMismatch);
        }
    }

    #[tokio::test]
    async fn stamp_that_was_changed_or_taken_from_another_store_refused() {
        let [own, other] =
            [Realm::Test(Sha256([1; 32])), Realm::Vendor].map(|realm| (tempfile::tempdir().unwrap(), realm));
        let mut stamps = Vec::new();
        for (folder, realm) in [&own, &other] {
            let store = open(folder.path(), *realm).await.unwrap();
            stamps.push(store.begin().await.unwrap().meta(STAMP).await.unwrap().unwrap());
        }
        let sound = stamps.remove(0);
        let flipped = sound.iter().enumerate().map(|(at, byte)| if at == 20 { byte ^ 1 } else { *byte }).collect();
        let plain = other.1.to_string().into_bytes();
        for (stamp, code) in [
            (sound, None),
            (flipped, Some(Code::KeyInvalid)),
            (stamps.remove(0), Some(Code::KeyInvalid)),
            (plain, Some(Code::KeyInvalid)),
            (vec![], Some(Code::KeyInvalid)),
        ] {
            let path = own.0.path().join("verifier.sqlite");
            let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap();
            let update = sqlx::query("UPDATE meta SET value = ? WHERE name = ?").bind(stamp).bind(STAMP);
            assert_eq!(update.execute(&pool).await.unwrap().rows_affected(), 1);
            pool.close().await;
            assert_eq!(open(own.0.path(), own.1).await.err().map(|refusal| refusal.code), code);
            // Nor does it let the store into the other realm.
            assert!(open(own.0.path(), other.1).await.is_err());
        }
    }

    #[tokio::test]
    async fn store_opens_with_its_own_master_key_only() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), Realm::Vendor).await.unwrap();
        let key = folder.path().join("master");
        std::fs::remove_file(&key).unwrap();
        assert_eq!(open(folder.path(), Realm::Vendor).await.unwrap_err().code, Code::KeyMissing);
        private_file::create(&key, &[1; 32]).unwrap();
        assert_eq!(open(folder.path(), Realm::Vendor).await.unwrap_err().code, Code::KeyInvalid);
    }

    #[tokio::test]
    async fn store_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), Realm::Vendor).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        transaction.set_meta("name", b"value").await.unwrap();
        transaction.sql.commit().await.unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        }
    }

    #[tokio::test]
    async fn file_that_is_no_database_refused() {
        let folder = tempfile::tempdir().unwrap();
        private_file::create(&folder.path().join("verifier.sqlite"), &[7; 8192]).unwrap();
        private_file::create(&folder.path().join("master"), &[1; 32]).unwrap();
        assert_eq!(open(folder.path(), Realm::Vendor).await.unwrap_err().code, Code::StoreFailed);
    }
}

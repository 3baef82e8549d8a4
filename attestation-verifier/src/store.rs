//! Everything that outlives a restart, in one database (`store/database.rs`): keys (encrypted), release policies, the documents that
//! these take something from, Cedar policies, promotion statements and what they speak against, changes that wait for approval,
//! the newest revocation lists, what is revoked here, leases and their routes, the audit log, and the stamp of its realm, sealed under its master key.
//!
//! One connection of a verifier writes (`writer.rs`), and one verifier at a time, so that one decision follows the other: what one
//! reads is what is in force, and entries of the audit log are in the order in which they were decided.

mod authentic;
mod authorities;
mod backfill;
mod changes;
mod database;
mod decisions;
mod documents;
mod end;
mod identity;
mod key_changes;
mod keys;
mod leases;
mod log;
mod log_key;
mod openings;
mod policies;
mod policy_sets;
mod promotion_facts;
mod promotions;
#[cfg(test)]
mod replicas;
mod revocations;
mod rewrap;
mod routes;
mod rows;
mod schema;
mod seen;
mod sessions;
mod tables;
mod uses;
mod verified;
mod witnessed;
mod writer;

pub(crate) use changes::PendingChange;
pub(crate) use database::Database;
pub(crate) use decisions::Recorded;
pub(crate) use documents::PolicyInForce;
pub(crate) use identity::{Parts, StoredIdentity};
pub(crate) use key_changes::{NewKey, Put};
pub(crate) use keys::{KeyMetadata, KeyState, StoredKey};
pub(crate) use leases::StoredLease;
pub(crate) use openings::Opening;
pub(crate) use policies::StoredPolicy;
pub(crate) use policy_sets::PolicySet;
pub(crate) use promotion_facts::Place;
pub(crate) use promotions::{Kept, StoredPromotion};
#[cfg(test)]
pub(crate) use uses::Uses;

use crate::master_key::MasterKey;
use backfill::Backfill;
use core::ops::{Deref, DerefMut};
use database::Hold;
use end::End;
use log::Keys;
use log_key::LOG_KEY;
use rows::Rows;
use schema::Schema;
use sqlx::migrate::MigrateError;
use sqlx::{Any, AnyConnection, AnyPool};
use std::path::Path;
use std::sync::Arc;
use strongroom_tlog::{NoteSigner, NoteVerifier};
use strongroom_wire::{Code, Realm, Refusal, Result};
use tokio::sync::Mutex;
use verified::VerifiedDocuments;
use writer::{Writer, Writing};

/// The store of one verifier.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Arc<Mutex<Writer>>,
    database: Database,
    /// For what is no transaction.
    pool: AnyPool,
    /// Read alone, beside the transactions: for whom nothing is decided yet.
    reading: AnyPool,
    master: Arc<MasterKey>,
    /// Signs the log's checkpoints.
    log: NoteSigner,
    schema: Schema,
    documents: VerifiedDocuments,
}

/// Everything that is read and written goes through one of these. What it changed is in force, and on record, once
/// [`Transaction::commit`] returned; where it is dropped instead, nothing was changed. No two are open at a time: who waits
/// for something else must not hold one.
pub(crate) struct Transaction<'a> {
    sql: Sql<'a>,
    master: &'a MasterKey,
    log: &'a NoteSigner,
    documents: &'a VerifiedDocuments,
    /// Of one that reads alone, which rows there are, once they were verified in it.
    rows: Option<Arc<Rows>>,
    /// The same of one that reads alone, by what was verified before, where that has the code that is in force.
    known: Option<Arc<Rows>>,
    /// Where the store ended before it began.
    last: Option<Arc<End>>,
}

/// What opens a store.
enum Under<'a> {
    /// The master key in this file, which is made together with the store.
    File(&'a Path),
    /// This one.
    Key(Box<MasterKey>),
}

/// The connection of a transaction.
enum Sql<'a> {
    Reading(sqlx::Transaction<'static, Any>),
    Writing(Writing<'a>),
}

/// The name in `meta` of the realm, which only the store's own master key opens. No key id, since it has no slashes.
const STAMP: &str = "stamp";

impl Store {
    /// Opens the store in `database`, makes it where it is absent, brings its schema up to date and verifies its audit log.
    /// `master_key` is the file of its master key, made together with the store.
    ///
    /// # Errors
    /// `realm-mismatch`: it was made in another realm; `key-invalid`: another master key, or the stamp was changed;
    /// `key-missing`; `store-failed`: no such database; `store-tampered`: its audit log, keys, policies or schema were changed;
    /// `file-mode-unsafe`; `io`; `configuration-invalid`: the database would lose what was committed, or is being put under another
    /// master key.
    pub(crate) async fn open(database: Database, master_key: &Path, realm: Realm) -> Result<Self> {
        database.make()?;
        Self::connect(database, Under::File(master_key), realm).await
    }

    /// [`Self::open`] of a store that is there and has its stamp, under this master key and for nobody else meanwhile.
    ///
    /// # Errors
    /// As there; `store-failed` also where there is none; `store-tampered` also where it has no stamp; `configuration-invalid`: a
    /// verifier has it open.
    pub(crate) async fn open_under(database: Database, master: MasterKey, realm: Realm) -> Result<Self> {
        Self::connect(database, Under::Key(Box::new(master)), realm).await
    }

    /// The public half of the log's key in the store in `database`, read beside whoever has it open. `None`: opening it says why not.
    pub(crate) async fn log_key(database: &Database, master_key: &Path, realm: Realm) -> Option<NoteVerifier> {
        if !database.exists().ok()? {
            return None;
        }
        let master = MasterKey::load(master_key, false).ok()?;
        let mut connection = database.pool(false).ok()?.acquire().await.ok()?;
        let stamp = meta(&mut connection, STAMP).await.ok()??;
        if master.open(STAMP, &stamp).ok()?.as_slice() != realm.to_string().as_bytes() {
            return None;
        }
        let sealed = meta(&mut connection, LOG_KEY).await.ok()??;
        let seed = log_key::open(&sealed, &master).ok()?;
        log_key::signer(&seed, realm).ok().map(|signer| signer.verifier().clone())
    }

    async fn connect(database: Database, under: Under<'_>, realm: Realm) -> Result<Self> {
        let hold = match &under {
            Under::File(_) => Hold::Shared,
            Under::Key(_) => Hold::Alone,
        };
        let mut connection = database.connect(hold).await?;
        database.making(&mut connection).await?;
        database.migrate(&mut connection).await?;
        let schema = Schema::expected(&database, &mut connection).await?;
        let new = is_new(&mut connection).await?;
        let master = match under {
            Under::File(path) => MasterKey::load(path, new)?,
            Under::Key(master) => *master,
        };
        let seed = match meta(&mut connection, LOG_KEY).await? {
            Some(sealed) => log_key::open(&sealed, &master)?,
            None if new && hold == Hold::Shared => log_key::generate()?,
            None => return Err(Refusal::new(Code::StoreTampered, "store: it has no key of its audit log")),
        };
        let log = log_key::signer(&seed, realm)?;
        let (pool, reading) = (database.pool(true)?, database.pool(false)?);
        let backfill = Backfill::new(&database, pool.clone());
        let writer = Writer::new(connection, database.clone(), hold, backfill);
        let (master, documents) = (Arc::new(master), VerifiedDocuments::default());
        let store = Self { writer, database, pool, reading, master, log, schema, documents };
        if new {
            store.stamp(realm, seed.as_ref()).await?;
        }
        store.database.made(store.writer.lock().await.connection()).await?;
        store.verify(realm).await?;
        Ok(store)
    }

    /// Begins the next transaction; waits for the one before to end.
    ///
    /// # Errors
    /// `store-tampered`: a table, an index, a view or a trigger is not one that the migrations made; `store-failed`.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>> {
        Ok(self.transaction(Sql::Writing(self.writing(true).await?)))
    }

    async fn writing(&self, savepoint: bool) -> Result<Writing<'_>> {
        let keys = Keys { master: &self.master, log: &self.log };
        Writing::begin(&self.writer, &self.schema, keys, &self.documents, savepoint).await
    }

    /// What was committed last, for reading alone. It waits for no transaction and holds up none: what anybody may cause to
    /// be read goes through here. No key is released by what it says alone: who writes looks at it again, but for what speaks
    /// against promotions, which is verified with the whole set of rows where it is read.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) async fn begin_reading(&self) -> Result<Transaction<'_>> {
        let last = self.documents.last.get();
        let mut sql = self.reading.begin_with(self.database.begin_reading()).await.map_err(failed("reading"))?;
        self.schema.verify_lately(&mut sql).await?;
        Ok(Transaction { last, ..self.transaction(Sql::Reading(sql)) })
    }

    fn transaction<'a>(&'a self, sql: Sql<'a>) -> Transaction<'a> {
        Transaction {
            sql,
            master: &self.master,
            log: &self.log,
            documents: &self.documents,
            rows: None,
            known: None,
            last: None,
        }
    }

    /// Executes a statement as no transaction of the service does.
    #[cfg(test)]
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(self.writer.lock().await.connection()).await.unwrap();
    }

    /// Answers only where a transaction could write.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.writing(false).await.map(drop)
    }

    /// Whether other verifiers may have it open.
    pub(crate) const fn is_shared(&self) -> bool {
        self.database.is_shared()
    }

    /// What the keys' values may be wrapped by, and everything else hangs on.
    pub(crate) fn master(&self) -> Arc<MasterKey> {
        Arc::clone(&self.master)
    }

    /// The key that signs the audit log's checkpoints.
    pub(crate) const fn log(&self) -> &NoteSigner {
        &self.log
    }

    /// Makes a new store what it is: of its realm, with nothing in it, and with the first entry of its log.
    async fn stamp(&self, realm: Realm, seed: &[u8]) -> Result<()> {
        let mut transaction = self.begin().await?;
        transaction.set_meta(STAMP, &self.master.seal(STAMP, realm.to_string().as_bytes())?).await?;
        transaction.set_meta(LOG_KEY, &self.master.seal(LOG_KEY, seed)?).await?;
        let rows = transaction.authenticate_nothing().await?;
        transaction.begin_log(realm, rows).await
    }

    /// Verifies the stamp, then the log and which rows there are.
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
        meta(&mut self.sql, name).await
    }

    async fn sealed_stamp(&mut self) -> Result<Vec<u8>> {
        let stamp = self.meta(STAMP).await?;
        stamp.ok_or_else(|| Refusal::new(Code::StoreTampered, "store: it has no stamp"))
    }

    async fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<()> {
        set_meta(&mut self.sql, name, value).await
    }

    /// Waits until what was changed is durable, without an entry of the log: for what is no decision, and changes no row that is
    /// authenticated.
    async fn commit_unrecorded(self) -> Result<()> {
        self.sql.writing()?.commit(None).await.map(drop)
    }
}

impl<'a> Sql<'a> {
    fn writing(self) -> Result<Writing<'a>> {
        match self {
            Self::Writing(writing) => Ok(writing),
            Self::Reading(_) => Err(reads_alone()),
        }
    }

    fn writing_mut(&mut self) -> Result<&mut Writing<'a>> {
        match self {
            Self::Writing(writing) => Ok(writing),
            Self::Reading(_) => Err(reads_alone()),
        }
    }
}

impl Deref for Sql<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Reading(sql) => sql,
            Self::Writing(sql) => sql,
        }
    }
}

impl DerefMut for Sql<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Reading(sql) => sql,
            Self::Writing(sql) => sql,
        }
    }
}

impl core::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Transaction")
    }
}

fn reads_alone() -> Refusal {
    Refusal::new(Code::Internal, "store: a transaction that reads alone")
}

async fn meta(sql: &mut AnyConnection, name: &str) -> Result<Option<Vec<u8>>> {
    let select = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1").bind(name);
    select.fetch_optional(sql).await.map_err(failed("meta"))
}

async fn set_meta(sql: &mut AnyConnection, name: &str, value: &[u8]) -> Result<()> {
    let upsert =
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(upsert).bind(name).bind(value).execute(sql).await.map(drop).map_err(failed("meta"))
}

/// Whether nothing was ever written to it.
async fn is_new(sql: &mut AnyConnection) -> Result<bool> {
    let count = "SELECT (SELECT COUNT(*) FROM meta) + (SELECT COUNT(*) FROM leaves)";
    sqlx::query_scalar(count).fetch_one(sql).await.map(|count: i64| count == 0).map_err(failed("meta"))
}

/// A store from before the audit log was a transparency log has another first migration.
fn migration_failed(error: MigrateError) -> Refusal {
    match error {
        MigrateError::VersionMismatch(_) => Refusal::new(Code::VersionUnsupported, "store")
            .got("one of a release that nothing converts")
            .want("a new `state`, and its keys and policies put again"),
        error => failed("migrations")(error.into()),
    }
}

/// Database errors name tables and files, never values.
fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> Refusal {
    move |error| Refusal::new(Code::StoreFailed, format!("store: {what}")).because(error)
}

/// Databases know signed numbers only.
fn to_integer(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|e| Refusal::new(Code::StoreFailed, "number out of range").because(e))
}

fn from_integer(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|e| Refusal::new(Code::StoreFailed, "number out of range").because(e))
}

#[cfg(test)]
mod tests;

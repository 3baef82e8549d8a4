//! The database that a store is in: one SQLite file of one verifier, or a PostgreSQL database that any number of them share. What
//! differs between the two is here and in `schema.rs`; every other statement is the same in both.
//!
//! SQLite: write-ahead log with `synchronous = FULL`: what was committed survives a power cut. PostgreSQL: the same by
//! `synchronous_commit = on` and `fsync = on` ([`postgres`]); whoever writes holds one lock until it commits, so that one decision
//! follows the other whichever verifier makes it.

mod postgres;

use super::{failed, migration_failed};
use crate::private_file;
use core::time::Duration;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions as _, SqlSafeStr as _, SqlStr};
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Refusal, Result};
use tokio::time::timeout;

/// How long a database may take until a connection to it is there, or is found to be of use still.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long whoever reads waits for its turn, or for a server that went away.
const TURN: Duration = Duration::from_secs(10);

/// Connections that read beside the one that writes.
const READERS: u32 = 2;

/// Where the rows are.
#[derive(Clone)]
pub(crate) enum Database {
    /// The file.
    Sqlite(PathBuf),
    /// How the server is reached; there may be a password in it.
    Postgres(AnyConnectOptions),
}

/// Who else may have the store open meanwhile. A SQLite file is one verifier's, by the lock of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Other verifiers.
    Shared,
    /// Nobody.
    Alone,
}

impl core::fmt::Debug for Database {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres"),
        }
    }
}

impl Database {
    /// One SQLite file.
    pub(crate) fn sqlite(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }

    /// The PostgreSQL database of a URL ([`postgres::options`]).
    ///
    /// # Errors
    /// `configuration-invalid`.
    pub(crate) fn postgres(url: &str, ca: Option<&Path>) -> Result<Self> {
        postgres::options(url, ca).map(Self::Postgres)
    }

    fn options(&self, write: bool) -> Result<AnyConnectOptions> {
        let options = match self {
            Self::Sqlite(path) => {
                let path = std::path::absolute(path).map_err(|e| Refusal::io(path.display(), &e))?;
                let invalid = || Refusal::new(Code::ConfigurationInvalid, "path of the store").got(path.display());
                let mut options: AnyConnectOptions = "sqlite:///".parse().map_err(failed("opening"))?;
                // What a path does not encode by itself would be decoded.
                let path = path.to_str().ok_or_else(|| invalid().want("text"))?.replace('%', "%25");
                options.database_url.set_path(&path);
                options.database_url.set_query(Some(if write { "mode=rw" } else { "mode=ro" }));
                options
            }
            Self::Postgres(options) => options.clone(),
        };
        Ok(options.disable_statement_logging())
    }

    /// Whether whoever sees how it is reached gets in.
    pub(crate) fn has_password(&self) -> bool {
        matches!(self, Self::Postgres(options) if options.database_url.password().is_some())
    }

    /// Whether several verifiers may have it open.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether there is one; a server's is found out by connecting.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn exists(&self) -> Result<bool> {
        match self {
            Self::Sqlite(path) => path.try_exists().map_err(|e| Refusal::io(path.display(), &e)),
            Self::Postgres(_) => Ok(true),
        }
    }

    /// Makes an empty one where there is none.
    ///
    /// # Errors
    /// `io`.
    pub(super) fn make(&self) -> Result<()> {
        match self {
            // SQLite gives its other files the mode of this one.
            Self::Sqlite(path) if !self.exists()? => private_file::create(path, b""),
            Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
        }
    }

    /// A connection that may write, which nobody else's hold forbids.
    ///
    /// # Errors
    /// `store-failed`: no such database, or it does not answer; `configuration-invalid`: somebody else has it open, or it would
    /// lose what was committed.
    pub(super) async fn connect(&self, hold: Hold) -> Result<AnyConnection> {
        install_default_drivers();
        let options = self.options(true)?;
        let connected = timeout(PATIENCE, options.connect()).await.map_err(|_| {
            Refusal::new(Code::StoreFailed, "store: opening").got("no answer").want(format!("one in {PATIENCE:?}"))
        })?;
        let mut connection = connected.map_err(failed("opening"))?;
        self.settings(&mut connection).await.map_err(failed("opening"))?;
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(_) => {
                postgres::verify_server(&mut connection).await?;
                postgres::take_hold(&mut connection, hold).await?;
            }
        }
        Ok(connection)
    }

    /// Connections for what is no decision: to write where `write`, in no transaction.
    pub(super) fn pool(&self, write: bool) -> Result<AnyPool> {
        install_default_drivers();
        let database = self.clone();
        let pool = AnyPoolOptions::new().max_connections(if write { 1 } else { READERS }).acquire_timeout(TURN);
        // A server may have gone away since; a file does not.
        let pool = pool.test_before_acquire(self.is_shared());
        let pool = pool.after_connect(move |connection, _| {
            let database = database.clone();
            Box::pin(async move {
                // Who may not write to a file does not say how it is written.
                if write || database.is_shared() { database.settings(connection).await } else { Ok(()) }
            })
        });
        Ok(pool.connect_lazy_with(self.options(write)?))
    }

    async fn settings(&self, connection: &mut AnyConnection) -> sqlx::Result<()> {
        let settings = match self {
            // What is taken out of a row is overwritten in its page. The write-ahead log is moved beside the transactions
            // (`backfill.rs`), and by one of them at 64 MiB only.
            Self::Sqlite(_) => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
                 PRAGMA wal_autocheckpoint = 16384"
            }
            Self::Postgres(_) => postgres::SETTINGS,
        };
        sqlx::raw_sql(settings).execute(connection).await.map(drop)
    }

    /// Waits until nobody else makes the store, until [`Self::made`] or the connection ends.
    pub(super) async fn making(&self, connection: &mut AnyConnection) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => postgres::making(connection).await,
        }
    }

    pub(super) async fn made(&self, connection: &mut AnyConnection) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => postgres::made(connection).await,
        }
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// `version-unsupported`; `store-failed`.
    pub(super) async fn migrate(&self, connection: &mut AnyConnection) -> Result<()> {
        self.migrations().run(connection).await.map_err(migration_failed)
    }

    /// In words of this database.
    pub(super) fn migrations(&self) -> Migrator {
        let migration = |(number, name, sql): &(i64, &'static str, &'static str)| {
            Migration::new(*number, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
        };
        let all: &[_] = match self {
            Self::Sqlite(_) => &[
                (1, "store", include_str!("../../migrations/sqlite/0001_store.sql")),
                (2, "provenance", include_str!("../../migrations/sqlite/0002_provenance.sql")),
                (3, "promotions", include_str!("../../migrations/sqlite/0003_promotions.sql")),
                (4, "promotion facts", include_str!("../../migrations/sqlite/0004_promotion_facts.sql")),
                (5, "policy sets", include_str!("../../migrations/sqlite/0005_policy_sets.sql")),
                (6, "changes", include_str!("../../migrations/sqlite/0006_changes.sql")),
                (7, "sessions", include_str!("../../migrations/sqlite/0007_sessions.sql")),
                (8, "key states", include_str!("../../migrations/sqlite/0008_key_states.sql")),
                (9, "leases", include_str!("../../migrations/sqlite/0009_leases.sql")),
            ],
            // As SQLite's first five make it, and what came after them.
            Self::Postgres(_) => &[
                (5, "store", include_str!("../../migrations/postgres/0005_store.sql")),
                (6, "changes", include_str!("../../migrations/postgres/0006_changes.sql")),
                (7, "sessions", include_str!("../../migrations/postgres/0007_sessions.sql")),
                (8, "key states", include_str!("../../migrations/postgres/0008_key_states.sql")),
                (9, "leases", include_str!("../../migrations/postgres/0009_leases.sql")),
            ],
        };
        Migrator::with_migrations(all.iter().map(migration).collect())
    }

    /// What begins a transaction that writes: from its first statement on, nobody else's does.
    pub(super) fn begin_writing(&self) -> SqlStr {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE".into_sql_str(),
            Self::Postgres(_) => AssertSqlSafe(postgres::begin_writing()).into_sql_str(),
        }
    }

    /// What changes as soon as anything but this connection commits something: in a transaction of it, that nothing else did since
    /// the same was answered. `None`: nothing says so, since others write there.
    ///
    /// It is what SQLite itself goes by when it takes a page out of its own memory and not out of the file. Whoever writes the file's
    /// bytes behind SQLite is not surely noticed.
    ///
    /// # Errors
    /// `store-failed`.
    pub(super) async fn version(&self, connection: &mut AnyConnection) -> Result<Option<i64>> {
        match self {
            Self::Sqlite(_) => {
                let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await;
                version.map(Some).map_err(failed("transaction"))
            }
            Self::Postgres(_) => Ok(None),
        }
    }

    /// What begins a transaction that reads: all of it sees the same rows.
    pub(super) const fn begin_reading(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Copies a file into an empty one, as it is at one moment, beside whoever has it open.
    ///
    /// # Errors
    /// `store-failed`; `configuration-invalid`: `copy` is not text.
    pub(crate) async fn copy_into(&self, copy: &Path) -> Result<()> {
        let invalid = || Refusal::new(Code::ConfigurationInvalid, "path of a copy").got(copy.display()).want("text");
        let vacuum = sqlx::query("VACUUM INTO $1").bind(copy.to_str().ok_or_else(invalid)?);
        vacuum.execute(&self.pool(false)?).await.map(drop).map_err(failed("copying"))
    }

    /// What writes all rows anew, so that what was deleted is in no file of the database any more.
    pub(super) const fn rewriting(&self) -> &'static [&'static str] {
        match self {
            Self::Sqlite(_) => &["VACUUM"],
            Self::Postgres(_) => &["SET statement_timeout TO 0", "VACUUM FULL"],
        }
    }

    /// What empties the write-ahead log, and says whether somebody reads it still. A server's log is its administrator's.
    pub(super) const fn emptying(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(_) => Some("PRAGMA wal_checkpoint(TRUNCATE)"),
            Self::Postgres(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn file_of_any_name_is_the_one_that_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plain", "with space", "50%", "%20", "a?mode=memory", "a#b", "ä", ".."] {
            let path = folder.path().join(format!("{name}.sqlite"));
            let database = Database::sqlite(&path);
            assert!(!database.exists().unwrap(), "{name}");
            assert_eq!(database.connect(Hold::Shared).await.unwrap_err().code, Code::StoreFailed, "{name}");
            database.make().unwrap();
            let mut connection = database.connect(Hold::Shared).await.unwrap();
            sqlx::query("CREATE TABLE here (id TEXT)").execute(&mut connection).await.unwrap();
            drop(connection);
            assert!(std::fs::metadata(&path).unwrap().len() > 0, "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_committed_to_a_file_survives_a_power_cut_and_a_reader_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("store"));
        database.make().unwrap();
        let mut connection = database.connect(Hold::Shared).await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
        for full in [
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.unwrap(),
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(&database.pool(true).unwrap()).await.unwrap(),
        ] {
            assert_eq!((mode.as_str(), full), ("wal", 2_i64));
        }
        let written = sqlx::query("CREATE TABLE here (id TEXT)").execute(&database.pool(false).unwrap()).await;
        assert!(written.unwrap_err().to_string().contains("readonly"));
    }
}

//! What the database says of its own shape: what the migrations made, and nothing else. A trigger that somebody planted would run
//! inside this program's own transactions, between what they verify and what they authenticate.

use super::database::Database;
use super::failed;
use core::time::Duration;
use sqlx::any::{AnyConnectOptions, AnyTransactionManager as Manager};
use sqlx::{AnyConnection, ConnectOptions as _};
use sqlx_core::transaction::TransactionManager as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result};

/// Everything in a SQLite file.
const SQLITE: &str = "SELECT type, name, tbl_name, sql FROM main.sqlite_schema";

/// Everything in the schema of a PostgreSQL database that a statement of this program comes by: tables with their columns,
/// constraints, indices and rules, triggers, and the functions that these call.
const POSTGRES: &str = include_str!("schema/postgres.sql");

/// How long ago who writes may have found all of it as it has to be, for who reads alone. Triggers run where something is written. A
/// view in the place of a table, or a policy of its rows, could say for so long what is read, and a function in it run; but such a
/// transaction is one that writes nothing, and rows are compared with those that have to be there.
const LATELY: Duration = Duration::from_secs(1);

/// All tables, indices, views, triggers and the like.
#[derive(Debug)]
pub(super) struct Schema {
    select: &'static str,
    entries: Vec<Entry>,
    /// When it was found last, unless something else was found since.
    found: Mutex<Option<Instant>>,
}

/// Its type, its name, its table, and what made it; an index that a table of SQLite needs has nothing.
type Entry = (String, String, String, Option<String>);

impl Schema {
    /// What the migrations make: found out in a database in memory, or beside `connection`'s own schema in one that is rolled back.
    ///
    /// # Errors
    /// `store-failed`.
    pub(super) async fn expected(database: &Database, connection: &mut AnyConnection) -> Result<Self> {
        let error = failed("schema");
        match database {
            Database::Sqlite(_) => {
                let options: AnyConnectOptions = "sqlite::memory:".parse().map_err(&error)?;
                let mut empty = options.disable_statement_logging().connect().await.map_err(&error)?;
                database.migrate(&mut empty).await?;
                Self::of(SQLITE, &mut empty).await
            }
            Database::Postgres(_) => {
                Manager::begin(connection, None).await.map_err(&error)?;
                let scratch =
                    "CREATE SCHEMA strongroom_expected; SET LOCAL search_path TO strongroom_expected, pg_temp";
                sqlx::raw_sql(scratch).execute(&mut *connection).await.map_err(&error)?;
                database.migrate(connection).await?;
                let expected = Self::of(POSTGRES, connection).await?;
                Manager::rollback(connection).await.map_err(error)?;
                Ok(expected)
            }
        }
    }

    /// Verifies that this is all that there is.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn verify(&self, database: &mut AnyConnection) -> Result<()> {
        self.note(false);
        let found = entries(self.select, database).await?;
        if found == self.entries {
            self.note(true);
            return Ok(());
        }
        let differs = |entry: &&Entry| !(found.contains(entry) && self.entries.contains(entry));
        let entry = found.iter().chain(&self.entries).find(differs);
        let entry = entry.map(|(kind, name, ..)| format!("{kind} `{name}`"));
        Err(Refusal::new(Code::StoreTampered, "store: tables and triggers are not those that it was made with")
            .got(entry.unwrap_or_else(|| "one twice".to_owned())))
    }

    /// The same for who reads alone: that it was found lately is enough.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) async fn verify_lately(&self, database: &mut AnyConnection) -> Result<()> {
        let found = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match found.is_some_and(|found| found.elapsed() < LATELY) {
            true => Ok(()),
            false => self.verify(database).await,
        }
    }

    /// Whether it is known to be all that there is.
    pub(super) fn note(&self, is_found: bool) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = is_found.then(Instant::now);
    }

    async fn of(select: &'static str, database: &mut AnyConnection) -> Result<Self> {
        let entries = entries(select, database).await?;
        Ok(Self { select, entries, found: Mutex::default() })
    }
}

/// Everything that there is, sorted.
async fn entries(select: &'static str, database: &mut AnyConnection) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = sqlx::query_as(select).fetch_all(database).await.map_err(failed("schema"))?;
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::database::Hold;
    use crate::store::policies::tests::policy_text;
    use crate::store::{Database, Store};
    use sqlx::AssertSqlSafe;
    use std::path::Path;
    use strongroom_wire::Realm;
    use strongroom_wire::kbs::ResourcePath;

    /// Takes all triggers away, so that nothing but what authenticates the rows notices what happens to them.
    pub(in crate::store) async fn take_triggers(store: &Store) -> Vec<String> {
        let triggers: Vec<(String, String)> =
            sqlx::query_as("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
                .fetch_all(&store.pool)
                .await
                .unwrap();
        for (name, _) in &triggers {
            sqlx::query(AssertSqlSafe(format!("DROP TRIGGER {name}"))).execute(&store.pool).await.unwrap();
        }
        triggers.into_iter().map(|(_, sql)| sql).collect()
    }

    /// Puts them back.
    pub(in crate::store) async fn put_back(store: &Store, triggers: Vec<String>) {
        for trigger in triggers {
            sqlx::query(AssertSqlSafe(trigger)).execute(&store.pool).await.unwrap();
        }
    }

    /// A store with a key and two versions of a policy.
    async fn filled(folder: &Path) -> Store {
        let store = open(folder).await.unwrap();
        policy_and_key(&store).await;
        store
    }

    /// Puts them.
    pub(in crate::store) async fn policy_and_key(store: &Store) {
        let mut transaction = store.begin().await.unwrap();
        transaction.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        for first in [1, 2] {
            transaction.put_policy(&id("a/b/c"), policy_text(first).as_bytes(), 5).await.unwrap();
        }
        transaction.commit_in_test().await.unwrap();
    }

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
    }

    fn id(text: &str) -> ResourcePath {
        ResourcePath::parse(text).unwrap()
    }

    async fn put_key(store: &Store) -> Result<()> {
        let mut transaction = store.begin().await?;
        transaction.put_key(&id("a/b/new"), b"two", 5).await?;
        transaction.commit_in_test().await
    }

    const PLANTED: &str =
        "CREATE TRIGGER planted AFTER INSERT ON keys BEGIN DELETE FROM policies WHERE version = 2; END";

    #[tokio::test]
    async fn planted_trigger_works_in_no_transaction_and_what_it_would_delete_stays() {
        for (statement, expected) in [
            ("SELECT 1", None),
            (PLANTED, Some(Code::StoreTampered)),
            ("CREATE VIEW planted AS SELECT 1", Some(Code::StoreTampered)),
            ("CREATE INDEX planted ON keys (created)", Some(Code::StoreTampered)),
            ("CREATE TABLE planted (id TEXT)", Some(Code::StoreTampered)),
            ("ALTER TABLE keys ADD COLUMN planted TEXT", Some(Code::StoreTampered)),
            ("DROP TRIGGER keys_are_immutable", Some(Code::StoreTampered)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = filled(folder.path()).await;
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            assert_eq!(put_key(&store).await.err().map(|refusal| refusal.code), expected, "{statement}");
            let reading = store.begin_reading().await.err().map(|refusal| refusal.code);
            assert_eq!(reading, expected, "{statement}");
            let path = folder.path().join("verifier.sqlite");
            drop(store);
            assert_eq!(open(folder.path()).await.err().map(|refusal| refusal.code), expected, "{statement}");
            let pool = Database::sqlite(&path).pool(true).unwrap();
            let versions: Vec<(i64,)> = sqlx::query_as("SELECT version FROM policies").fetch_all(&pool).await.unwrap();
            assert_eq!(versions, [(1,), (2,)], "{statement}");
        }
    }

    #[tokio::test]
    async fn trigger_that_is_gone_again_is_no_trigger() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let triggers = take_triggers(&store).await;
        assert_eq!((triggers.len() > 5, put_key(&store).await.unwrap_err().code), (true, Code::StoreTampered));
        put_back(&store, triggers).await;
        put_key(&store).await.unwrap();
    }

    /// Stores outlive the version of sqlx that made this table: with other words for it, none of them would open.
    #[tokio::test]
    async fn table_of_the_migrations_is_made_with_the_words_that_stores_have() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("store"));
        database.make().unwrap();
        let mut connection = database.connect(Hold::Shared).await.unwrap();
        let Schema { entries, .. } = Schema::expected(&database, &mut connection).await.unwrap();
        let table = entries.into_iter().find(|entry| entry.0 == "table" && entry.1 == "_sqlx_migrations");
        let words = "CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";
        assert_eq!(table.unwrap().3.unwrap(), words);
    }
}

//! Group commit: one connection that writes, one transaction at a time, shared by the decisions that wait for it. Each works in a
//! savepoint of its own, one after the other, so that what one reads is what is in force, and one that is given up undoes nothing
//! of another. Then it queues once more, behind those who came meanwhile: the first whose turn it is again commits for all of them,
//! with all their entries of the log under one checkpoint. Nobody is answered before.
//!
//! What was proven of the database (its schema, the set of its rows, the end of its log) holds for all of them, and for those
//! of the next transaction too where the database says that nobody else committed anything in between: then it is what this writer
//! itself left there. Where others may commit while a transaction lasts, each decision verifies the set of rows anew.

mod writing;

pub(super) use writing::Writing;

use super::backfill::Backfill;
use super::database::{Database, Hold};
use super::end::End;
use super::failed;
use super::log::{Committed, Growing, Keys};
use super::rows::Rows;
use super::schema::Schema;
use super::verified::VerifiedDocuments;
use core::time::Duration;
use sqlx::any::AnyTransactionManager as Manager;
use sqlx::{AnyConnection, Connection as _};
use sqlx_core::transaction::TransactionManager as _;
use std::sync::{Arc, OnceLock, Weak};
use strongroom_appraisal::UnixTime;
use strongroom_wire::{Code, Refusal, Result};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a server may take until a transaction is begun, which others' may come before, or a connection closed.
const PATIENCE: Duration = Duration::from_secs(15);

/// The connection that writes, and what waits for its transaction.
#[derive(Debug)]
pub(super) struct Writer {
    database: Database,
    hold: Hold,
    connection: AnyConnection,
    /// Whether a transaction was begun and neither committed nor rolled back.
    open: bool,
    /// Whether somebody's savepoint is to be gone back to before anything else.
    undo: bool,
    /// Whether the connection failed, and nothing more is done on it.
    broken: bool,
    /// What the last transaction left, as long as nobody else changes it.
    left: Option<Left>,
    backfill: Option<Backfill>,
    /// Accepted sessions, as they were counted in this second and grew here since.
    sessions: Option<(UnixTime, u64)>,
    group: Group,
    /// This one, for what is done behind whoever gave up.
    this: Weak<Mutex<Self>>,
}

/// What shares a transaction.
#[derive(Debug, Default)]
struct Group {
    /// How many wait for it.
    members: usize,
    /// What tells the database, whose schema was verified, from what it is once somebody else changed it.
    version: Option<i64>,
    /// The end of the log, once one of them asked for it.
    log: Option<Growing>,
    /// Which rows there are, once one of them asked for them.
    rows: Option<Arc<Rows>>,
    outcome: Arc<Outcome>,
}

/// What a transaction left when it was committed. Its schema was verified.
#[derive(Debug)]
struct Left {
    version: i64,
    log: Option<Growing>,
    rows: Option<Arc<Rows>>,
}

/// What a transaction came to, for all who waited for it: what it made of the log, if anything.
type Outcome = OnceLock<Result<Option<Arc<Committed>>>>;

impl Writer {
    /// A writer with this connection, and with what another one is made by.
    pub(super) fn new(
        connection: AnyConnection,
        database: Database,
        hold: Hold,
        backfill: Option<Backfill>,
    ) -> Arc<Mutex<Self>> {
        Arc::new_cyclic(|this| {
            Mutex::new(Self {
                database,
                hold,
                connection,
                open: false,
                undo: false,
                broken: false,
                left: None,
                backfill,
                sessions: None,
                group: Group::default(),
                this: Weak::clone(this),
            })
        })
    }

    /// The connection, for what is no decision: nobody else does anything on it meanwhile.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Begins the transaction, where none is shared yet, in which the schema is what it has to be.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    async fn open(&mut self, schema: &Schema) -> Result<()> {
        self.settle().await;
        if self.open {
            return Ok(());
        }
        if self.broken || self.begin().await.is_err() {
            // The server went away; or a transaction that nobody waited for was rolled back by SQLite itself, of which sqlx knows
            // nothing.
            self.replace().await?;
            self.begin().await?;
        }
        self.open = true;
        let left = self.left.take();
        let version = self.database.version(&mut self.connection).await?;
        match left.filter(|left| Some(left.version) == version) {
            Some(Left { log, rows, .. }) => {
                (self.group.log, self.group.rows) = (log, rows);
                schema.note(true);
            }
            // While the transaction lasts nobody else changes it.
            None => schema.verify(&mut self.connection).await?,
        }
        self.group.version = version;
        Ok(())
    }

    /// Whoever is interrupted here leaves a connection of which nobody knows what is done on it.
    async fn begin(&mut self) -> Result<()> {
        self.broken = true;
        let begin = Manager::begin(&mut self.connection, Some(self.database.begin_writing()));
        let late = || Refusal::new(Code::StoreFailed, "store: transaction").got("no answer");
        timeout(PATIENCE, begin).await.map_err(|_| late())?.map_err(failed("transaction"))?;
        self.broken = false;
        Ok(())
    }

    /// Takes another connection: whatever the old one had not committed is undone when it is closed.
    async fn replace(&mut self) -> Result<()> {
        self.broken = true;
        // What tells one database from a changed one is of its connection.
        self.left = None;
        let another = self.database.connect(self.hold).await?;
        let old = core::mem::replace(&mut self.connection, another);
        self.broken = false;
        // It may be beyond closing.
        drop(timeout(PATIENCE, old.close_hard()).await);
        Ok(())
    }

    /// Goes back to before what somebody gave up. Where there is nothing to go back to, SQLite rolled back all of the transaction by
    /// itself, as it does when a disk is full or fails: then nobody's change is there any more.
    async fn settle(&mut self) {
        if !self.undo {
            return;
        }
        let mut undoing = Interrupted(Some(self));
        let Some(writer) = &mut undoing.0 else { return };
        match Manager::rollback(&mut writer.connection).await {
            Ok(()) => writer.undo = false,
            Err(error) => writer.fail(failed("savepoint")(error)),
        }
        undoing.0 = None;
    }

    /// Rolls the transaction back. Nobody waits for it.
    fn give_up(&mut self) {
        Manager::start_rollback(&mut self.connection);
        (self.open, self.undo, self.sessions) = (false, false, None);
        self.group = Group::default();
        // To a server it is only said with what is said next: until then others would wait for the lock.
        if self.database.is_shared()
            && let (Some(writer), Ok(runtime)) = (self.this.upgrade(), Handle::try_current())
        {
            runtime.spawn(async move { writer.lock().await.let_go().await });
        }
    }

    /// Says to the server that a transaction is over which was given up, however it was.
    async fn let_go(&mut self) {
        if !self.open {
            let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection);
            self.broken |= !matches!(timeout(PATIENCE, rollback).await, Ok(Ok(_)));
        }
    }

    /// Says to all who wait for the transaction that it failed. What is left of it goes with its connection.
    fn fail(&mut self, refusal: Refusal) {
        let outcome = Arc::clone(&self.group.outcome);
        self.give_up();
        self.broken = true;
        // Nobody said before what it came to.
        drop(outcome.set(Err(refusal)));
    }

    /// Commits for all who wait.
    async fn close(&mut self, keys: Keys<'_>, documents: &VerifiedDocuments) {
        let mut closing = Interrupted(Some(self));
        let Some(writer) = &mut closing.0 else { return };
        match writer.commit(keys).await {
            Ok(committed) => {
                let Group { version, log, rows, outcome, .. } = core::mem::take(&mut writer.group);
                if let (Some(committed), Some(log)) = (&committed, &log) {
                    let note = committed.checkpoint.clone();
                    documents.last.commit(End::new(note, committed.size, log.rows().to_vec()));
                }
                if let (Some(log), Some(rows)) = (&log, &rows) {
                    documents.last.learn(log.rows(), rows);
                }
                writer.left = version.map(|version| Left { version, log, rows });
                writer.open = false;
                drop(outcome.set(Ok(committed)));
                // It ends by itself.
                drop(writer.backfill.as_mut().and_then(Backfill::committed));
            }
            Err(refusal) => writer.fail(refusal),
        }
        closing.0 = None;
    }

    async fn commit(&mut self, keys: Keys<'_>) -> Result<Option<Arc<Committed>>> {
        let Self { connection, group: Group { log, .. }, .. } = self;
        let committed = match log {
            Some(log) if log.has_grown() => Some(Arc::new(log.write(connection, keys).await?)),
            _ => None,
        };
        Manager::commit(connection).await.map_err(failed("commit"))?;
        Ok(committed)
    }
}

/// Who does what all depend on, and may be interrupted.
struct Interrupted<'a>(Option<&'a mut Writer>);

impl Drop for Interrupted<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            writer.fail(interrupted());
        }
    }
}

fn interrupted() -> Refusal {
    Refusal::new(Code::StoreFailed, "store: commit").got("an interruption")
}

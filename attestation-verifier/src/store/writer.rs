//! Group commit: one connection that writes, one transaction at a time, shared by the decisions that wait for it. Each works in a
//! savepoint of its own, one after the other, so that what one reads is what is in force, and one that is given up undoes nothing
//! of another. Then it queues once more, behind those who came meanwhile: the first whose turn it is again commits for all of them,
//! with all their entries of the log under one checkpoint. Nobody is answered before.

use super::failed;
use super::log::{Committed, Growing, Keys, Leaf};
use super::schema::Schema;
use crate::master_key::MasterKey;
use core::ops::{Deref, DerefMut};
use sqlx::sqlite::SqliteTransactionManager as Manager;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;
use std::sync::{Arc, OnceLock};
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{Mutex, MutexGuard};

/// The connection that writes, and what waits for its transaction.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    /// Whether a transaction was begun and neither committed nor rolled back.
    open: bool,
    group: Group,
}

/// What shares a transaction.
#[derive(Debug, Default)]
struct Group {
    /// How many wait for it.
    members: usize,
    /// The log, once one of them has an entry for it.
    log: Option<Growing>,
    outcome: Arc<Outcome>,
}

/// What a transaction came to, for all who waited for it: what it made of the log, if anything.
type Outcome = OnceLock<Result<Option<Arc<Committed>>>>;

/// One's turn to write. Dropped, it is as if it had not been.
pub(super) struct Writing<'a> {
    mutex: &'a Mutex<Writer>,
    writer: MutexGuard<'a, Writer>,
    keys: Keys<'a>,
    /// Whether there is a savepoint to go back to.
    savepoint: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It may still be given up alone.
    Deciding,
    /// Whether it is part of the transaction is for the database to say.
    Joining,
    /// It is.
    Joined,
}

impl Writer {
    /// A writer with this connection, and with what another one is made by.
    pub(super) fn new(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        Self { options, connection, open: false, group: Group::default() }
    }

    /// The connection, for what tests do behind everybody's back.
    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Begins the transaction, where none is shared yet. While it lasts nobody else changes the schema.
    async fn open(&mut self, schema: &Schema) -> Result<()> {
        if self.open {
            return Ok(());
        }
        let begin = || Some("BEGIN IMMEDIATE".into_sql_str());
        let began = match Manager::begin(&mut self.connection, begin()).await {
            // A disk that is full, or fails, rolls back by itself, of which sqlx knows nothing: to it there still is a transaction.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.connection = self.options.connect().await.map_err(failed("opening"))?;
                Manager::begin(&mut self.connection, begin()).await
            }
            began => began,
        };
        began.map_err(failed("transaction"))?;
        self.open = true;
        let verified = schema.verify(&mut self.connection).await;
        if verified.is_err() {
            self.give_up();
        }
        verified
    }

    /// Rolls the transaction back. Nobody waits for it.
    fn give_up(&mut self) {
        Manager::start_rollback(&mut self.connection);
        self.open = false;
        self.group = Group::default();
    }

    /// Rolls the transaction back, and says so to all who wait for it.
    fn fail(&mut self, refusal: Refusal) {
        let outcome = Arc::clone(&self.group.outcome);
        self.give_up();
        // Nobody said before what it came to.
        drop(outcome.set(Err(refusal)));
    }

    /// Commits for all who wait.
    async fn close(&mut self, keys: Keys<'_>) {
        let mut closing = Closing(Some(self));
        let Some(writer) = &mut closing.0 else { return };
        match writer.commit(keys).await {
            Ok(committed) => {
                let group = core::mem::take(&mut writer.group);
                writer.open = false;
                drop(group.outcome.set(Ok(committed)));
            }
            Err(refusal) => writer.fail(refusal),
        }
        closing.0 = None;
    }

    async fn commit(&mut self, keys: Keys<'_>) -> Result<Option<Arc<Committed>>> {
        let committed = match self.group.log.take() {
            Some(log) => Some(Arc::new(log.write(&mut self.connection, keys).await?)),
            None => None,
        };
        Manager::commit(&mut self.connection).await.map_err(failed("commit"))?;
        Ok(committed)
    }
}

/// Who commits for all, and may be interrupted.
struct Closing<'a>(Option<&'a mut Writer>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            writer.fail(interrupted());
        }
    }
}

fn interrupted() -> Refusal {
    Refusal::new(Code::StoreFailed, "store: commit").got("an interruption")
}

impl<'a> Writing<'a> {
    /// Waits for its turn. `savepoint`: it may write something else than an entry of the log, and give that up.
    ///
    /// # Errors
    /// `store-tampered`: the schema is not that of the migrations; `store-failed`.
    pub(super) async fn begin(
        mutex: &'a Mutex<Writer>,
        schema: &Schema,
        keys: Keys<'a>,
        savepoint: bool,
    ) -> Result<Self> {
        let mut writer = mutex.lock().await;
        writer.open(schema).await?;
        let mut writing = Self { mutex, writer, keys, savepoint: false, stage: Stage::Deciding };
        if savepoint {
            // sqlx rolls it back where nobody waits for the answer any more.
            Manager::begin(&mut writing.writer.connection, None).await.map_err(failed("savepoint"))?;
            writing.savepoint = true;
        }
        Ok(writing)
    }

    /// Commits under another master key. Nobody else may be waiting.
    pub(super) fn under(&mut self, master: &'a MasterKey) {
        self.keys.master = master;
    }

    /// The log, whose end is verified when the first entry of a transaction comes.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn log(&mut self) -> Result<&mut Growing> {
        let Writer { connection, group, .. } = &mut *self.writer;
        if group.log.is_none() {
            group.log = Some(Growing::load(connection, self.keys).await?);
        }
        group.log.as_mut().ok_or_else(|| Refusal::new(Code::Internal, "audit log"))
    }

    /// Begins the log of a new store.
    pub(super) fn begin_log(&mut self) -> &mut Growing {
        self.writer.group.log.insert(Growing::new())
    }

    /// Waits until what it did is durable, with `leaf` as the next entry of the log.
    ///
    /// # Errors
    /// `store-failed`: nothing of it is there.
    pub(super) async fn commit(mut self, leaf: Option<Leaf>) -> Result<Option<Arc<Committed>>> {
        self.stage = Stage::Joining;
        if let (Some(leaf), Some(log)) = (leaf, &mut self.writer.group.log) {
            log.push(leaf);
        }
        if self.savepoint {
            Manager::commit(&mut self.writer.connection).await.map_err(failed("savepoint"))?;
        }
        self.stage = Stage::Joined;
        self.writer.group.members = self.writer.group.members.saturating_add(1);
        let outcome = Arc::clone(&self.writer.group.outcome);
        let (mutex, keys) = (self.mutex, self.keys);
        drop(self);
        let mut writer = mutex.lock().await;
        if outcome.get().is_none() {
            writer.close(keys).await;
        }
        outcome.get().cloned().unwrap_or_else(|| Err(interrupted()))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.stage == Stage::Joined {
            return;
        }
        if self.savepoint {
            Manager::start_rollback(&mut self.writer.connection);
        }
        if self.stage == Stage::Joining {
            // The others' entries are numbered after its own.
            self.writer.fail(interrupted());
        } else if self.writer.group.members == 0 {
            self.writer.give_up();
        }
    }
}

impl Deref for Writing<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.writer.connection
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writer.connection
    }
}

//! Group commit: one connection that writes, one transaction at a time, shared by the decisions that wait for it. Each works in a
//! savepoint of its own, one after the other, so that what one reads is what is in force, and one that is given up undoes nothing
//! of another. Then it queues once more, behind those who came meanwhile: the first whose turn it is again commits for all of them,
//! with all their entries of the log under one checkpoint. Nobody is answered before.

use super::database::{Database, Hold};
use super::failed;
use super::log::{Committed, Growing, Keys, Leaf};
use super::schema::Schema;
use crate::master_key::MasterKey;
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use sqlx::any::AnyTransactionManager as Manager;
use sqlx::{AnyConnection, Connection as _};
use sqlx_core::transaction::TransactionManager as _;
use std::sync::{Arc, OnceLock, Weak};
use strongroom_tlog::SignedNote;
use strongroom_wire::{Code, Refusal, Result};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
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
    /// The end of the log that was committed here last: what is in the database goes on from it, or was put back.
    last: Option<SignedNote>,
    group: Group,
    /// This one, for what is done behind whoever gave up.
    this: Weak<Mutex<Self>>,
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
    /// Given up now, it takes the transaction along.
    Joining,
    /// It is.
    Joined,
}

impl Writer {
    /// A writer with this connection, and with what another one is made by.
    pub(super) fn new(connection: AnyConnection, database: Database, hold: Hold) -> Arc<Mutex<Self>> {
        let (group, last) = (Group::default(), None);
        Arc::new_cyclic(|this| {
            let this = Weak::clone(this);
            Mutex::new(Self { database, hold, connection, open: false, undo: false, broken: false, last, group, this })
        })
    }

    /// The connection, for what is no decision: nobody else does anything on it meanwhile.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Begins the transaction, where none is shared yet; whether it did.
    async fn open(&mut self) -> Result<bool> {
        self.settle().await;
        if self.open {
            return Ok(false);
        }
        if self.broken || self.begin().await.is_err() {
            // The server went away; or a transaction that nobody waited for was rolled back by SQLite itself, of which sqlx knows
            // nothing.
            self.replace().await?;
            self.begin().await?;
        }
        self.open = true;
        Ok(true)
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
        (self.open, self.undo) = (false, false);
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
    async fn close(&mut self, keys: Keys<'_>) {
        let mut closing = Interrupted(Some(self));
        let Some(writer) = &mut closing.0 else { return };
        match writer.commit(keys).await {
            Ok(committed) => {
                if let Some(committed) = &committed {
                    writer.last = Some(committed.checkpoint.clone());
                }
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
        // From here on it is given up where this is.
        let mut writing = Self { mutex, writer: mutex.lock().await, keys, savepoint: false, stage: Stage::Deciding };
        if writing.writer.open().await? {
            // While the transaction lasts nobody else changes the schema.
            schema.verify(&mut writing.writer.connection).await?;
        }
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
        let Writer { connection, group, last, .. } = &mut *self.writer;
        if group.log.is_none() {
            // Where it fails, SQLite may have rolled back.
            self.stage = Stage::Joining;
            group.log = Some(Growing::load(connection, self.keys, last.as_ref()).await?);
            self.stage = Stage::Deciding;
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
        writer.settle().await;
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
        if self.stage == Stage::Joining {
            // What the database made of it is not known, and the others' entries are numbered after its own.
            self.writer.fail(interrupted());
        } else if self.writer.group.members == 0 {
            if self.savepoint {
                Manager::start_rollback(&mut self.writer.connection);
            }
            self.writer.give_up();
        } else {
            self.writer.undo = self.savepoint;
        }
    }
}

impl Deref for Writing<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.writer.connection
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.writer.connection
    }
}

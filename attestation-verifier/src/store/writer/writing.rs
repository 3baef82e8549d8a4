//! One's turn to write, in a transaction that several share.

use super::super::authentic::{unauthenticated, verify};
use super::super::failed;
use super::super::log::{Committed, Growing, Keys, Leaf};
use super::super::rows::Rows;
use super::super::schema::Schema;
use super::super::verified::VerifiedDocuments;
use super::{Group, Left, Writer, interrupted};
use crate::master_key::MasterKey;
use core::ops::{Deref, DerefMut};
use sqlx::AnyConnection;
use sqlx::any::AnyTransactionManager as Manager;
use sqlx_core::transaction::TransactionManager as _;
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{Mutex, MutexGuard};

/// One's turn to write. Dropped, it is as if it had not been.
pub(in crate::store) struct Writing<'a> {
    mutex: &'a Mutex<Writer>,
    writer: MutexGuard<'a, Writer>,
    keys: Keys<'a>,
    documents: &'a VerifiedDocuments,
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

impl<'a> Writing<'a> {
    /// Waits for its turn. `savepoint`: it may write something else than an entry of the log, and give that up.
    ///
    /// # Errors
    /// `store-tampered`: the schema is not that of the migrations; `store-failed`.
    pub(in crate::store) async fn begin(
        mutex: &'a Mutex<Writer>,
        schema: &Schema,
        keys: Keys<'a>,
        documents: &'a VerifiedDocuments,
        savepoint: bool,
    ) -> Result<Self> {
        let (writer, stage) = (mutex.lock().await, Stage::Deciding);
        // From here on it is given up where this is.
        let mut writing = Self { mutex, writer, keys, documents, savepoint: false, stage };
        writing.writer.open(schema).await?;
        if writing.writer.database.is_shared() {
            // On a server others may have committed since it was verified for the one before.
            writing.writer.group.rows = None;
        }
        if savepoint {
            // sqlx rolls it back where nobody waits for the answer any more.
            Manager::begin(&mut writing.writer.connection, None).await.map_err(failed("savepoint"))?;
            writing.savepoint = true;
        }
        Ok(writing)
    }

    /// Commits under another master key. Nobody else may be waiting.
    pub(in crate::store) fn under(&mut self, master: &'a MasterKey) {
        self.keys.master = master;
        self.documents.last.forget();
        (self.writer.group.log, self.writer.group.rows) = (None, None);
    }

    /// Verifies which rows there are, with the end of the log that they are authenticated with; once in a transaction.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(in crate::store) async fn verify_rows(&mut self) -> Result<()> {
        if self.writer.group.rows.is_some() {
            return Ok(());
        }
        self.log().await?;
        let Writer { connection, group, .. } = &mut *self.writer;
        let rows = Rows::read(connection).await?;
        let mac = group.log.as_ref().map(Growing::rows).ok_or_else(unauthenticated)?;
        verify(&rows, mac, self.keys.master)?;
        group.rows = Some(Arc::new(rows));
        Ok(())
    }

    /// The rows that were verified, to say what was changed. `None`: none were.
    pub(in crate::store) fn rows_mut(&mut self) -> Option<&mut Arc<Rows>> {
        self.writer.group.rows.as_mut()
    }

    /// How many accepted sessions there are at `now`, by what was counted; `None`: nothing was, of this second.
    pub(in crate::store) fn sessions(&self, now: UnixTime) -> Option<u64> {
        self.writer.sessions.filter(|(at, _)| *at == now).map(|(_, count)| count)
    }

    /// Says how many were counted.
    pub(in crate::store) fn set_sessions(&mut self, now: UnixTime, count: u64) {
        self.writer.sessions = Some((now, count));
    }

    /// The log, whose end is verified when the first entry of a transaction comes.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(in crate::store) async fn log(&mut self) -> Result<&mut Growing> {
        let Writer { connection, group, .. } = &mut *self.writer;
        if group.log.is_none() {
            // Where it fails, SQLite may have rolled back.
            self.stage = Stage::Joining;
            let last = self.documents.last.get();
            let (log, end) = Growing::load(connection, self.keys, last.as_deref()).await?;
            self.documents.last.keep(last.as_ref(), end);
            group.log = Some(log);
            self.stage = Stage::Deciding;
        }
        group.log.as_mut().ok_or_else(|| Refusal::new(Code::Internal, "audit log"))
    }

    /// Begins the log of a new store.
    pub(in crate::store) fn begin_log(&mut self, rows: Vec<u8>) -> &mut Growing {
        self.writer.group.log.insert(Growing::new(rows))
    }

    /// Waits until what it did is durable, with `leaf` as the next entry of the log.
    ///
    /// # Errors
    /// `store-failed`: nothing of it is there; `internal`: the same, since it changed rows without an entry.
    pub(in crate::store) async fn commit(mut self, leaf: Option<Leaf>) -> Result<Option<Arc<Committed>>> {
        if leaf.is_none() && self.writer.group.rows.as_ref().is_some_and(|rows| rows.are_changed()) {
            return Err(Refusal::new(Code::Internal, "store: rows changed without an entry of the log"));
        }
        self.stage = Stage::Joining;
        let Writer { connection, group: Group { log, rows, .. }, .. } = &mut *self.writer;
        if let (Some(rows), Some(log)) = (rows, &mut *log)
            && rows.are_changed()
        {
            // Before anybody else decides: what they have to find is what this one left.
            let rows = Arc::make_mut(rows);
            rows.settle(connection).await?;
            log.set_rows(self.keys.master.mac(rows.content().bytes()));
        }
        if let (Some(leaf), Some(log)) = (leaf, log) {
            log.push(leaf);
        }
        if self.savepoint {
            Manager::commit(&mut self.writer.connection).await.map_err(failed("savepoint"))?;
        }
        self.stage = Stage::Joined;
        self.writer.group.members = self.writer.group.members.saturating_add(1);
        let outcome = Arc::clone(&self.writer.group.outcome);
        let (mutex, keys, documents) = (self.mutex, self.keys, self.documents);
        drop(self);
        let mut writer = mutex.lock().await;
        writer.settle().await;
        if outcome.get().is_none() {
            writer.close(keys, documents).await;
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
            let (Group { version, log, rows, .. }, sessions) =
                (core::mem::take(&mut self.writer.group), self.writer.sessions);
            if self.savepoint {
                Manager::start_rollback(&mut self.writer.connection);
            }
            self.writer.give_up();
            if !self.savepoint {
                // Nothing was written.
                self.writer.left = version.map(|version| Left { version, log, rows });
                self.writer.sessions = sessions;
            }
        } else if self.savepoint {
            let Writer { undo, sessions, group, .. } = &mut *self.writer;
            *undo = true;
            // Some of what was counted and changed is not: it is found out anew, and has to be what it was.
            (*sessions, group.rows) = (None, None);
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

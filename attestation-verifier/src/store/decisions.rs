//! Decisions, recorded in the audit log.

use super::log::{self, Committed, Head, Keys, Leaf};
use super::writer::Writing;
use super::{Store, Transaction};
use crate::audit::Event;
use crate::clock::Clock;
use serde_json::json;
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_tlog::{EntryProof, SignedNote, Tile, entries, prove_inclusion};
use strongroom_wire::audit::{Entry, ORIGIN, VERSION};
use strongroom_wire::{Code, Realm, Refusal, Result};

/// Entries that opening a store verifies, the newest: some seconds' worth. All of them are for `strongroom audit verify`.
const VERIFIED: u64 = 100_000;

/// Proof that a decision is on disk. Only [`Transaction::commit`] and [`Store::record`] make one, and without one no key leaves the
/// store.
#[derive(Debug)]
pub(crate) struct Recorded {
    seq: u64,
    leaf: Arc<[u8]>,
    committed: Arc<Committed>,
}

impl Recorded {
    /// The number of its entry.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// The proof that its entry, which it carries, is in the log, under the checkpoint that was committed with it.
    ///
    /// # Errors
    /// `log-proof-invalid`.
    pub(crate) fn proof(&self) -> Result<EntryProof> {
        Ok(EntryProof {
            index: self.seq,
            extra: Some(self.leaf.to_vec()),
            path: prove_inclusion(self.seq, self.committed.size, &self.committed.tiles)?,
            checkpoint: self.committed.checkpoint.clone(),
        })
    }
}

impl Store {
    /// Records a decision that changes nothing else, at the time that it is when it is its turn.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`: nothing was recorded.
    pub(crate) async fn record(&self, clock: &Clock, event: &Event) -> Result<Recorded> {
        let writing = self.writing(false).await?;
        append(writing, clock.now(), event).await
    }
}

async fn append(mut writing: Writing<'_>, time: UnixTime, event: &Event) -> Result<Recorded> {
    let log = writing.log().await?;
    let (seq, leaf) = (log.next(), log.leaf(time, event)?);
    let bytes = Arc::clone(leaf.bytes());
    let committed = writing.commit(Some(leaf)).await?;
    let committed = committed.ok_or_else(|| Refusal::new(Code::Internal, "audit log"))?;
    Ok(Recorded { seq, leaf: bytes, committed })
}

impl Transaction<'_> {
    /// Appends a decision and returns once it, and everything that this transaction changed, is durable. `time` was read
    /// after the transaction began.
    ///
    /// # Errors
    /// `store-failed`: nothing was appended and nothing changed; `store-tampered`: nor was it, since the log does not end
    /// where it did.
    pub(crate) async fn commit(self, time: UnixTime, event: &Event) -> Result<Recorded> {
        append(self.sql.writing()?, time, event).await
    }

    /// Begins the log of a new store, whose set of rows has this code, with entry 0, which says which log it is, and commits.
    pub(super) async fn begin_log(self, realm: Realm, rows: Vec<u8>) -> Result<()> {
        let key = self.log.verifier();
        let entry = Entry {
            v: VERSION,
            seq: 0,
            time: 0,
            kind: ORIGIN.to_owned(),
            subject: key.name().to_owned(),
            code: String::new(),
            detail: json!({ "key": key.to_string(), "realm": realm.to_string() }),
        };
        let mut writing = self.sql.writing()?;
        writing.begin_log(rows);
        writing.commit(Some(Leaf::new(ORIGIN, entry.leaf()?))).await.map(drop)
    }

    /// At most `most` entries after number `after`, in order; those of one kind where one is named.
    ///
    /// # Errors
    /// `store-tampered`: what is stored is no entry, or another than where it is; `store-failed`.
    pub(crate) async fn audit(&mut self, after: u64, most: u64, kind: Option<&str>) -> Result<Vec<Entry>> {
        let rows = log::leaves(&mut self.sql, after.saturating_add(1), most, kind).await?;
        let entry = |(seq, kind, leaf): &(u64, String, Vec<u8>)| {
            let entry = Entry::parse(leaf).map_err(|e| log::tampered("entry of the audit log").because(e))?;
            if (entry.seq, &entry.kind) == (*seq, kind) {
                return Ok(entry);
            }
            Err(log::tampered("entry of the audit log").got(entry.seq).want(seq))
        };
        rows.iter().map(entry).collect()
    }

    /// How many entries the log has, and the time of the newest.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(crate) async fn log_end(&mut self) -> Result<(u64, UnixTime)> {
        let keys = Keys { master: self.master, log: self.log };
        let Head { checkpoint, .. } = log::head(&mut self.sql, keys).await?;
        let entries = checkpoint.size();
        let rows = log::leaves(&mut self.sql, entries.saturating_sub(1), 1, None).await?;
        let (_, _, leaf) = rows.first().ok_or_else(|| log::tampered("the audit log is empty"))?;
        let newest = Entry::parse(leaf).map_err(|e| log::tampered("entry of the audit log").because(e))?;
        Ok((entries, newest.time))
    }

    /// The newest checkpoint, as it is served.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(crate) async fn checkpoint(&mut self) -> Result<SignedNote> {
        let keys = Keys { master: self.master, log: self.log };
        log::head(&mut self.sql, keys).await.map(|head| head.note)
    }

    /// The hashes of a tile, as they are served.
    ///
    /// # Errors
    /// `log-proof-invalid`: the log has none such; `store-tampered`; `store-failed`.
    pub(crate) async fn tile(&mut self, tile: Tile) -> Result<Vec<u8>> {
        self.has(tile).await?;
        log::hashes(&mut self.sql, tile).await
    }

    /// The entries below a tile of level 0, as they are served.
    ///
    /// # Errors
    /// As [`Self::tile`].
    pub(crate) async fn bundle(&mut self, tile: Tile) -> Result<Vec<u8>> {
        self.has(tile).await?;
        let mut bundle = Vec::new();
        for entry in log::bundle(&mut self.sql, tile).await? {
            entries::push(&mut bundle, &entry)?;
        }
        Ok(bundle)
    }

    async fn has(&mut self, tile: Tile) -> Result<()> {
        let keys = Keys { master: self.master, log: self.log };
        let Head { checkpoint, .. } = log::head(&mut self.sql, keys).await?;
        let widest = Tile::of_tree(tile.level(), tile.index(), checkpoint.size())?;
        if tile.width() <= widest.width() {
            return Ok(());
        }
        let refusal = Refusal::new(Code::LogProofInvalid, tile.path());
        Err(refusal.got(format!("a tree of {} entries", checkpoint.size())))
    }

    /// Verifies the newest entries of the log, and that it ends where it was authenticated to end.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn verify_audit(&mut self) -> Result<()> {
        let keys = Keys { master: self.master, log: self.log };
        let Head { checkpoint, .. } = log::head(&mut self.sql, keys).await?;
        log::verify(&mut self.sql, checkpoint.size().saturating_sub(VERIFIED), keys).await
    }
}

#[cfg(test)]
mod tests;

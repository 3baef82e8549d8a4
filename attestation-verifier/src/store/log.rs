//! The audit log as a transparency log in the store: leaves, the tiles of their tree, and a checkpoint, which the log's key signed
//! in the very transaction that appended.
//!
//! The last tile of each level is as wide as the tree has it, so that nothing but those is read to append: O(log n).

use super::authentic::{Content, HEAD, ROWS, unauthenticated};
use super::end::End;
use super::{failed, from_integer, to_integer};
use crate::audit::Event;
use crate::master_key::MasterKey;
use sqlx::{AnyConnection, AssertSqlSafe};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_tlog::{
    Checkpoint, NoteSigner, SignedNote, Tile, Tiles, Trust, VerifiedCheckpoint, entries, prove_consistency, root,
    tiles_of_consistency, tiles_of_root, verify_consistency,
};
use strongroom_wire::merkle::leaf_hash;
use strongroom_wire::{Code, Refusal, Result};

/// The name in `meta` of the log's newest checkpoint, a signed note.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Leaves in one INSERT: each has three values, and SQLite takes 32,766 in a statement, PostgreSQL 65,535.
const INSERTED: usize = 1000;

/// Hashes of a full tile, and leaves below one.
pub(super) const WIDTH: u64 = 256;

/// What the log's end is authenticated and signed by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) master: &'a MasterKey,
    pub(super) log: &'a NoteSigner,
}

/// The log's end, authenticated together with the set of rows.
#[derive(Debug)]
pub(super) struct Head {
    /// The newest checkpoint as it is stored.
    pub(super) note: SignedNote,
    /// The same, verified.
    pub(super) checkpoint: VerifiedCheckpoint,
    /// The code of the set of rows.
    pub(super) rows: Vec<u8>,
}

/// The log's end as a transaction found it, and what is to be appended to it before that commits.
#[derive(Debug)]
pub(super) struct Growing {
    size: u64,
    /// The last of each level.
    tiles: Tiles,
    /// The code of the set of rows that it is authenticated with.
    rows: Vec<u8>,
    leaves: Vec<Leaf>,
}

/// A decision that is to be appended.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    kind: &'static str,
    bytes: Arc<[u8]>,
}

impl Leaf {
    pub(super) fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { kind, bytes: bytes.into() }
    }

    pub(super) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

/// What a transaction made of the log: proofs of what it appended come from here.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The tiles that it changed, and those that were the last before.
    pub(super) tiles: Tiles,
    /// How many entries there are.
    pub(super) size: u64,
    /// The signed checkpoint.
    pub(super) checkpoint: SignedNote,
}

pub(super) fn tampered(what: &str) -> Refusal {
    Refusal::new(Code::StoreTampered, format!("store: {what}"))
}

/// The newest checkpoint, where the log's key signed it and it was authenticated together with the set of rows as that is now.
///
/// # Errors
/// `store-tampered`; `store-failed`.
pub(super) async fn head(sql: &mut AnyConnection, keys: Keys<'_>) -> Result<Head> {
    let select = sqlx::query_as("SELECT name, value FROM meta WHERE name IN ($1, $2, $3)");
    let select = select.bind(CHECKPOINT).bind(HEAD).bind(ROWS).fetch_all(sql);
    let mut found: BTreeMap<String, Vec<u8>> = select.await.map_err(failed("meta"))?.into_iter().collect();
    let note = found.remove(CHECKPOINT).ok_or_else(|| tampered("the audit log has no checkpoint"))?;
    let note = SignedNote::parse(&note).map_err(|e| tampered("the audit log's checkpoint").because(e))?;
    let mac = found.remove(HEAD).ok_or_else(|| tampered("the audit log is not authenticated"))?;
    let rows = found.remove(ROWS).ok_or_else(unauthenticated)?;
    keys.master.verify("store: the end of the audit log", ending(&note, &rows).bytes(), &mac)?;
    let checkpoint = trust(keys)?.verify(&note).map_err(|e| tampered("the audit log's checkpoint").because(e))?;
    Ok(Head { note, checkpoint, rows })
}

fn trust(keys: Keys<'_>) -> Result<Trust> {
    Trust::new(keys.log.verifier().clone(), Vec::new(), 0)
}

/// Verifies that nothing was put back since the store ended at `last`: it ends there still, with the same rows, or other verifiers that
/// share the database appended meanwhile.
///
/// # Errors
/// `store-tampered`; `store-failed`.
pub(super) async fn verify_goes_on(sql: &mut AnyConnection, keys: Keys<'_>, last: &End, head: &Head) -> Result<()> {
    if last.note.text() == head.note.text() {
        // No row is changed without an entry.
        return match last.code == head.rows {
            true => Ok(()),
            false => Err(tampered("rows were put back").got(format!("others beside {} entries", last.size))),
        };
    }
    let (last, end) = (&trust(keys)?.verify(&last.note)?, &head.checkpoint);
    let put_back = || {
        let checkpoint = |one: &VerifiedCheckpoint| format!("{} entries, root {}", one.size(), one.root());
        tampered("the audit log was put back").got(checkpoint(end)).want(format!("{}, or more", checkpoint(last)))
    };
    if end.size() <= last.size() {
        return Err(put_back());
    }
    let tiles = tiles(sql, tiles_of_consistency(last.size(), end.size())?).await?;
    let proof = prove_consistency(last.size(), end.size(), &tiles).map_err(|e| put_back().because(e))?;
    verify_consistency(last, end, &proof).map_err(|e| put_back().because(e))
}

/// Authenticates a checkpoint as the end of the log, together with the set of rows, whose code this is: neither can be put back
/// without the other.
pub(super) async fn authenticate(
    sql: &mut AnyConnection,
    note: &SignedNote,
    rows: &[u8],
    keys: Keys<'_>,
) -> Result<()> {
    let mac = keys.master.mac(ending(note, rows).bytes());
    let upsert = "INSERT INTO meta (name, value) VALUES ($1, $2), ($3, $4), ($5, $6)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    let upsert = sqlx::query(upsert).bind(CHECKPOINT).bind(note.to_string().into_bytes());
    let upsert = upsert.bind(HEAD).bind(mac).bind(ROWS).bind(rows);
    upsert.execute(sql).await.map(drop).map_err(failed("meta"))
}

fn ending(note: &SignedNote, rows: &[u8]) -> Content {
    Content::of("strongroom/audit-head/v2").field(note.text().as_bytes()).field(rows)
}

impl Growing {
    /// The log that has nothing yet, beside rows whose set has this code.
    pub(super) fn new(rows: Vec<u8>) -> Self {
        Self { size: 0, tiles: Tiles::default(), rows, leaves: Vec::new() }
    }

    /// The end of the log: its checkpoint is signed and authenticated, and goes on from where it ended `last`, where that is known; the
    /// last tiles hash to its root, and the highest number of an entry is that of its last.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(super) async fn load(sql: &mut AnyConnection, keys: Keys<'_>, last: Option<&End>) -> Result<(Self, End)> {
        let head = head(sql, keys).await?;
        if let Some(last) = last {
            verify_goes_on(sql, keys, last, &head).await?;
        }
        let Head { note, checkpoint, rows } = head;
        let size = checkpoint.size();
        let tiles = tiles(sql, tiles_of_root(size)?).await?;
        let found = root(size, &tiles).map_err(|e| tampered("the audit log's tiles").because(e))?;
        if found != checkpoint.root() {
            return Err(tampered("the audit log's tiles").got(found).want(checkpoint.root()));
        }
        let last: Option<i64> =
            sqlx::query_scalar("SELECT MAX(seq) FROM leaves").fetch_one(sql).await.map_err(failed("audit"))?;
        let count = last.map_or(Ok(0), from_integer)?.saturating_add(u64::from(last.is_some()));
        if count != size {
            return Err(tampered("entries of the audit log").got(count).want(size));
        }
        let end = End::new(note, size, rows.clone());
        Ok((Self { size, tiles, rows, leaves: Vec::new() }, end))
    }

    /// The code of the set of rows that its end is authenticated with.
    pub(super) fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Says that the set of rows has another code with the next entry.
    pub(super) fn set_rows(&mut self, rows: Vec<u8>) {
        self.rows = rows;
    }

    /// Whether there is something to write.
    pub(super) const fn has_grown(&self) -> bool {
        !self.leaves.is_empty()
    }

    /// How many entries there are and will be: the number of the next.
    pub(super) fn next(&self) -> u64 {
        // Lengths in memory are below 2^64.
        self.size.saturating_add(u64::try_from(self.leaves.len()).unwrap_or(u64::MAX))
    }

    /// The leaf that `event` is as the next entry. It is not appended by this.
    ///
    /// # Errors
    /// As [`Event::leaf`].
    pub(super) fn leaf(&self, time: UnixTime, event: &Event) -> Result<Leaf> {
        Ok(Leaf::new(event.kind.as_str(), event.leaf(self.next(), time)?))
    }

    /// Has it appended, as the next entry.
    pub(super) fn push(&mut self, leaf: Leaf) {
        self.leaves.push(leaf);
    }

    /// Writes leaves, tiles and the new checkpoint, and authenticates that with the set of rows. This is then the log's end, once it
    /// is committed.
    ///
    /// # Errors
    /// `store-failed`.
    pub(super) async fn write(&mut self, sql: &mut AnyConnection, keys: Keys<'_>) -> Result<Committed> {
        let error = failed("audit");
        let mut changed = BTreeSet::new();
        for leaves in core::mem::take(&mut self.leaves).chunks(INSERTED) {
            let places = (0..leaves.len()).map(|at| 3 * at);
            let places: Vec<_> = places.map(|at| format!("(${}, ${}, ${})", at + 1, at + 2, at + 3)).collect();
            let insert = format!("INSERT INTO leaves (seq, kind, leaf) VALUES {}", places.join(", "));
            let mut insert = sqlx::query(AssertSqlSafe(insert)).persistent(false);
            for leaf in leaves {
                changed.extend(self.tiles.append(self.size, leaf_hash(&leaf.bytes))?);
                insert = insert.bind(to_integer(self.size)?).bind(leaf.kind).bind(leaf.bytes.to_vec());
                self.size = self.size.saturating_add(1);
            }
            insert.execute(&mut *sql).await.map_err(&error)?;
        }
        for (level, position) in changed {
            let upsert = "INSERT INTO tiles (level, position, hashes) VALUES ($1, $2, $3)
                ON CONFLICT (level, position) DO UPDATE SET hashes = excluded.hashes";
            let upsert = sqlx::query(upsert).bind(i64::from(level)).bind(to_integer(position)?);
            upsert.bind(self.tiles.bytes(level, position)).execute(&mut *sql).await.map_err(&error)?;
        }
        let root = root(self.size, &self.tiles)?;
        let origin = keys.log.verifier().name().to_owned();
        let mut checkpoint = Checkpoint { origin, size: self.size, root }.note()?;
        keys.log.sign(&mut checkpoint, 0)?;
        authenticate(sql, &checkpoint, &self.rows, keys).await?;
        let tiles = self.tiles.clone();
        self.tiles.keep_last(self.size)?;
        Ok(Committed { tiles, size: self.size, checkpoint })
    }
}

/// These tiles, each as wide as it is asked for: what a tree had when it was smaller is the beginning of what it has.
///
/// # Errors
/// `store-tampered`: one is not there or not as wide; `store-failed`.
pub(super) async fn tiles(sql: &mut AnyConnection, wanted: impl IntoIterator<Item = Tile>) -> Result<Tiles> {
    let mut tiles = Tiles::default();
    for tile in wanted {
        tiles.insert(tile, &hashes(sql, tile).await?)?;
    }
    Ok(tiles)
}

/// The bytes of a tile.
///
/// # Errors
/// As [`tiles`].
pub(super) async fn hashes(sql: &mut AnyConnection, tile: Tile) -> Result<Vec<u8>> {
    let select = sqlx::query_scalar("SELECT hashes FROM tiles WHERE level = $1 AND position = $2");
    let select = select.bind(i64::from(tile.level())).bind(to_integer(tile.index())?);
    let hashes: Option<Vec<u8>> = select.fetch_optional(sql).await.map_err(failed("audit"))?;
    let mut hashes = hashes.unwrap_or_default();
    let length = usize::from(tile.width()).saturating_mul(32);
    if hashes.len() < length {
        return Err(tampered("the audit log's tiles").got(format!("{} bytes of {}", hashes.len(), tile.path())));
    }
    hashes.truncate(length);
    Ok(hashes)
}

/// Numbers, kinds and leaves from number `first` on, at most so many; those of one kind where one is named.
///
/// # Errors
/// `store-failed`.
pub(super) async fn leaves(
    sql: &mut AnyConnection,
    first: u64,
    most: u64,
    kind: Option<&str>,
) -> Result<Vec<(u64, String, Vec<u8>)>> {
    let select = match kind {
        Some(_) => "SELECT seq, kind, leaf FROM leaves WHERE seq >= $1 AND kind = $3 ORDER BY seq LIMIT $2",
        None => "SELECT seq, kind, leaf FROM leaves WHERE seq >= $1 ORDER BY seq LIMIT $2",
    };
    let mut select = sqlx::query_as(select).bind(to_integer(first)?).bind(to_integer(most)?);
    if let Some(kind) = kind {
        select = select.bind(kind);
    }
    let rows: Vec<(i64, String, Vec<u8>)> = select.fetch_all(sql).await.map_err(failed("audit"))?;
    rows.into_iter().map(|(seq, kind, leaf)| Ok((from_integer(seq)?, kind, leaf))).collect()
}

/// The entries of a bundle, all of them.
///
/// # Errors
/// `store-tampered`: not all of them are there; `store-failed`.
pub(super) async fn bundle(sql: &mut AnyConnection, tile: Tile) -> Result<Vec<Vec<u8>>> {
    let first = tile.index().saturating_mul(WIDTH);
    let leaves = leaves(sql, first, u64::from(tile.width()), None).await?;
    let numbered = leaves.iter().zip(first..).all(|((seq, ..), number)| *seq == number);
    if !numbered || leaves.len() != usize::from(tile.width()) {
        return Err(tampered("entries of the audit log").got(format!("some of {}", tile.entries_path())));
    }
    Ok(leaves.into_iter().map(|(.., leaf)| leaf).collect())
}

/// Verifies that the entries from the bundle that has number `first` on are those of the log at its end.
///
/// # Errors
/// `store-tampered`; `store-failed`.
pub(super) async fn verify(sql: &mut AnyConnection, first: u64, keys: Keys<'_>) -> Result<()> {
    // Its end, and that there is no entry beyond.
    Growing::load(sql, keys, None).await?;
    let Head { checkpoint, .. } = head(sql, keys).await?;
    for index in first / WIDTH..checkpoint.size().div_ceil(WIDTH) {
        let tile = Tile::of_tree(0, index, checkpoint.size())?;
        let entries = bundle(sql, tile).await?;
        let stored = hashes(sql, tile).await?;
        if stored.as_chunks::<32>().0.iter().zip(&entries).any(|(hash, entry)| leaf_hash(entry).0 != *hash) {
            return Err(tampered("entries of the audit log").got(format!("others than those of {}", tile.path())));
        }
        let mut tiles = tiles(sql, entries::tiles_of(tile, checkpoint.size())?).await?;
        entries::verify(tile, &entries, &mut tiles, &checkpoint)
            .map_err(|e| tampered("entries of the audit log").because(e))?;
    }
    Ok(())
}

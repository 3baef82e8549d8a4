//! The digest of a file whose bytes come in pieces, from several threads and from several places of it at once.

use super::{FileDigest, HashAlgorithm, Hasher, subtree};
use crate::shard;
use core::fmt;
use core::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use strongroom_wire::{Code, Refusal, Result};

/// A file, cut into lanes: ranges each of which is hashed from its start to its end, all of them at the same time.
///
/// A lane is a shard where the statement is over shards, a subtree where it is over BLAKE3 and the file's parts are subtrees, and
/// else the whole file: SHA-256 and BLAKE2b have no other order than that of the bytes.
pub struct FileHash {
    path: String,
    algorithm: HashAlgorithm,
    shards: bool,
    lanes: Vec<Lane>,
}

/// One range, and how far it was hashed.
struct Lane {
    range: Range<u64>,
    turn: Mutex<Turn>,
    moved: Condvar,
}

struct Turn {
    /// What comes next.
    at: u64,
    /// `None` once the file was given up.
    hasher: Option<Hasher>,
}

impl FileHash {
    /// The file at `path` of as many bytes as its `parts` have together, under a statement over whole files, or over ranges of
    /// `shard_len`.
    pub fn new(path: &str, parts: &[u64], algorithm: HashAlgorithm, shard_len: Option<u64>) -> Self {
        let size = parts.iter().copied().fold(0, u64::saturating_add);
        let subtree = subtree::length_of(parts).filter(|_| algorithm == HashAlgorithm::Blake3);
        let lanes = match (shard_len, subtree) {
            (Some(length), _) => {
                shard::ranges(size, length).map(|(s, e)| Lane::new(s..e, algorithm.hasher())).collect()
            }
            (None, Some(length)) => {
                shard::ranges(size, length).map(|(s, e)| Lane::new(s..e, Hasher::of_subtree(s))).collect()
            }
            (None, None) => vec![Lane::new(0..size, algorithm.hasher())],
        };
        Self { path: path.to_owned(), algorithm, shards: shard_len.is_some(), lanes }
    }

    /// Whether what comes before `offset` and what comes from there on can be hashed at the same time.
    pub fn is_cut_at(&self, offset: u64) -> bool {
        self.lanes.binary_search_by_key(&offset, |lane| lane.range.start).is_ok()
    }

    /// Whether the byte at `offset` is the next one of its lane, or the file was given up and has none.
    pub fn is_next(&self, offset: u64) -> bool {
        self.lanes_from(offset).next().is_none_or(|lane| lane.turn().is_at(offset))
    }

    /// Adds the bytes at `offset`, once all before them in their lanes were added: waits for who adds those. Says whether they
    /// were added; not, once the file was [given up](Self::give_up).
    pub fn add(&self, offset: u64, bytes: &[u8]) -> bool {
        let (mut at, mut rest) = (offset, bytes);
        for lane in self.lanes_from(offset) {
            if rest.is_empty() {
                break;
            }
            let room = usize::try_from(lane.range.end - at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            let Some(next) = lane.add(at, now) else { return false };
            (at, rest) = (next, later);
        }
        true
    }

    /// Lets nobody wait for bytes that will not come.
    pub fn give_up(&self) {
        for lane in &self.lanes {
            lane.turn().hasher = None;
            lane.moved.notify_all();
        }
    }

    /// The file's digest, or those of its shards. Refuses with `statement-mismatch` a file that did not come whole.
    pub fn finish(self) -> Result<Vec<FileDigest>> {
        let Self { path, algorithm, shards, lanes } = self;
        let missing = || Refusal::new(Code::StatementMismatch, format!("bytes of `{path}`")).got("fewer than it has");
        let named = |path, digest| FileDigest { path, algorithm, digest };
        let mut finished = Vec::with_capacity(lanes.len());
        for Lane { range, turn, .. } in lanes {
            let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
            let hasher = turn.hasher.filter(|_| turn.at == range.end).ok_or_else(missing)?;
            finished.push((range, hasher));
        }
        if shards {
            let of = |(range, hasher): (Range<u64>, Hasher)| {
                named(shard::name(&path, range.start, range.end), hasher.finish())
            };
            return Ok(finished.into_iter().map(of).collect());
        }
        let digest = match finished.pop() {
            Some((_, only)) if finished.is_empty() => only.finish(),
            Some(last) => {
                finished.push(last);
                subtree::merge(finished.into_iter().map(|(_, hasher)| hasher)).ok_or_else(missing)?
            }
            None => return Err(missing()),
        };
        Ok(vec![named(path, digest)])
    }

    /// The lane of the byte at `offset`, and those behind it.
    fn lanes_from(&self, offset: u64) -> impl Iterator<Item = &Lane> {
        let first = self.lanes.partition_point(|lane| lane.range.end <= offset);
        self.lanes.iter().skip(first)
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHash").field("path", &self.path).field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl Turn {
    /// Whether nothing is waited for before the byte at `offset`.
    const fn is_at(&self, offset: u64) -> bool {
        self.at == offset || self.hasher.is_none()
    }
}

impl Lane {
    fn new(range: Range<u64>, hasher: Hasher) -> Self {
        let turn = Mutex::new(Turn { at: range.start, hasher: Some(hasher) });
        Self { range, turn, moved: Condvar::new() }
    }

    /// A poisoned lock is taken all the same: who died gives the file up.
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the bytes at `offset` when it is their turn; gives where they end.
    fn add(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let waiting = |turn: &mut Turn| !turn.is_at(offset);
        let mut turn = self.moved.wait_while(self.turn(), waiting).unwrap_or_else(PoisonError::into_inner);
        turn.hasher.as_mut()?.update(bytes);
        turn.at = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.moved.notify_all();
        Some(turn.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    fn plain(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i.wrapping_mul(31) ^ (i >> 8)).to_le_bytes()[0]).collect()
    }

    fn whole(algorithm: HashAlgorithm, bytes: &[u8]) -> Vec<u8> {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    fn parts(size: usize, length: usize) -> Vec<u64> {
        crate::seal::part_lengths(u64::try_from(size).unwrap(), u64::try_from(length).unwrap()).collect()
    }

    fn add(hash: &FileHash, offset: usize, bytes: &[u8]) -> bool {
        hash.add(u64::try_from(offset).unwrap(), bytes)
    }

    proptest! {
        #[test]
        fn digest_is_that_of_the_whole_however_it_is_parted(size in 0_usize..9000, power in 8_u32..14, odd in 0_usize..3) {
            let bytes = plain(size);
            let parts = parts(size, (1 << power) + odd);
            for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Blake2b, HashAlgorithm::Blake3] {
                let hash = FileHash::new("f", &parts, algorithm, None);
                for (at, chunk) in (0..).step_by(700).zip(bytes.chunks(700)) {
                    prop_assert!(add(&hash, at, chunk));
                }
                let want = FileDigest { path: "f".into(), algorithm, digest: whole(algorithm, &bytes) };
                prop_assert_eq!(hash.finish().unwrap(), [want]);
            }
        }

        #[test]
        fn shards_are_those_of_a_directory(size in 0_usize..9000, length in 1_u64..4000) {
            let bytes = plain(size);
            let hash = FileHash::new("f", &parts(size, 1000), HashAlgorithm::Sha256, Some(length));
            for (at, chunk) in (0..).step_by(700).zip(bytes.chunks(700)) {
                prop_assert!(add(&hash, at, chunk));
            }
            let want: Vec<_> = shard::ranges(u64::try_from(size).unwrap(), length).map(|(start, end)| {
                let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                let (path, algorithm) = (shard::name("f", start, end), HashAlgorithm::Sha256);
                FileDigest { path, algorithm, digest: whole(algorithm, &bytes[range]) }
            }).collect();
            prop_assert_eq!(hash.finish().unwrap(), want);
        }
    }

    #[test]
    fn lanes_of_several_threads_and_from_the_back_are_merged() {
        let bytes = plain(10_000);
        let hash = FileHash::new("f", &parts(10_000, 2048), HashAlgorithm::Blake3, None);
        assert!(hash.is_cut_at(2048) && !hash.is_cut_at(1024));
        thread::scope(|scope| {
            for (at, lane) in (0..).step_by(2048).zip(bytes.chunks(2048)).collect::<Vec<_>>().into_iter().rev() {
                let hash = &hash;
                scope.spawn(move || lane.chunks(999).zip((at..).step_by(999)).all(|(c, at)| add(hash, at, c)));
            }
        });
        assert_eq!(hash.finish().unwrap()[0].digest, whole(HashAlgorithm::Blake3, &bytes));
    }

    #[test]
    fn pieces_of_one_lane_wait_for_their_turn() {
        let bytes = plain(4000);
        let hash = FileHash::new("f", &[4000], HashAlgorithm::Sha256, None);
        thread::scope(|scope| {
            for (at, chunk) in (0..).step_by(100).zip(bytes.chunks(100)).collect::<Vec<_>>().into_iter().rev() {
                let hash = &hash;
                scope.spawn(move || assert!(add(hash, at, chunk)));
            }
        });
        assert_eq!(hash.finish().unwrap()[0].digest, whole(HashAlgorithm::Sha256, &bytes));
    }

    #[test]
    fn who_waits_goes_on_when_the_file_is_given_up() {
        let hash = FileHash::new("f", &[10], HashAlgorithm::Sha256, None);
        assert!(hash.is_next(0) && !hash.is_next(5));
        thread::scope(|scope| {
            let waits = scope.spawn(|| hash.add(5, b"fghij"));
            hash.give_up();
            assert!(!waits.join().unwrap());
        });
        assert!(!hash.add(0, b"abcde"));
        assert!(hash.is_next(5), "whoever comes later says what is wrong with its own bytes");
        assert_eq!(hash.finish().unwrap_err().code, Code::StatementMismatch);
    }

    #[test]
    fn file_that_did_not_come_whole_refused() {
        for (algorithm, shard_len) in
            [(HashAlgorithm::Sha256, None), (HashAlgorithm::Sha256, Some(4)), (HashAlgorithm::Blake3, None)]
        {
            let hash = |bytes: &[u8]| {
                let hash = FileHash::new("f", &[10], algorithm, shard_len);
                assert!(hash.add(0, bytes));
                hash.finish().map(|_| ()).map_err(|refusal| refusal.code)
            };
            assert_eq!(hash(b"0123456789"), Ok(()));
            assert_eq!(hash(b"012345678"), Err(Code::StatementMismatch));
        }
    }
}

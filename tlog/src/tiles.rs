//! A tree by its tiles: growing it, its root, and proofs in it. Whoever has tiles from elsewhere learns from the proof's
//! verification, not here, whether they are the log's.

use crate::shape::{Node, consistency, path, row};
use crate::tile::{HEIGHT, Tile, WIDTH};
use core::ops::Range;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_wire::digest::Sha256;
use strongroom_wire::merkle::node_hash;
use strongroom_wire::{Code, Refusal, Result};

/// Some of the tiles of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiles {
    hashes: BTreeMap<(u8, u64), Vec<Sha256>>,
}

impl Tiles {
    /// Adds a tile as it is stored and served: its hashes one after the other.
    ///
    /// # Errors
    /// `malformed`: it is not as long as the tile is wide.
    pub fn insert(&mut self, tile: Tile, bytes: &[u8]) -> Result<()> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != usize::from(tile.width()) {
            return Err(Refusal::new(Code::Malformed, tile.path())
                .got(format!("{} bytes", bytes.len()))
                .want(format!("{} hashes of 32 bytes", tile.width())));
        }
        self.hashes.insert((tile.level(), tile.index()), hashes.iter().copied().map(Sha256).collect());
        Ok(())
    }

    /// A tile as it is stored and served, at the width that it has here. `None`: it is not here.
    pub fn bytes(&self, level: u8, index: u64) -> Option<Vec<u8>> {
        self.hashes.get(&(level, index)).map(|hashes| hashes.iter().flat_map(|hash| hash.0).collect())
    }

    /// Appends a leaf to the tree of `size` leaves, whose last tiles ([`tiles_of_root`]) are here. Gives level and index of
    /// each tile that it changed or made.
    ///
    /// # Errors
    /// `log-proof-invalid`: a tile is not here or not as wide as in such a tree. Then some of them may have been changed.
    pub fn append(&mut self, size: u64, leaf: Sha256) -> Result<Vec<(u8, u64)>> {
        let mut changed = Vec::new();
        let (mut level, mut count, mut hash) = (0, size, leaf);
        loop {
            let (index, within) = (count / WIDTH, count % WIDTH);
            let hashes = match self.hashes.entry((level, index)) {
                Entry::Vacant(new) if within == 0 => new.insert(Vec::new()),
                Entry::Occupied(there) if within > 0 => there.into_mut(),
                _ => return Err(missing(level, index).want(format!("one of {within} hashes"))),
            };
            if u64::try_from(hashes.len()) != Ok(within) {
                return Err(missing(level, index).got(format!("{} hashes", hashes.len())).want(within));
            }
            hashes.push(hash);
            changed.push((level, index));
            if within + 1 < WIDTH {
                return Ok(changed);
            }
            hash = perfect(hashes.clone()).ok_or_else(|| missing(level, index))?;
            (level, count) = (level.saturating_add(1), index);
        }
    }

    /// Forgets what is not among the last tiles of the tree of `size` leaves, which [`root`] and [`Self::append`] read.
    ///
    /// # Errors
    /// As [`tiles_of_root`].
    pub fn keep_last(&mut self, size: u64) -> Result<()> {
        let last: BTreeSet<_> = tiles_of_root(size)?.into_iter().map(|tile| (tile.level(), tile.index())).collect();
        self.hashes.retain(|place, _| last.contains(place));
        Ok(())
    }

    /// The hash of a perfect subtree.
    fn node(&self, node: Node) -> Result<Sha256> {
        let (level, height) = (node.level / HEIGHT, u32::from(node.level % HEIGHT));
        let first = node.index << height;
        let (index, within) = (first / WIDTH, first % WIDTH);
        let hashes = usize::try_from(within).ok().zip(self.hashes.get(&(level, index)));
        let hashes = hashes.and_then(|(within, hashes)| hashes.get(within..within.checked_add(1 << height)?));
        hashes.and_then(|hashes| perfect(hashes.to_vec())).ok_or_else(|| missing(level, index))
    }

    /// The hash of the tree over the leaves of `range`.
    fn part(&self, range: Range<u64>) -> Result<Sha256> {
        let mut nodes = row(range).into_iter().rev();
        let Some(last) = nodes.next() else { return Ok(Sha256::of(&[])) };
        nodes.try_fold(self.node(last)?, |right, left| Ok(node_hash(&self.node(left)?, &right)))
    }
}

/// The root of a perfect tree over these hashes, of which there is a power of two.
fn perfect(mut hashes: Vec<Sha256>) -> Option<Sha256> {
    while hashes.len() > 1 {
        hashes = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    hashes.pop()
}

fn missing(level: u8, index: u64) -> Refusal {
    Refusal::new(Code::LogProofInvalid, format!("tile {index} of level {level}"))
}

/// The tiles, as wide as they are in a tree of `size` leaves, that the hashes of these parts are in.
fn tiles_of(parts: impl IntoIterator<Item = Range<u64>>, size: u64) -> Result<BTreeSet<Tile>> {
    let tile = |node: Node| {
        let first = node.index << (node.level % HEIGHT);
        Tile::of_tree(node.level / HEIGHT, first / WIDTH, size)
    };
    parts.into_iter().flat_map(row).map(tile).collect()
}

/// The tiles that [`root`] and [`Tiles::append`] read.
///
/// # Errors
/// `log-proof-invalid`: a tree of that size has more levels than tiles have.
pub fn tiles_of_root(size: u64) -> Result<BTreeSet<Tile>> {
    tiles_of(core::iter::once(0..size), size)
}

/// The root of a tree of `size` leaves.
///
/// # Errors
/// `log-proof-invalid`: a tile of [`tiles_of_root`] is not here.
pub fn root(size: u64, tiles: &Tiles) -> Result<Sha256> {
    tiles.part(0..size)
}

/// The tiles that [`prove_inclusion`] reads.
///
/// # Errors
/// As [`tiles_of_root`].
pub fn tiles_of_inclusion(index: u64, size: u64) -> Result<BTreeSet<Tile>> {
    tiles_of(path(index, size), size)
}

/// The proof that leaf `index` is in a tree of `size` leaves (RFC 9162 §2.1.3.1).
///
/// # Errors
/// `log-proof-invalid`: a tile of [`tiles_of_inclusion`] is not here, or the tree has no such leaf.
pub fn prove_inclusion(index: u64, size: u64, tiles: &Tiles) -> Result<Vec<Sha256>> {
    if index >= size {
        let refusal = Refusal::new(Code::LogProofInvalid, format!("entry {index}"));
        return Err(refusal.got(format!("a tree of {size} entries")));
    }
    path(index, size).into_iter().map(|part| tiles.part(part)).collect()
}

/// The tiles that [`prove_consistency`] reads.
///
/// # Errors
/// As [`tiles_of_root`].
pub fn tiles_of_consistency(old: u64, new: u64) -> Result<BTreeSet<Tile>> {
    tiles_of(consistency(old, new), new)
}

/// The proof that a tree of `new` leaves begins with that of its first `old` ones (RFC 9162 §2.1.4.1). Empty where there is
/// nothing to prove: the old tree is empty or the same.
///
/// # Errors
/// `log-proof-invalid`: a tile of [`tiles_of_consistency`] is not here, or the old tree is the larger.
pub fn prove_consistency(old: u64, new: u64, tiles: &Tiles) -> Result<Vec<Sha256>> {
    if old > new {
        let refusal = Refusal::new(Code::LogProofInvalid, format!("tree of {old} entries"));
        return Err(refusal.got(format!("a tree of {new} entries")));
    }
    consistency(old, new).into_iter().map(|part| tiles.part(part)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions)]

    use super::*;
    use strongroom_wire::merkle::leaf_hash;

    /// The tree of RFC 9162 §2.1.1, word for word.
    fn defined(leaves: &[Sha256]) -> Sha256 {
        match leaves {
            [] => Sha256::of(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&defined(left), &defined(right))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Sha256> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn grown(leaves: &[Sha256]) -> Tiles {
        let mut tiles = Tiles::default();
        for (size, leaf) in (0..).zip(leaves) {
            tiles.append(size, *leaf).unwrap();
        }
        tiles
    }

    #[test]
    fn roots_are_those_of_the_reference_vectors() {
        // Inputs and roots of certificate-transparency's reference tests for RFC 6962.
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves: Vec<_> = inputs.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
        for (size, want) in (1..).zip(roots) {
            assert_eq!(root(size, &grown(&leaves[..size as usize])).unwrap().to_string(), want);
        }
        assert_eq!(root(0, &Tiles::default()).unwrap(), Sha256::of(b""));
    }

    #[test]
    fn root_of_a_grown_tree_is_the_defined_one_from_the_tiles_it_says_it_reads() {
        let leaves = leaves(70_000);
        let mut tiles = Tiles::default();
        let interesting = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 65_793, 70_000];
        for (before, leaf) in (0_u64..).zip(&leaves) {
            tiles.append(before, *leaf).unwrap();
            let size = before + 1;
            if interesting.contains(&size) {
                let mut few = Tiles::default();
                for tile in tiles_of_root(size).unwrap() {
                    few.insert(tile, &tiles.bytes(tile.level(), tile.index()).unwrap()).unwrap();
                }
                assert_eq!(root(size, &few).unwrap(), defined(&leaves[..size as usize]), "{size}");
                // And from those alone it grows on as from all.
                let next = leaf_hash(b"next");
                let changed = few.append(size, next).unwrap();
                assert_eq!(changed, tiles.clone().append(size, next).unwrap());
                let more = [&leaves[..size as usize], &[next]].concat();
                assert_eq!(root(size + 1, &few).unwrap(), defined(&more), "{size}");
            }
        }
    }

    #[test]
    fn tree_that_kept_its_last_tiles_alone_grows_on_to_the_same_roots() {
        let leaves = leaves(70_000);
        let (mut all, mut last) = (Tiles::default(), Tiles::default());
        for (size, leaf) in (0_u64..).zip(&leaves) {
            all.append(size, *leaf).unwrap();
            last.append(size, *leaf).unwrap();
            last.keep_last(size + 1).unwrap();
            assert!(last.hashes.len() <= 3, "{size}");
            if size % 251 == 0 || (size + 1).is_power_of_two() {
                assert_eq!(root(size + 1, &last).unwrap(), root(size + 1, &all).unwrap(), "{size}");
            }
        }
    }

    #[test]
    fn tile_of_another_length_refused() {
        let mut tiles = Tiles::default();
        let tile = Tile::of_tree(0, 0, 2).unwrap();
        assert_eq!(tiles.insert(tile, &[0; 64]), Ok(()));
        for length in [0, 32, 63, 65, 96] {
            assert_eq!(tiles.insert(tile, &vec![0; length]).unwrap_err().code, Code::Malformed, "{length}");
        }
    }

    #[test]
    fn tree_does_not_grow_where_its_last_tiles_are_missing_or_of_another_width() {
        let leaf = leaf_hash(b"");
        let tiles = grown(&leaves(5));
        assert_eq!(tiles.clone().append(5, leaf), Ok(vec![(0, 0)]));
        for size in [0, 4, 6, 256, 257] {
            let outcome = tiles.clone().append(size, leaf).map_err(|refusal| refusal.code);
            // A tree of 256 leaves has a full tile and begins the next: but its level 1 is not there.
            let fresh = size == 256;
            assert_eq!(outcome.is_ok(), fresh, "{size}");
            assert!(fresh || outcome == Err(Code::LogProofInvalid), "{size}");
        }
        assert_eq!(root(300, &tiles).unwrap_err().code, Code::LogProofInvalid);
    }

    #[test]
    fn proof_of_what_is_not_in_the_tree_refused() {
        let tiles = grown(&leaves(5));
        assert!(prove_inclusion(4, 5, &tiles).is_ok());
        assert_eq!(prove_inclusion(5, 5, &tiles).unwrap_err().code, Code::LogProofInvalid);
        assert!(prove_consistency(5, 5, &tiles).is_ok());
        assert_eq!(prove_consistency(6, 5, &tiles).unwrap_err().code, Code::LogProofInvalid);
    }
}

//! The same trees by another implementation, Cloudflare's `tlog_tiles`.

use crate::tiles::{Tiles, prove_consistency, prove_inclusion, root, tiles_of_inclusion};
use crate::{Tile, entries};
use strongroom_wire::digest::Sha256;
use strongroom_wire::merkle::leaf_hash;
use tlog_tiles::{Hash, check_record, check_tree, record_hash};

fn theirs(hashes: &[Sha256]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.0)).collect()
}

#[test]
fn proofs_hold_for_another_implementation() {
    let mut tiles = Tiles::default();
    for size in 1..=700_u64 {
        tiles.append(size - 1, leaf_hash(&size.to_be_bytes())).unwrap();
        let whole = Hash(root(size, &tiles).unwrap().0);
        for index in [0, size / 3, size / 2, size - 1] {
            let leaf = record_hash(&(index + 1).to_be_bytes());
            let proof = theirs(&prove_inclusion(index, size, &tiles).unwrap());
            check_record(&proof, size, whole, index, leaf).unwrap();
            let old = index + 1;
            let proof = theirs(&prove_consistency(old, size, &tiles).unwrap());
            check_tree(&proof, size, whole, old, Hash(root(old, &tiles).unwrap().0)).unwrap();
        }
    }
}

#[test]
fn tiles_have_the_paths_that_another_implementation_gives_them() {
    for (size, index) in [(1, 0), (256, 255), (257, 256), (70_000, 69_999), (300_000_000, 123_456_789)] {
        for tile in tiles_of_inclusion(index, size).unwrap() {
            let theirs = tlog_tiles::Tile::new(8, tile.level(), tile.index(), tile.width().into(), false);
            // Theirs say in each path how high a tile is, as Go's tiles do; the specification fixed 8 and left it out.
            assert_eq!(theirs.path().replace("tile/8/", "tile/"), tile.path());
        }
        let bundle = Tile::of_tree(0, index / 256, size).unwrap();
        let theirs = tlog_tiles::Tile::new(8, 0, bundle.index(), bundle.width().into(), true);
        assert_eq!(theirs.path().replace("tile/8/data/", "tile/entries/"), bundle.entries_path());
        assert!(entries::parse(bundle, &[]).is_err());
    }
}

//! Entries as they are served: up to 256 to a bundle, each after its length (c2sp.org/tlog-tiles, "Log entries").

use crate::checkpoint::VerifiedCheckpoint;
use crate::proof::verify_inclusion;
use crate::tile::Tile;
use crate::tile::WIDTH;
use crate::tiles::{Tiles, prove_inclusion, tiles_of_inclusion};
use std::collections::BTreeSet;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::merkle::leaf_hash;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Appends one entry to a bundle.
///
/// # Errors
/// `too-large`: it is longer than [`limits::LOG_ENTRY`].
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<()> {
    let length =
        u16::try_from(entry.len()).map_err(|_| Refusal::too_large("log entry", entry.len(), limits::LOG_ENTRY))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Takes a bundle apart, which is that of `tile`.
///
/// # Errors
/// `malformed`: it does not hold as many entries as the tile is wide, or more than entries.
pub fn parse(tile: Tile, bundle: &[u8]) -> Result<Vec<&[u8]>> {
    let mut cursor = Cursor::new(bundle, "entry bundle");
    let mut entries = Vec::new();
    for _ in 0..tile.width() {
        let length = u16::from_be_bytes(cursor.array()?);
        entries.push(cursor.take(usize::from(length))?);
    }
    if cursor.rest().is_empty() {
        return Ok(entries);
    }
    Err(Refusal::new(Code::Malformed, tile.entries_path()).got(format!("{} bytes more", cursor.rest().len())))
}

/// The tiles that [`verify`] reads beside the entries of `bundle` in a tree of `size` entries.
///
/// # Errors
/// As [`crate::tiles_of_root`].
pub fn tiles_of(bundle: Tile, size: u64) -> Result<BTreeSet<Tile>> {
    let mut tiles = tiles_of_inclusion(bundle.index().saturating_mul(WIDTH), size)?;
    // Its own hashes are those of its entries.
    tiles.remove(&bundle);
    Ok(tiles)
}

/// Verifies that these are the entries of `bundle` in the log at `checkpoint`, all of them and in this order. `tiles` has those of
/// [`tiles_of`] and is given that of the bundle.
///
/// # Errors
/// `malformed`: not as many entries as the bundle is wide; `log-proof-invalid`: they are not, or a tile is not here or not the log's.
pub fn verify(
    bundle: Tile,
    entries: &[impl AsRef<[u8]>],
    tiles: &mut Tiles,
    checkpoint: &VerifiedCheckpoint,
) -> Result<()> {
    let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry.as_ref())).collect();
    let (Some(first), Ok(whole)) = (hashes.first(), Tile::of_tree(0, bundle.index(), checkpoint.size())) else {
        return Err(Refusal::new(Code::LogProofInvalid, bundle.entries_path()));
    };
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    tiles.insert(whole, &bytes)?;
    let index = bundle.index().saturating_mul(WIDTH);
    // The proof of the first entry is computed from the hashes of all others: where it holds, all of them do.
    let proof = prove_inclusion(index, checkpoint.size(), tiles)?;
    verify_inclusion(*first, index, &proof, checkpoint).map_err(|refusal| refusal.within(bundle.entries_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_a_bundle_of_another_number_refused() {
        let mut bundle = Vec::new();
        let written = [&b""[..], b"a", &[7; limits::LOG_ENTRY]];
        for entry in written {
            push(&mut bundle, entry).unwrap();
        }
        assert_eq!(parse(Tile::of_tree(0, 0, 3).unwrap(), &bundle).unwrap(), written);
        for width in [2, 4, 256] {
            let refusal = parse(Tile::of_tree(0, 0, width).unwrap(), &bundle).unwrap_err();
            assert_eq!(refusal.code, Code::Malformed, "{width}");
        }
        assert_eq!(push(&mut bundle, &[0; limits::LOG_ENTRY + 1]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn entries_of_the_log_accepted_and_changed_cut_or_reordered_ones_refused() {
        let log: Vec<_> = (0..300_u64).map(|n| n.to_be_bytes().to_vec()).collect();
        let mut all = Tiles::default();
        for (size, entry) in (0..).zip(&log) {
            all.append(size, leaf_hash(entry)).unwrap();
        }
        let checkpoint = VerifiedCheckpoint::of_test(300, crate::tiles::root(300, &all).unwrap());
        let judge = |index, entries: &[Vec<u8>]| {
            let bundle = Tile::of_tree(0, index, 300).unwrap();
            let mut tiles = Tiles::default();
            for tile in tiles_of(bundle, 300).unwrap() {
                let bytes = all.bytes(tile.level(), tile.index()).unwrap();
                tiles.insert(tile, &bytes).unwrap();
            }
            verify(bundle, entries, &mut tiles, &checkpoint).map_err(|refusal| refusal.code)
        };
        for (index, range) in [(0, 0..256), (1, 256..300)] {
            let entries = log[range].to_vec();
            assert_eq!(judge(index, &entries), Ok(()));
            let mut swapped = entries.clone();
            swapped.swap(3, 4);
            assert_eq!(judge(index, &swapped), Err(Code::LogProofInvalid));
            let mut changed = entries.clone();
            changed[entries.len() - 1][0] ^= 1;
            assert_eq!(judge(index, &changed), Err(Code::LogProofInvalid));
            assert_eq!(judge(index, &entries[1..]), Err(Code::Malformed));
        }
    }
}

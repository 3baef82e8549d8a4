//! Whether a proof holds, by the algorithms of RFC 9162, which do not look into how it was made.

use crate::checkpoint::VerifiedCheckpoint;
use strongroom_wire::digest::Sha256;
use strongroom_wire::merkle::node_hash;
use strongroom_wire::{Code, Refusal, Result};

/// Verifies that the entry of hash `leaf` is number `index` of the log at `checkpoint` (RFC 9162 §2.1.3.2).
///
/// # Errors
/// `log-proof-invalid`: it is not, or the proof is another entry's or another tree's.
pub fn verify_inclusion(leaf: Sha256, index: u64, proof: &[Sha256], checkpoint: &VerifiedCheckpoint) -> Result<()> {
    let root = root_by_inclusion(leaf, index, checkpoint.size(), proof);
    if root == Some(checkpoint.root()) {
        return Ok(());
    }
    let what = format!("entry {index} in the tree of {} entries", checkpoint.size());
    Err(Refusal::new(Code::LogProofInvalid, what).got(shown(root)).want(format!("root {}", checkpoint.root())))
}

/// The root that the proof leads to, if it has the length that a proof of this entry in such a tree has.
fn root_by_inclusion(leaf: Sha256, index: u64, size: u64, proof: &[Sha256]) -> Option<Sha256> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut root) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = node_hash(sibling, &root);
            let up = if at & 1 == 1 { 0 } else { at.trailing_zeros() };
            // An only child has no sibling: its parents up to the next right child have its hash.
            (at, last) = (shift(at, up), shift(last, up));
        } else {
            root = node_hash(&root, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(root)
}

/// `at` of the level `up` levels higher.
const fn shift(at: u64, up: u32) -> u64 {
    if up >= u64::BITS { 0 } else { at >> up }
}

/// Verifies that the log at `new` begins with the log at `old`: nothing was changed or taken out since (RFC 9162 §2.1.4.2).
/// Every log begins with the empty one.
///
/// # Errors
/// `log-inconsistent`: two roots of one size, which is all the proof that it takes of a log that shows different people
/// different things; `log-proof-invalid`: the proof does not hold, or `new` is the older of the two, which proves nothing;
/// `log-untrusted`: they are of two logs.
pub fn verify_consistency(old: &VerifiedCheckpoint, new: &VerifiedCheckpoint, proof: &[Sha256]) -> Result<()> {
    if old.origin() != new.origin() {
        return Err(Refusal::new(Code::LogUntrusted, "origin of the log").got(new.origin()).want(old.origin()));
    }
    let what = format!("log of {} entries as the beginning of one of {}", old.size(), new.size());
    let roots = format!("roots {} and {}", old.root(), new.root());
    if old.size() == new.size() && old.root() != new.root() {
        return Err(Refusal::new(Code::LogInconsistent, what).got(roots).want("one root"));
    }
    let invalid = |got: &str| Err(Refusal::new(Code::LogProofInvalid, &what).got(got).want(&roots));
    if old.size() > new.size() {
        return invalid("a smaller log");
    }
    if old.size() == 0 || old.size() == new.size() {
        return if proof.is_empty() { Ok(()) } else { invalid("a proof where none is needed") };
    }
    match roots_by_consistency(old, new.size(), proof) {
        Some((before, after)) if before == old.root() && after == new.root() => Ok(()),
        Some((before, after)) => invalid(&format!("roots {before} and {after}")),
        None => invalid("a proof of another length"),
    }
}

/// The two roots that the proof leads to, for `0 < old < new`.
fn roots_by_consistency(old: &VerifiedCheckpoint, new: u64, proof: &[Sha256]) -> Option<(Sha256, Sha256)> {
    let (mut at, mut last) = (old.size() - 1, new - 1);
    let up = at.trailing_ones();
    (at, last) = (shift(at, up), shift(last, up));
    // A perfect old tree is the first hash itself, and the proof leaves it out.
    let (first, rest) = if at == 0 { (old.root(), proof) } else { proof.split_first().map(|(f, r)| (*f, r))? };
    let (mut before, mut after) = (first, first);
    for sibling in rest {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            let up = if at & 1 == 1 { 0 } else { at.trailing_zeros() };
            (at, last) = (shift(at, up), shift(last, up));
        } else {
            after = node_hash(&after, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some((before, after))
}

fn shown(root: Option<Sha256>) -> String {
    root.map_or_else(|| "a proof of another length".into(), |root| format!("root {root}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions)]

    use super::*;
    use crate::checkpoint::{Checkpoint, Trust};
    use crate::note::{NoteSigner, Role};
    use crate::tiles::{Tiles, prove_consistency, prove_inclusion, root};
    use proptest::prelude::*;
    use strongroom_wire::merkle::leaf_hash;
    use zeroize::Zeroizing;

    const SIZES: u64 = 40;

    fn tiles(leaves: u64) -> Tiles {
        let mut tiles = Tiles::default();
        for n in 0..leaves {
            tiles.append(n, leaf_hash(&n.to_be_bytes())).unwrap();
        }
        tiles
    }

    fn verified(origin: &str, size: u64, root: Sha256) -> VerifiedCheckpoint {
        let log = NoteSigner::new(origin, Role::Log, &Zeroizing::new([1; 32])).unwrap();
        let mut note = Checkpoint { origin: origin.into(), size, root }.note().unwrap();
        log.sign(&mut note, 0).unwrap();
        Trust::new(log.verifier().clone(), Vec::new(), 0).unwrap().verify(&note).unwrap()
    }

    fn at(size: u64, tiles: &Tiles) -> VerifiedCheckpoint {
        verified("l", size, root(size, tiles).unwrap())
    }

    fn code(outcome: Result<()>) -> Option<Code> {
        outcome.err().map(|refusal| refusal.code)
    }

    #[test]
    fn every_entry_of_every_small_tree_is_proven_at_its_place_and_at_no_other() {
        let tiles = tiles(SIZES);
        for size in 1..=SIZES {
            let checkpoint = at(size, &tiles);
            for index in 0..size {
                let proof = prove_inclusion(index, size, &tiles).unwrap();
                for place in 0..=size {
                    let leaf = leaf_hash(&index.to_be_bytes());
                    let expected = (place != index).then_some(Code::LogProofInvalid);
                    assert_eq!(
                        code(verify_inclusion(leaf, place, &proof, &checkpoint)),
                        expected,
                        "{index} {place} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_small_tree_is_proven_to_begin_with_every_smaller_one_and_with_no_other() {
        let (tiles, others) = (tiles(SIZES), {
            let mut others = Tiles::default();
            (0..SIZES).for_each(|n| drop(others.append(n, leaf_hash(&[7])).unwrap()));
            others
        });
        for new in 0..=SIZES {
            for old in 0..=new {
                let proof = prove_consistency(old, new, &tiles).unwrap();
                assert_eq!(code(verify_consistency(&at(old, &tiles), &at(new, &tiles), &proof)), None, "{old} {new}");
                if old > 0 {
                    let expected = if old == new { Code::LogInconsistent } else { Code::LogProofInvalid };
                    let other = code(verify_consistency(&at(old, &others), &at(new, &tiles), &proof));
                    assert_eq!(other, Some(expected), "{old} {new}");
                    let other = code(verify_consistency(&at(old, &tiles), &at(new, &others), &proof));
                    assert_eq!(other, Some(expected), "{old} {new}");
                }
                if old < new {
                    let back = code(verify_consistency(&at(new, &tiles), &at(old, &tiles), &proof));
                    assert_eq!(back, Some(Code::LogProofInvalid), "{new} {old}");
                }
            }
        }
    }

    #[test]
    fn log_of_another_origin_refused() {
        let tiles = tiles(2);
        let there = verified("m", 2, root(2, &tiles).unwrap());
        assert_eq!(code(verify_consistency(&at(2, &tiles), &at(2, &tiles), &[])), None);
        assert_eq!(code(verify_consistency(&at(2, &tiles), &there, &[])), Some(Code::LogUntrusted));
    }

    #[test]
    fn proof_where_none_is_needed_refused() {
        let tiles = tiles(2);
        for (old, new) in [(0, 2), (2, 2)] {
            let outcome = verify_consistency(&at(old, &tiles), &at(new, &tiles), &[Sha256([0; 32])]);
            assert_eq!(code(outcome), Some(Code::LogProofInvalid));
        }
    }

    proptest! {
        /// Whatever is changed in a proof: it no longer holds.
        #[test]
        fn changed_proof_refused(new in 2..600_u64, old in 1..600_u64, index in 0..600_u64, at_ in 0..12_usize, change in 0..3_u8) {
            let (old, index) = (old % (new - 1) + 1, index % new);
            let tiles = tiles(new);
            let changed = |mut proof: Vec<Sha256>| {
                let at = at_.min(proof.len() - 1);
                match change {
                    0 => proof[at].0[at_] ^= 1,
                    1 => drop(proof.remove(at)),
                    _ => proof.insert(at, Sha256([at_ as u8; 32])),
                }
                proof
            };
            let proof = prove_inclusion(index, new, &tiles).unwrap();
            let leaf = leaf_hash(&index.to_be_bytes());
            prop_assert_eq!(code(verify_inclusion(leaf, index, &proof, &at(new, &tiles))), None);
            let outcome = verify_inclusion(leaf, index, &changed(proof), &at(new, &tiles));
            prop_assert_eq!(code(outcome), Some(Code::LogProofInvalid));

            let proof = prove_consistency(old, new, &tiles).unwrap();
            prop_assert_eq!(code(verify_consistency(&at(old, &tiles), &at(new, &tiles), &proof)), None);
            let outcome = verify_consistency(&at(old, &tiles), &at(new, &tiles), &changed(proof));
            prop_assert_eq!(code(outcome), Some(Code::LogProofInvalid));
        }
    }
}

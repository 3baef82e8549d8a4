//! Many nonces under one report: the Merkle tree of RFC 6962 §2.1 over 32-byte nonces.
//!
//! Leaves and nodes are hashed under different prefixes, so a path proves that its leaf is in the tree of its root
//! whatever the tree's shape is. A single nonce is a tree of one: its root is the leaf's hash and its path is empty.

use crate::digest::Sha256;
use crate::{Refusal, Result, limits};
use serde::{Deserialize, Serialize};

/// A sibling on the way from a leaf to the root, and the side it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Sibling {
    /// The sibling is the left child.
    Left(Sha256),
    /// The sibling is the right child.
    Right(Sha256),
}

/// The hash of a leaf, RFC 6962 §2.1: `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Sha256 {
    Sha256::of_parts(&[&[0], leaf])
}

/// The hash of a node, RFC 6962 §2.1: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    Sha256::of_parts(&[&[1], &left.0, &right.0])
}

/// The root that `nonce` and `path` lead to. Fails where the path is deeper than [`limits::MERKLE_DEPTH`].
pub fn root_of(nonce: &[u8; 32], path: &[Sibling]) -> Result<[u8; 32]> {
    if path.len() > limits::MERKLE_DEPTH {
        return Err(Refusal::too_large("merkle path", path.len(), limits::MERKLE_DEPTH));
    }
    let root = path.iter().fold(leaf_hash(nonce), |below, sibling| match sibling {
        Sibling::Left(left) => node_hash(left, &below),
        Sibling::Right(right) => node_hash(&below, right),
    });
    Ok(root.0)
}

/// The root over `nonces` and the path of each, in their order. Empty input gives the hash of nothing and no paths.
pub fn tree(nonces: &[[u8; 32]]) -> ([u8; 32], Vec<Vec<Sibling>>) {
    let mut paths = vec![Vec::new(); nonces.len()];
    let leaves: Vec<Sha256> = nonces.iter().map(|nonce| leaf_hash(nonce)).collect();
    let root = subtree(&leaves, &mut paths);
    (root.0, paths)
}

/// RFC 6962 §2.1: split at the largest power of two smaller than the number of leaves.
fn subtree(leaves: &[Sha256], paths: &mut [Vec<Sibling>]) -> Sha256 {
    match leaves {
        [] => Sha256::of(&[]),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left_leaves, right_leaves) = leaves.split_at(split);
            let (left_paths, right_paths) = paths.split_at_mut(split);
            let left = subtree(left_leaves, left_paths);
            let right = subtree(right_leaves, right_paths);
            left_paths.iter_mut().for_each(|path| path.push(Sibling::Right(right)));
            right_paths.iter_mut().for_each(|path| path.push(Sibling::Left(left)));
            node_hash(&left, &right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn nonces(n: u8) -> Vec<[u8; 32]> {
        (0..n).map(|i| [i; 32]).collect()
    }

    #[test]
    fn every_path_of_every_size_leads_to_the_root_and_no_other_nonce_does() {
        for n in 1..40 {
            let nonces = nonces(n);
            let (root, paths) = tree(&nonces);
            for (nonce, path) in nonces.iter().zip(&paths) {
                assert_eq!(root_of(nonce, path).unwrap(), root, "{n} leaves");
                assert_ne!(root_of(&[0xff; 32], path).unwrap(), root);
            }
        }
    }

    #[test]
    fn tree_of_three_has_the_shape_of_rfc_6962() {
        let n = nonces(3);
        let h = |i: usize| leaf_hash(&n[i]);
        let want = node_hash(&node_hash(&h(0), &h(1)), &h(2));
        assert_eq!(tree(&n).0, want.0);
    }

    #[test]
    fn tree_of_one_is_its_leaf_hash_and_not_the_nonce() {
        let (root, paths) = tree(&nonces(1));
        assert_eq!(root, leaf_hash(&[0; 32]).0);
        assert_ne!(root, [0; 32]);
        assert!(paths[0].is_empty());
    }

    #[test]
    fn path_at_the_depth_limit_accepted_and_one_deeper_refused() {
        let path = vec![Sibling::Left(Sha256([0; 32])); limits::MERKLE_DEPTH];
        assert!(root_of(&[0; 32], &path).is_ok());
        let deeper = vec![Sibling::Left(Sha256([0; 32])); limits::MERKLE_DEPTH + 1];
        assert_eq!(root_of(&[0; 32], &deeper).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn tree_of_nothing_is_the_hash_of_nothing() {
        let (root, paths) = tree(&[]);
        assert_eq!(root, Sha256::of(b"").0);
        assert!(paths.is_empty());
    }
}

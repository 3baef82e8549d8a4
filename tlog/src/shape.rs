//! The shape of an RFC 6962 tree: which of its perfect subtrees a root, a path or a consistency proof is made of.
//!
//! A tree of `n` leaves is a row of perfect subtrees, one for each bit of `n`, the largest first, and its root is their fold
//! from the right (RFC 9162 §2.1.1). Every hash that a proof holds is a perfect subtree or the root of such a row.

use core::ops::Range;

/// A perfect subtree: of `2^level` leaves, the `index`th of its level, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The logarithm of how many leaves are below it.
    pub level: u8,
    /// How many perfect subtrees of this level stand before it.
    pub index: u64,
}

/// The row of perfect subtrees that the leaves of `range` make, the first leaf first. The range starts where a subtree does
/// that is at least as large, as the right part of each split of RFC 9162 §2.1.1 does.
pub(crate) fn row(range: Range<u64>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let level = (range.end - at).ilog2().min(if at == 0 { u64::BITS } else { at.trailing_zeros() });
        nodes.push(Node { level: u8::try_from(level).unwrap_or(u8::MAX), index: at >> level });
        at = at.saturating_add(1 << level);
    }
    nodes
}

/// The largest power of two below `size`, which is at least 2: where RFC 9162 §2.1.1 splits a tree.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The parts of a tree of `size` leaves that lie beside the way from leaf `index` to the root, in the order of an inclusion
/// proof: the deepest first (RFC 9162 §2.1.3.1). Empty where there is no such leaf.
pub(crate) fn path(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut tree = 0..size;
    if index >= size {
        return parts;
    }
    while tree.end - tree.start > 1 {
        let middle = tree.start + split(tree.end - tree.start);
        if index < middle {
            parts.push(middle..tree.end);
            tree.end = middle;
        } else {
            parts.push(tree.start..middle);
            tree.start = middle;
        }
    }
    parts.reverse();
    parts
}

/// The parts that a consistency proof from `old` leaves to `new` holds, in its order (RFC 9162 §2.1.4.1). Empty where either
/// tree is empty, where they are the same, and where `old` is the larger.
pub(crate) fn consistency(old: u64, new: u64) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    if old == 0 || old >= new {
        return parts;
    }
    let mut tree = 0..new;
    // Whether the old tree's part of `tree` is a tree of its own, whose root the verifier has.
    let mut known = true;
    while old != tree.end {
        let middle = tree.start + split(tree.end - tree.start);
        if old <= middle {
            parts.push(middle..tree.end);
            tree.end = middle;
        } else {
            parts.push(tree.start..middle);
            tree.start = middle;
            known = false;
        }
    }
    if !known {
        parts.push(tree);
    }
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tile_every_range_that_a_split_makes() {
        for size in 1..300_u64 {
            for index in 0..size {
                let parts = path(index, size);
                let leaves: u64 = parts.iter().map(|part| part.end - part.start).sum();
                assert_eq!(leaves + 1, size);
                for part in parts {
                    let mut at = part.start;
                    for Node { level, index } in row(part.clone()) {
                        assert_eq!(index << level, at);
                        at += 1 << level;
                    }
                    assert_eq!(at, part.end);
                }
            }
        }
    }

    #[test]
    fn trees_of_one_size_need_no_proof_and_there_is_none_backwards_or_from_nothing() {
        for (old, new) in [(0, 0), (0, 5), (5, 5), (6, 5)] {
            assert_eq!(consistency(old, new), Vec::<Range<u64>>::new(), "{old} {new}");
        }
        assert_eq!(path(5, 5), Vec::<Range<u64>>::new());
        assert_eq!(row(0..u64::MAX).len(), 64);
    }
}

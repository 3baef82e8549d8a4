//! BLAKE3's tree: subtrees hashed apart and merged (BLAKE3 specification, 2.1 "Tree structure").

use super::{Context, Hasher};
use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{CHUNK_LEN, Hasher as Blake3};

/// The length of the subtrees that a file's parts are, where they are: a power of two of chunks each, but for the last part,
/// which is no longer. `None` where there are other parts, or one alone.
pub(super) fn length_of(parts: &[u64]) -> Option<u64> {
    let (last, full) = parts.split_last()?;
    let length = *full.first()?;
    let is_subtree = length.is_power_of_two() && usize::try_from(length).is_ok_and(|length| length >= CHUNK_LEN);
    let fits = full.iter().all(|part| *part == length) && (1..=length).contains(last);
    (is_subtree && fits).then_some(length)
}

impl Hasher {
    /// A context for the subtree that begins at `offset`, a multiple of its length. It is for [`merge`] alone.
    pub(super) fn of_subtree(offset: u64) -> Self {
        let mut hasher = Box::<Blake3>::default();
        hasher.set_input_offset(offset);
        Self(Context::Blake3(hasher))
    }
}

/// The digest of the whole, of two subtrees or more: of one length, the last no longer. `None` of fewer, and of other contexts.
pub(super) fn merge(subtrees: impl Iterator<Item = Hasher>) -> Option<Vec<u8>> {
    let values = subtrees.map(|subtree| match subtree.0 {
        Context::Blake3(hasher) => Some(hasher.finalize_non_root()),
        Context::Sha256(_) | Context::Blake2b(_) => None,
    });
    let values = values.collect::<Option<Vec<_>>>()?;
    let (left, right) = halves(&values)?;
    Some(merge_subtrees_root(&value_of(left)?, &value_of(right)?, Mode::Hash).as_bytes().to_vec())
}

fn value_of(subtrees: &[ChainingValue]) -> Option<ChainingValue> {
    match (subtrees, halves(subtrees)) {
        ([only], _) => Some(*only),
        (_, Some((left, right))) => Some(merge_subtrees_non_root(&value_of(left)?, &value_of(right)?, Mode::Hash)),
        (_, None) => None,
    }
}

/// The left one is the largest power of two that leaves something for the right one.
fn halves(subtrees: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    let left = subtrees.len().checked_next_power_of_two()? / 2;
    subtrees.split_at_checked(left).filter(|(left, right)| !left.is_empty() && !right.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_subtrees_where_they_are_powers_of_two_and_others_are_not() {
        assert_eq!(length_of(&[1024, 1024, 1]), Some(1024));
        assert_eq!(length_of(&[4096, 4096]), Some(4096));
        for parts in [&[][..], &[4096], &[512, 512], &[1024, 2048], &[2048, 1024, 2048], &[3072, 3072], &[1024, 1025]] {
            assert_eq!(length_of(parts), None, "{parts:?}");
        }
    }
}

//! The SHA-256 of blobs: of one by the crypto backend, of two in step where the processor can.

use aws_lc_rs::digest;
use strongroom_sys::sha256::{self, Lanes};
use strongroom_wire::digest::Sha256;

/// The digest of a blob that is on its way.
pub(crate) enum BlobHash {
    Alone(Box<digest::Context>),
    InStep(Box<sha256::Sha256>),
}

impl BlobHash {
    /// Of a blob that is hashed by itself.
    pub(crate) fn alone() -> Self {
        Self::Alone(Box::new(digest::Context::new(&digest::SHA256)))
    }

    /// Of a blob that is hashed beside another one.
    pub(crate) fn in_step() -> Self {
        Lanes::detect().map_or_else(Self::alone, |lanes| Self::InStep(Box::new(sha256::Sha256::new(lanes))))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Alone(hash) => hash.update(bytes),
            Self::InStep(hash) => hash.update(bytes),
        }
    }

    /// Adds to each of two its fragments, in step where both are of that kind.
    pub(crate) fn update_two<C: AsRef<[u8]>>([a, b]: [&mut Self; 2], [to_a, to_b]: [&[C]; 2]) {
        let (mut all_a, mut all_b) = (to_a.iter().map(AsRef::as_ref), to_b.iter().map(AsRef::as_ref));
        let (mut left_a, mut left_b): (&[u8], &[u8]) = (&[], &[]);
        loop {
            left_a = if left_a.is_empty() { all_a.next().unwrap_or_default() } else { left_a };
            left_b = if left_b.is_empty() { all_b.next().unwrap_or_default() } else { left_b };
            let both = left_a.len().min(left_b.len());
            let (now_a, now_b);
            match (&mut *a, &mut *b) {
                (Self::InStep(a), Self::InStep(b)) if both > 0 => {
                    (now_a, left_a) = split(left_a, both);
                    (now_b, left_b) = split(left_b, both);
                    sha256::Sha256::update_two([a, b], [now_a, now_b]);
                }
                (a, b) => {
                    if left_a.is_empty() && left_b.is_empty() && all_a.len() == 0 && all_b.len() == 0 {
                        return;
                    }
                    a.update(core::mem::take(&mut left_a));
                    b.update(core::mem::take(&mut left_b));
                }
            }
        }
    }

    pub(crate) fn finish(self) -> Sha256 {
        match self {
            Self::Alone(hash) => Sha256::from_finished(&hash.finish()),
            Self::InStep(hash) => Sha256(hash.finish()),
        }
    }
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blobs_in_any_fragments_have_the_digests_of_each() {
        let bytes: Vec<u8> = (0..1000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        for (a, b) in [(1000, 1000), (1000, 1), (0, 1000), (64, 129), (0, 0)] {
            for (chunk_a, chunk_b) in [(1, 1), (64, 64), (63, 65), (1000, 7), (200, 1000)] {
                for kinds in
                    [false, true].map(|alone| move || if alone { BlobHash::alone() } else { BlobHash::in_step() })
                {
                    let (mut hash_a, mut hash_b) = (kinds(), kinds());
                    let fragments_a: Vec<&[u8]> = bytes[..a].chunks(chunk_a).collect();
                    let fragments_b: Vec<&[u8]> = bytes[..b].chunks(chunk_b).collect();
                    BlobHash::update_two([&mut hash_a, &mut hash_b], [&fragments_a, &fragments_b]);
                    assert_eq!(hash_a.finish(), Sha256::of(&bytes[..a]), "{a} {b} {chunk_a} {chunk_b}");
                    assert_eq!(hash_b.finish(), Sha256::of(&bytes[..b]), "{a} {b} {chunk_a} {chunk_b}");
                }
            }
        }
    }
}

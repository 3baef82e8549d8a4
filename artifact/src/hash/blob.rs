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

    /// Adds to each of two its bytes, in step as far as both are of that kind and have any.
    pub(crate) fn update_two([a, b]: [&mut Self; 2], [to_a, to_b]: [&[u8]; 2]) {
        let both = to_a.len().min(to_b.len());
        let ((now_a, left_a), (now_b, left_b)) = (split(to_a, both), split(to_b, both));
        if let (Self::InStep(a), Self::InStep(b)) = (&mut *a, &mut *b) {
            sha256::Sha256::update_two([a, b], [now_a, now_b]);
        } else {
            a.update(now_a);
            b.update(now_b);
        }
        a.update(left_a);
        b.update(left_b);
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
    fn two_blobs_in_pieces_of_any_lengths_have_the_digests_of_each() {
        let bytes: Vec<u8> = (0..1000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        for (a, b) in [(1000, 1000), (1000, 1), (0, 1000), (64, 129), (0, 0)] {
            for (piece_a, piece_b) in [(1, 1), (64, 64), (63, 65), (1000, 7), (200, 1000)] {
                for alone in [[false, false], [true, false], [true, true]] {
                    let mut hashes = alone.map(|alone| if alone { BlobHash::alone() } else { BlobHash::in_step() });
                    let [hash_a, hash_b] = &mut hashes;
                    let (mut pieces_a, mut pieces_b) = (bytes[..a].chunks(piece_a), bytes[..b].chunks(piece_b));
                    loop {
                        let pieces = [pieces_a.next(), pieces_b.next()];
                        if pieces == [None, None] {
                            break;
                        }
                        BlobHash::update_two([hash_a, hash_b], pieces.map(Option::unwrap_or_default));
                    }
                    let want = [a, b].map(|length| Sha256::of(&bytes[..length]));
                    assert_eq!(hashes.map(BlobHash::finish), want, "{a} {b} {piece_a} {piece_b} {alone:?}");
                }
            }
        }
    }
}

//! Sealing: Tink's streaming AEAD `AES256_GCM_HKDF_1MB`, output prefix RAW, byte for byte.
//!
//! ```text
//! 0   1 byte    length of the header, 40
//! 1   32 bytes  salt
//! 33  7 bytes   nonce prefix
//! 40  segment 0, up to 1,048,520 bytes of plaintext and a tag of 16
//! i·1 MiB  segment i, up to 1,048,560 bytes of plaintext and a tag of 16
//! ```
//!
//! Stream key = HKDF-SHA256(data key, salt, info = associated data). Nonce = prefix ‖ u32be index ‖ 1 for the last segment,
//! else 0. All segments but the last are full, and the last is empty only where the whole plaintext is. The segments'
//! own associated data is empty: where a stream belongs is bound by the stream key ([`associated_data`]).

mod sealer;
mod segments;
mod stream;

use crate::ArtifactId;
pub use sealer::{Sealed, Sealer};
pub use segments::Segments;
pub use stream::OpenStream;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What manifests and indices call this format.
pub const SCHEME: &str = "tink-aes256-gcm-hkdf-1mb";
/// Length of a segment, header and tag included.
pub const SEGMENT: usize = 1 << 20;
/// Length of the header, as its first byte says.
pub const HEADER: usize = 40;
/// Length of a segment's tag.
pub const TAG: usize = 16;
/// Plaintext of one part of a file, where [`part_len`] allows it: so short that a model of one file keeps all cores busy, since
/// one core hashes one blob, and long enough that a thousand of them are a large model. A power of two, so that parts are
/// subtrees of BLAKE3. Registries fail on blobs of more than about 10 GB.
pub const PART_LEN: u64 = 512 << 20;

const SEGMENT_U64: u64 = 1 << 20;
const HEADER_U64: u64 = 40;
const TAG_U64: u64 = 16;

/// `strongroom/seal/v1\0<artifact id, 32 hex>\0<path>\0<part>/<parts>`, parts counted from 1: what a stream is bound to.
/// It cannot be opened in the place of another file, part or artifact.
pub fn associated_data(id: &ArtifactId, path: &str, part: u32, parts: u32) -> Vec<u8> {
    format!("strongroom/seal/v1\0{id}\0{path}\0{part}/{parts}").into_bytes()
}

/// Length of the stream that seals `plain` bytes. Saturates; [`plain_len`] refuses such lengths.
pub const fn sealed_len(plain: u64) -> u64 {
    let first = SEGMENT_U64 - HEADER_U64 - TAG_U64;
    let segments = if plain <= first { 1 } else { 1 + (plain - first).div_ceil(SEGMENT_U64 - TAG_U64) };
    (HEADER_U64 + segments * TAG_U64).saturating_add(plain)
}

/// Length of the plaintext of a stream of `sealed` bytes. Refuses, with `seal-invalid`, lengths that no stream has.
pub fn plain_len(sealed: u64) -> Result<u64> {
    let segments = sealed.div_ceil(SEGMENT_U64);
    let plain = (u32::try_from(segments).is_ok())
        .then(|| sealed.checked_sub(HEADER_U64)?.checked_sub(segments.checked_mul(TAG_U64)?))
        .flatten();
    // A last segment of a tag alone subtracts cleanly too; sealing the result again tells it apart.
    plain.filter(|plain| sealed_len(*plain) == sealed).ok_or_else(|| {
        Refusal::new(Code::SealInvalid, "length of a sealed stream").got(sealed).want("that of whole segments")
    })
}

/// The length of the parts of a file of `len` bytes: [`PART_LEN`], doubled until they are no more than [`limits::PARTS`].
pub fn part_len(len: u64) -> u64 {
    let mut length = PART_LEN;
    while len.div_ceil(length) > u64::from(limits::PARTS) {
        length = length.saturating_mul(2);
    }
    length
}

/// The lengths of the parts that a file of `len` bytes is split into, at most `part_len` each ([`part_len`]): all full but
/// the last, and one empty part for an empty file.
pub fn part_lengths(len: u64, part_len: u64) -> impl Iterator<Item = u64> {
    let part_len = part_len.max(1);
    let parts = len.div_ceil(part_len).max(1);
    (0..parts).map(move |part| len.saturating_sub(part.saturating_mul(part_len)).min(part_len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_those_of_the_notes() {
        for (plain, sealed) in [
            (0, 56),
            (1, 57),
            (1_048_520, 1_048_576),
            (1_048_521, 1_048_593),
            (2_097_080, 2_097_152),
            (2_097_081, 2_097_169),
            (3_145_733, 3_145_837),
        ] {
            assert_eq!(sealed_len(plain), sealed);
            assert_eq!(plain_len(sealed).unwrap(), plain);
        }
    }

    #[test]
    fn lengths_that_no_stream_has_refused() {
        for sealed in [0, 40, 55, 1_048_577, 1_048_592, 2_097_168, u64::MAX, (1 << 52) + 17] {
            assert_eq!(plain_len(sealed).unwrap_err().code, Code::SealInvalid, "{sealed}");
        }
    }

    #[test]
    fn associated_data_names_artifact_path_and_part() {
        let id = ArtifactId::from([0xab; 16]);
        let want = format!("strongroom/seal/v1\0{}\0a/b.bin\x002/3", "ab".repeat(16));
        assert_eq!(associated_data(&id, "a/b.bin", 2, 3), want.as_bytes());
    }

    #[test]
    fn parts_are_full_but_the_last() {
        let parts = |len, part| part_lengths(len, part).collect::<Vec<_>>();
        assert_eq!(parts(0, 4), [0]);
        assert_eq!(parts(4, 4), [4]);
        assert_eq!(parts(5, 4), [4, 1]);
        assert_eq!(parts(8, 4), [4, 4]);
    }

    #[test]
    fn parts_of_a_long_file_are_longer_and_never_too_many() {
        let most = PART_LEN * u64::from(limits::PARTS);
        for (len, want) in [(0, PART_LEN), (most, PART_LEN), (most + 1, 2 * PART_LEN), (limits::MODEL, 16 << 30)] {
            assert_eq!(part_len(len), want, "{len}");
        }
    }

    proptest! {
        #[test]
        fn every_plain_length_comes_back(plain in 0_u64..1 << 40) {
            prop_assert_eq!(plain_len(sealed_len(plain)).unwrap(), plain);
        }

        #[test]
        fn every_sealed_length_is_refused_or_comes_back(sealed: u64) {
            if let Ok(plain) = plain_len(sealed) {
                prop_assert_eq!(sealed_len(plain), sealed);
            }
        }

        #[test]
        fn parts_add_up_to_the_file(len in 0_u64..10_000, part in 1_u64..200) {
            prop_assert_eq!(part_lengths(len, part).sum::<u64>(), len);
        }
    }
}

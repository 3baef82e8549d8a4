//! A sealed file that opens under two data keys, each time to other bytes and each time with a valid tag: GCM does not
//! commit to its key. It exists to show that the key commitment of the signed manifest refuses the second key.
//!
//! A GCM tag (SP 800-38D §7.1) is linear in the ciphertext blocks over GF(2^128): `T = E(J0) ⊕ Σ Cᵢ·Hⁱ ⊕ L·H`. With all but
//! one block free, the remaining block is solved so that both keys give the same tag.

use crate::amd::crypto;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use strongroom_wire::Result;

/// Length of the plaintexts: three blocks.
pub const PLAINTEXT_LEN: usize = 48;

struct Okm;

impl KeyType for Okm {
    fn len(&self) -> usize {
        32
    }
}

/// A Tink `AES256_GCM_HKDF_1MB` stream of one segment that authenticates under both data keys with the same associated
/// data.
pub fn sealed_under_both(keys: [&[u8; 32]; 2], associated_data: &[u8], salt: &[u8; 32]) -> Result<Vec<u8>> {
    let prefix = [0x70; 7];
    let mut nonce = [0; 12];
    for (to, from) in nonce.iter_mut().zip(prefix.iter().chain(&[0, 0, 0, 0, 1])) {
        *to = *from;
    }
    let derived =
        [Side::new(keys[0], salt, associated_data, nonce)?, Side::new(keys[1], salt, associated_data, nonce)?];
    // Ciphertext C1 ‖ C2 ‖ C3 and the block of lengths: T = E(J0) ⊕ C1·H⁴ ⊕ C2·H³ ⊕ C3·H² ⊕ L·H. C1 and C2 are free.
    let (c1, c2) = (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128, 0xfedc_ba98_7654_3210_fedc_ba98_7654_3210_u128);
    let rest = |side: &Side| {
        let h = side.h;
        side.mask ^ multiply(c1, power(h, 4)) ^ multiply(c2, power(h, 3)) ^ multiply(LENGTHS, h)
    };
    let difference = power(derived[0].h, 2) ^ power(derived[1].h, 2);
    let c3 = multiply(rest(&derived[0]) ^ rest(&derived[1]), inverse(difference));
    let tag = rest(&derived[0]) ^ multiply(c3, power(derived[0].h, 2));
    let mut stream = vec![40];
    stream.extend_from_slice(salt);
    stream.extend_from_slice(&prefix);
    for block in [c1, c2, c3, tag] {
        stream.extend_from_slice(&block.to_be_bytes());
    }
    Ok(stream)
}

/// The block of lengths: no associated data, 48 bytes of ciphertext, in bits.
const LENGTHS: u128 = 48 * 8;

/// What GCM hides of a key, for one nonce.
struct Side {
    /// The hash key `H = E(0)`.
    h: u128,
    /// `E(J0)`.
    mask: u128,
}

impl Side {
    fn new(key: &[u8; 32], salt: &[u8; 32], info: &[u8], nonce: [u8; 12]) -> Result<Self> {
        let mut derived = [0; 32];
        let prk = Salt::new(HKDF_SHA256, salt).extract(key);
        prk.expand(&[info], Okm).and_then(|okm| okm.fill(&mut derived)).map_err(crypto)?;
        let gcm = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived).map_err(crypto)?);
        let tag = |plaintext: &mut Vec<u8>| -> Result<u128> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = gcm.seal_in_place_separate_tag(nonce, Aad::empty(), plaintext).map_err(crypto)?;
            Ok(tag.as_ref().try_into().map_or(0, u128::from_be_bytes))
        };
        // Nothing sealed: T = E(J0). The key stream's first block sealed: C = 0, so T = E(J0) ⊕ 128·H.
        let mask = tag(&mut Vec::new())?;
        let mut stream = vec![0; 16];
        tag(&mut stream)?;
        let zero_ciphertext = tag(&mut stream)?;
        let h = multiply(zero_ciphertext ^ mask, inverse(128));
        Ok(Self { h, mask })
    }
}

/// Multiplication in GF(2^128) with GCM's bit order (SP 800-38D §6.3).
fn multiply(x: u128, y: u128) -> u128 {
    let (mut product, mut v) = (0, y);
    for bit in (0..128).rev() {
        if (x >> bit) & 1 == 1 {
            product ^= v;
        }
        let carry = v & 1;
        v >>= 1;
        if carry == 1 {
            v ^= 0xe1 << 120;
        }
    }
    product
}

fn power(x: u128, exponent: u32) -> u128 {
    (1..exponent).fold(x, |product, _| multiply(product, x))
}

/// `x^(2^128 − 2)`.
fn inverse(x: u128) -> u128 {
    let mut result = 1 << 127; // the field's one
    let mut square = x;
    for _ in 1..128 {
        square = multiply(square, square);
        result = multiply(result, square);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_times_itself_is_one() {
        for x in [1, 128, 0xdead_beef, u128::MAX] {
            assert_eq!(multiply(x, inverse(x)), 1 << 127);
        }
    }

    #[test]
    fn stream_opens_under_both_keys_to_different_plaintexts() {
        let (a, b) = ([1; 32], [2; 32]);
        let stream = sealed_under_both([&a, &b], b"place", &[9; 32]).unwrap();
        let open = |key: &[u8; 32]| {
            let mut derived = [0; 32];
            let prk = Salt::new(HKDF_SHA256, &[9; 32]).extract(key);
            prk.expand(&[b"place"], Okm).unwrap().fill(&mut derived).unwrap();
            let gcm = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived).unwrap());
            let mut nonce = [0; 12];
            nonce[..7].copy_from_slice(&stream[33..40]);
            nonce[11] = 1;
            let mut body = stream[40..].to_vec();
            let plain = gcm.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body);
            plain.map(|plain| plain.to_vec())
        };
        let (first, second) = (open(&a).unwrap(), open(&b).unwrap());
        assert_eq!(first.len(), PLAINTEXT_LEN);
        assert_ne!(first, second);
        assert!(open(&[3; 32]).is_err());
    }
}

//! The Concat KDF of NIST SP 800-56A §5.8.1 as RFC 7518 §4.6.2 uses it: one round of SHA-256.

use aws_lc_rs::digest;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Derives `N` bytes (at most 32) from the shared secret `z`.
///
/// `algorithm` is the AlgorithmID: the `alg` of a key agreement that wraps a key, the `enc` of a direct one. `apu` and
/// `apv` are the two parties' names, empty in the KBS protocol.
pub(crate) fn concat_kdf<const N: usize>(
    z: &[u8],
    algorithm: &str,
    apu: &[u8],
    apv: &[u8],
) -> Result<Zeroizing<[u8; N]>> {
    let bits = u32::try_from(N.saturating_mul(8)).map_err(|e| Refusal::new(Code::Internal, "key length").because(e))?;
    let mut round = digest::Context::new(&digest::SHA256);
    round.update(&1u32.to_be_bytes());
    round.update(z);
    for value in [algorithm.as_bytes(), apu, apv] {
        let length = u32::try_from(value.len()).map_err(|e| Refusal::malformed("key derivation input", e))?;
        round.update(&length.to_be_bytes());
        round.update(value);
    }
    round.update(&bits.to_be_bytes());
    let round = round.finish();
    let derived = round.as_ref().first_chunk::<N>();
    derived.copied().map(Zeroizing::new).ok_or_else(|| Refusal::new(Code::Internal, "key longer than one round"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::bytes::{from_base64url, to_base64url};

    /// RFC 7518 appendix C.
    #[test]
    fn key_of_the_specification_derived() {
        let z: [u8; 32] = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128,
            106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let apu = from_base64url("QWxpY2U", "apu").unwrap();
        let apv = from_base64url("Qm9i", "apv").unwrap();
        let key = concat_kdf::<16>(&z, "A128GCM", &apu, &apv).unwrap();
        assert_eq!(to_base64url(key.as_ref()), "VqqN6vgjbSBcIijNcacQGg");
    }

    #[test]
    fn key_longer_than_one_round_refused() {
        assert_eq!(concat_kdf::<33>(b"z", "A", b"", b"").unwrap_err().code, Code::Internal);
        assert!(concat_kdf::<32>(b"z", "A", b"", b"").is_ok());
    }
}

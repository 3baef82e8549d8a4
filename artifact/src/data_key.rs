//! The data key of a sealed artifact, and what is derived from it.
//!
//! A data key belongs to one artifact: the artifact's id is the salt of every derivation, and the signed manifest
//! commits to the key, because GCM itself does not.

use aws_lc_rs::{hkdf, rand};
use core::fmt;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, bytes};
use zeroize::{Zeroize, Zeroizing};

/// The random identity of a sealed artifact. Public.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArtifactId([u8; 16]);

impl ArtifactId {
    /// Draws a fresh one.
    pub fn generate() -> Result<Self> {
        let mut id = [0; 16];
        fill_random(&mut id)?;
        Ok(Self(id))
    }

    /// Parses 32 lower-case hex digits.
    pub fn from_hex(text: &str) -> Result<Self> {
        bytes::hex_array(text, "artifact id").map(Self)
    }
}

impl From<[u8; 16]> for ArtifactId {
    fn from(id: [u8; 16]) -> Self {
        Self(id)
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 32 secret bytes that open an artifact: Tink's initial keying material, and nothing else.
///
/// Neither cloned, compared, shown nor serialised; zeroised when dropped.
pub struct DataKey([u8; 32]);

impl DataKey {
    /// Draws a fresh one.
    pub fn generate() -> Result<Self> {
        let mut key = Self([0; 32]);
        fill_random(&mut key.0)?;
        Ok(key)
    }

    /// Reads a key file: 32 raw bytes, or 64 hex digits of either case and at most one line end.
    ///
    /// Refuses everything else with `key-invalid`, which never repeats what it read.
    pub fn from_file_bytes(file: &[u8]) -> Result<Self> {
        let mut key = Self([0; 32]);
        if file.len() == key.0.len() {
            key.0.copy_from_slice(file);
            return Ok(key);
        }
        let line = file.strip_suffix(b"\n").unwrap_or(file);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match hex::decode_to_slice(line, &mut key.0) {
            Ok(()) => Ok(key),
            Err(_) => Err(Refusal::new(Code::KeyInvalid, "data key")
                .got(format!("{} bytes", file.len()))
                .want("32 raw bytes or 64 hex digits")),
        }
    }

    /// `HKDF-SHA256(key, salt = artifact id, info = "strongroom/key-commitment/v1")`: what the signed manifest says of
    /// its key. Public.
    pub fn commitment(&self, id: &ArtifactId) -> [u8; 32] {
        self.derive(&id.0, &[b"strongroom/key-commitment/v1"])
    }

    /// `HKDF-SHA256(key, salt = artifact id, info = "strongroom/statement-blind/v1")`: hides the digests of a secret
    /// model's files in what evidence commits to.
    pub fn statement_blind(&self, id: &ArtifactId) -> [u8; 32] {
        self.derive(&id.0, &[b"strongroom/statement-blind/v1"])
    }

    /// `HKDF-SHA256(key, salt = source, info = "strongroom/reseal-id/v1")`, its first 16 bytes: the artifact that the model
    /// whose manifest has the digest `source` becomes under this key. The same each time, so that a resealing that was
    /// interrupted goes on.
    pub fn resealed_id(&self, source: &Sha256) -> ArtifactId {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] =
            self.derive(&source.0, &[b"strongroom/reseal-id/v1"]);
        ArtifactId([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// Salt and nonce prefix for the stream that seals what the blob `source` opens to as `associated_data` says: one of each
    /// blob and place, the same each time.
    pub(crate) fn resealed_random(&self, source: &Sha256, associated_data: &[u8]) -> ([u8; 32], [u8; 7]) {
        let salt = self.derive(&source.0, &[b"strongroom/reseal-salt/v1\0", associated_data]);
        let [a, b, c, d, e, f, g, ..] = self.derive(&source.0, &[b"strongroom/reseal-prefix/v1\0", associated_data]);
        (salt, [a, b, c, d, e, f, g])
    }

    /// The bytes, for those who wrap or store them.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares the commitment in constant time. Refuses another key with `key-commitment-mismatch`.
    pub(crate) fn verify_commitment(&self, id: &ArtifactId, want: &[u8; 32]) -> Result<()> {
        let got = self.commitment(id);
        aws_lc_rs::constant_time::verify_slices_are_equal(&got, want).map_err(|_| {
            Refusal::new(Code::KeyCommitmentMismatch, "commitment of the data key")
                .got(hex::encode(got))
                .want(hex::encode(want))
        })
    }

    /// The bytes again, for a stream that derives its own key only once its header has come.
    pub(crate) fn for_stream(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    #[expect(
        clippy::expect_used,
        reason = "RFC 5869 §2.3 fails above 255 blocks of output alone, and this is one; a value made up instead would be a commitment"
    )]
    fn derive(&self, salt: &[u8], info: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0);
        prk.expand(info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out)).expect("one block of output");
        out
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

/// Fills `out` from the backend's random generator.
pub(crate) fn fill_random(out: &mut [u8]) -> Result<()> {
    rand::fill(out).map_err(|_| Refusal::new(Code::Internal, "random generator"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        DataKey::from_file_bytes(&core::array::from_fn::<u8, 32, _>(|i| u8::try_from(i).unwrap())).unwrap()
    }

    #[test]
    fn derivations_are_those_of_the_oracle() {
        let id = ArtifactId::from([7; 16]);
        for (info, got) in [
            ("strongroom/key-commitment/v1", key().commitment(&id)),
            ("strongroom/statement-blind/v1", key().statement_blind(&id)),
        ] {
            let mut want = [0; 32];
            hkdf::Hkdf::<sha2::Sha256>::new(Some(&[7; 16]), key().expose()).expand(info.as_bytes(), &mut want).unwrap();
            assert_eq!(got, want);
        }
        use ::hkdf;
    }

    #[test]
    fn resealing_derives_the_same_for_one_source_and_another_for_each_other_source_place_and_key() {
        let source = Sha256([7; 32]);
        let mut want = [0; 32];
        let oracle = ::hkdf::Hkdf::<sha2::Sha256>::new(Some(&source.0), key().expose());
        oracle.expand(b"strongroom/reseal-id/v1", &mut want).unwrap();
        assert_eq!(key().resealed_id(&source).0, want[..16]);
        assert_ne!(key().resealed_id(&source), key().resealed_id(&Sha256([8; 32])));
        oracle.expand(b"strongroom/reseal-salt/v1\0place", &mut want).unwrap();
        let random = key().resealed_random(&source, b"place");
        assert_eq!(random.0, want);
        let other = DataKey::from_file_bytes(&[9; 32]).unwrap();
        for another in [
            key().resealed_random(&Sha256([8; 32]), b"place"),
            key().resealed_random(&source, b"elsewhere"),
            other.resealed_random(&source, b"place"),
        ] {
            assert!(another.0 != random.0 && another.1 != random.1);
        }
    }

    #[test]
    fn commitment_of_the_key_accepted_and_of_another_key_or_artifact_refused() {
        let id = ArtifactId::from([1; 16]);
        let want = key().commitment(&id);
        assert!(key().verify_commitment(&id, &want).is_ok());
        let other = DataKey::generate().unwrap();
        assert_eq!(other.verify_commitment(&id, &want).unwrap_err().code, Code::KeyCommitmentMismatch);
        let elsewhere = ArtifactId::from([2; 16]);
        assert_eq!(key().verify_commitment(&elsewhere, &want).unwrap_err().code, Code::KeyCommitmentMismatch);
    }

    #[test]
    fn key_file_raw_or_hex_accepted_and_of_other_lengths_refused() {
        let hex = hex::encode(key().expose());
        for good in [hex.clone(), hex.to_uppercase(), format!("{hex}\n"), format!("{hex}\r\n")] {
            assert_eq!(DataKey::from_file_bytes(good.as_bytes()).unwrap().expose(), key().expose());
        }
        for bad in [&b""[..], &[0; 31], &[0; 33], &[b'a'; 63], &[b'g'; 64], format!("{hex}\n\n").as_bytes()] {
            assert_eq!(DataKey::from_file_bytes(bad).unwrap_err().code, Code::KeyInvalid);
        }
    }

    #[test]
    fn debug_shows_the_name_alone() {
        assert_eq!(format!("{:?}", key()), "DataKey");
    }
}

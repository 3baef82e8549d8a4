//! Public keys, in one form each.

use super::curve::Curve;
use super::invalid;
use aws_lc_rs::signature::{ParsedPublicKey, UnparsedPublicKey};
use core::fmt;
use der::oid::ObjectIdentifier;
use der::pem::LineEnding;
use der::{Decode as _, Encode as _};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// RFC 5480 §2.1.1, `id-ecPublicKey`.
pub(super) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A public key that signatures are verified with.
///
/// Two values are equal exactly where the keys are: only the named curve and the uncompressed point are accepted, in
/// DER, so a key has one encoding. Counting distinct signers rests on that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki: Vec<u8>,
    pub(super) point: Vec<u8>,
    pub(super) curve: Curve,
}

impl PublicKey {
    /// Reads a PEM SubjectPublicKeyInfo (RFC 7468 §13). Refuses everything else with `key-invalid`.
    pub fn from_pem(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::KEY_FILE {
            return Err(Refusal::too_large("key file", format!("{} bytes", bytes.len()), limits::KEY_FILE));
        }
        match der::pem::decode_vec(bytes).map_err(|e| invalid("PEM").because(e))? {
            ("PUBLIC KEY", der) => Self::from_der(&der),
            (other, _) => Err(invalid("kind of PEM").got(other).want("PUBLIC KEY")),
        }
    }

    /// Reads a DER SubjectPublicKeyInfo of an ECDSA key on P-256, P-384 or P-521 (RFC 5480 §2). Refuses everything else
    /// with `key-invalid`.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|e| invalid("public key").because(e))?;
        let named = spki.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let curve = Curve::ALL.into_iter().find(|curve| named == Some(curve.oid()));
        let curve = curve.filter(|_| spki.algorithm.oid == EC_PUBLIC_KEY);
        let curve = curve.ok_or_else(|| invalid("public key").want("ECDSA on P-256, P-384 or P-521"))?;
        let point = spki.subject_public_key.as_bytes().unwrap_or_default();
        if point.first() != Some(&4) || point.len() != curve.point_len() || spki.to_der().ok().as_deref() != Some(der) {
            return Err(invalid("public key").want("an uncompressed point, in DER"));
        }
        ParsedPublicKey::new(curve.verification(), point).map_err(|e| invalid("public key").because(e))?;
        Ok(Self { spki: der.to_vec(), point: point.to_vec(), curve })
    }

    /// The key as PEM, with a line end after its last line: the text that OMS hints are made of.
    pub fn pem(&self) -> String {
        // Fails for labels that PEM forbids, and this one it names.
        der::pem::encode_string("PUBLIC KEY", LineEnding::LF, &self.spki).unwrap_or_default()
    }

    /// The key as DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki_der`]: how policies name a key.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    /// Verifies the ASN.1 DER `signature` over `message`. Refuses with `signature-invalid`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        UnparsedPublicKey::new(self.curve.verification(), &self.point).verify(message, signature).map_err(|_| {
            Refusal::new(Code::SignatureInvalid, "signature").got(format!("does not verify under key {self:?}"))
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fingerprint(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;
    use proptest::prelude::*;

    #[test]
    fn key_reads_back_from_der_and_pem() {
        let key = SigningKey::generate().unwrap().public();
        assert_eq!(PublicKey::from_der(key.spki_der()).unwrap(), key);
        assert_eq!(PublicKey::from_pem(key.pem().as_bytes()).unwrap(), key);
    }

    #[test]
    fn point_off_the_curve_other_encodings_and_trailing_bytes_refused() {
        let good = SigningKey::generate().unwrap().public().spki_der().to_vec();
        let mut off_curve = good.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        let mut trailing = good.clone();
        trailing.push(0);
        let mut hybrid = good.clone();
        let form = hybrid.len() - 65;
        assert_eq!(hybrid[form], 4);
        hybrid[form] = 6;
        for bad in [off_curve, trailing, hybrid, Vec::new()] {
            assert_eq!(PublicKey::from_der(&bad).unwrap_err().code, Code::KeyInvalid);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = PublicKey::from_der(&bytes);
            let _ = PublicKey::from_pem(&bytes);
        }
    }
}

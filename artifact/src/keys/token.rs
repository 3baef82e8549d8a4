//! The forms in which PKCS #11 tokens speak of ECDSA keys and signatures (PKCS #11 3.1 §6.3), and ours.

use super::curve::Curve;
use super::{PublicKey, invalid};
use aws_lc_rs::digest;
use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _, Sequence};
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl PublicKey {
    /// The key of a token's attributes `CKA_EC_PARAMS` (DER of the curve's name) and `CKA_EC_POINT` (DER of an octet string that
    /// holds the point; some tokens give the point itself).
    ///
    /// Refuses everything else with `key-invalid`.
    pub fn from_token(parameters: &[u8], point: &[u8]) -> Result<Self> {
        let inner = OctetStringRef::from_der(point).map_or(point, |inner| inner.as_bytes());
        let spki = |parameters: AnyRef<'_>| {
            SubjectPublicKeyInfoRef {
                algorithm: AlgorithmIdentifierRef { oid: super::public::EC_PUBLIC_KEY, parameters: Some(parameters) },
                subject_public_key: BitStringRef::from_bytes(inner)?,
            }
            .to_der()
        };
        let der = ObjectIdentifier::from_der(parameters).and_then(|_| AnyRef::from_der(parameters)).and_then(spki);
        Self::from_der(&der.map_err(|e| invalid("key of a token").because(e))?)
    }

    /// The digest of `message` that a token signs for this key, with the hash of the key's curve (`CKM_ECDSA` hashes nothing).
    pub fn prehash(&self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self.curve {
            Curve::P256 => &digest::SHA256,
            Curve::P384 => &digest::SHA384,
            Curve::P521 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// The ASN.1 DER form of a token's signature, which is both numbers in one length, one after the other.
    ///
    /// Refuses another length with `signature-invalid`.
    pub fn signature_from_token(&self, raw: &[u8]) -> Result<Vec<u8>> {
        let half = self.curve.point_len() / 2;
        let wrong = || Refusal::new(Code::SignatureInvalid, "signature of a token").got(raw.len()).want(2 * half);
        if raw.len() != 2 * half {
            return Err(wrong());
        }
        let (r, s) = raw.split_at_checked(half).ok_or_else(wrong)?;
        let der = UintRef::new(r).and_then(|r| EcdsaSignature { r, s: UintRef::new(s)? }.to_der());
        der.map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

    #[test]
    fn key_of_a_token_is_the_key_that_it_is() {
        let key = SigningKey::generate().unwrap().public();
        let wrapped = [&[4, 65], key.point.as_slice()].concat();
        assert_eq!(PublicKey::from_token(P256, &wrapped).unwrap(), key);
        assert_eq!(PublicKey::from_token(P256, &key.point).unwrap(), key);
        for (parameters, point) in [(&P256[..9], &wrapped[..]), (P256, &wrapped[..66]), (b"", b""), (P256, &[4, 0])] {
            assert_eq!(PublicKey::from_token(parameters, point).unwrap_err().code, Code::KeyInvalid);
        }
    }

    #[test]
    fn signature_of_a_token_verifies_and_one_of_another_length_is_refused() {
        use aws_lc_rs::rand::SystemRandom;
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let key = SigningKey::generate().unwrap();
        let pem = key.to_pkcs8_pem().unwrap();
        let (_, der) = der::pem::decode_vec(pem.expose().as_bytes()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        let raw = pair.sign(&SystemRandom::new(), b"message").unwrap();
        let public = key.public();
        let signature = public.signature_from_token(raw.as_ref()).unwrap();
        assert!(public.verify(b"message", &signature).is_ok());
        for bad in [&raw.as_ref()[1..], &[], &[raw.as_ref(), &[0]].concat()] {
            assert_eq!(public.signature_from_token(bad).unwrap_err().code, Code::SignatureInvalid);
        }
        assert_eq!(public.prehash(b"abc"), strongroom_wire::digest::Sha256::of(b"abc").0);
    }
}

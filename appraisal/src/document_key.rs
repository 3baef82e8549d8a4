//! The public keys that signed documents are verified with.

use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use core::fmt;
use der::asn1::UintRef;
use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// A public key that documents are verified with: ECDSA on P-256, P-384 or P-521 with the SHA-2 of its size, or Ed25519.
///
/// Two values are equal exactly where the keys are: a key has one encoding here. Counting distinct signers rests on that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentKey {
    spki: Vec<u8>,
    key: Vec<u8>,
    algorithm: Algorithm,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    P256,
    P384,
    P521,
    Ed25519,
}

/// RFC 5480 §2.1.1, `id-ecPublicKey`.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

impl Algorithm {
    const ALL: [Self; 4] = [Self::P256, Self::P384, Self::P521, Self::Ed25519];

    /// The curve (RFC 5480 §2.1.1.1), or the algorithm itself (RFC 8410 §3).
    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
            Self::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
            Self::Ed25519 => ObjectIdentifier::new_unwrap("1.3.101.112"),
        }
    }

    /// Bytes of a key: an uncompressed point (SEC 1 §2.3.3), or RFC 8032's 32 bytes.
    const fn len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::P521 => 133,
            Self::Ed25519 => 32,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::P384 => &signature::ECDSA_P384_SHA384_ASN1,
            Self::P521 => &signature::ECDSA_P521_SHA512_ASN1,
            Self::Ed25519 => &signature::ED25519,
        }
    }

    /// Its names in COSE: of RFC 9053 §2, which most readers know, and the one of RFC 9864 §2, which fixes the curve.
    const fn cose(self) -> [i128; 2] {
        match self {
            Self::P256 => [-7, -9],
            Self::P384 => [-35, -51],
            Self::P521 => [-36, -52],
            Self::Ed25519 => [-8, -19],
        }
    }

    fn cose_verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::Ed25519 => &signature::ED25519,
        }
    }

    /// Bytes of each of a signature's two numbers in COSE (RFC 9053 §2.1), where it has two.
    const fn coordinate(self) -> Option<usize> {
        match self {
            Self::P256 => Some(32),
            Self::P384 => Some(48),
            Self::P521 => Some(66),
            Self::Ed25519 => None,
        }
    }
}

impl DocumentKey {
    /// Reads a PEM SubjectPublicKeyInfo (RFC 7468 §13). Refuses everything else with `key-invalid`.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        if pem.len() > limits::KEY_FILE {
            return Err(Refusal::too_large("key", format!("{} bytes", pem.len()), limits::KEY_FILE));
        }
        match der::pem::decode_vec(pem).map_err(|error| invalid("PEM").because(error))? {
            ("PUBLIC KEY", der) => Self::from_der(&der),
            (other, _) => Err(invalid("kind of PEM").got(other).want("PUBLIC KEY")),
        }
    }

    /// Reads a DER SubjectPublicKeyInfo. Refuses another algorithm or encoding with `key-invalid`.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| invalid("public key").because(error))?;
        let named = match spki.algorithm.oid == EC_PUBLIC_KEY {
            true => spki.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok()),
            false => Some(spki.algorithm.oid).filter(|_| spki.algorithm.parameters.is_none()),
        };
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| named == Some(algorithm.oid()));
        let algorithm =
            algorithm.ok_or_else(|| invalid("public key").want("ECDSA on P-256, P-384 or P-521, or Ed25519"))?;
        let key = spki.subject_public_key.as_bytes().unwrap_or_default();
        let uncompressed = algorithm == Algorithm::Ed25519 || key.first() == Some(&4);
        if !uncompressed || key.len() != algorithm.len() || spki.to_der().ok().as_deref() != Some(der) {
            return Err(invalid("public key").want("a key of its length, a point uncompressed, in DER"));
        }
        ParsedPublicKey::new(algorithm.verification(), key).map_err(|error| invalid("public key").because(error))?;
        Ok(Self { spki: der.to_vec(), key: key.to_vec(), algorithm })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    /// Whether `signature` is the key's over `message`, an ECDSA signature in ASN.1 DER (RFC 3279 §2.2.3).
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.key).verify(message, signature).is_ok()
    }

    /// Whether `signature` is the key's over `message` under the algorithm that COSE calls `algorithm`, an ECDSA signature as
    /// RFC 9053 §2.1 has it: `r ‖ s`. ES256 and its kind leave the curve open; here it is the one of its hash's size.
    pub(crate) fn verifies_cose(&self, algorithm: i128, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(self.algorithm.cose_verification(), &self.key);
        self.algorithm.cose().contains(&algorithm) && key.verify(message, signature).is_ok()
    }

    /// The algorithm as COSE calls it.
    pub(crate) const fn cose_algorithm(&self) -> i128 {
        let [algorithm, _] = self.algorithm.cose();
        algorithm
    }

    /// A signature of the key's as COSE has it, of an ECDSA key from ASN.1 DER.
    pub(crate) fn cose_signature(&self, signature: &[u8]) -> Result<Vec<u8>> {
        match self.algorithm.coordinate() {
            None => Ok(signature.to_vec()),
            Some(length) => fixed(signature, length).ok_or_else(|| invalid("signature").want("ECDSA in ASN.1 DER")),
        }
    }
}

/// `r ‖ s` of an ECDSA signature in ASN.1 DER.
fn fixed(signature: &[u8], length: usize) -> Option<Vec<u8>> {
    let numbers = Vec::<UintRef<'_>>::from_der(signature).ok().filter(|numbers| numbers.len() == 2)?;
    let padded = |number: &UintRef<'_>| {
        let bytes = number.as_bytes();
        Some([vec![0; length.checked_sub(bytes.len())?], bytes.to_vec()].concat())
    };
    Some(numbers.iter().map(padded).collect::<Option<Vec<_>>>()?.concat())
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fingerprint(), f)
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::KeyInvalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};

    #[test]
    fn keys_of_other_kinds_and_encodings_refused() {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let good = pair.public_key().as_der().unwrap().as_ref().to_vec();
        let (mut off_curve, mut trailing, mut hybrid) = (good.clone(), good.clone(), good.clone());
        *off_curve.last_mut().unwrap() ^= 1;
        trailing.push(0);
        let form = hybrid.len() - 65;
        hybrid[form] = 6;
        assert!(DocumentKey::from_der(&good).is_ok());
        for bad in [off_curve, trailing, hybrid, Vec::new()] {
            assert_eq!(DocumentKey::from_der(&bad).unwrap_err().code, Code::KeyInvalid);
        }
        assert_eq!(DocumentKey::from_pem(b"no key").unwrap_err().code, Code::KeyInvalid);
        // As long as a file may be, and no key.
        let longest = vec![b'a'; limits::KEY_FILE];
        assert_eq!(DocumentKey::from_pem(&longest).unwrap_err().code, Code::KeyInvalid);
        let long = vec![b'a'; limits::KEY_FILE + 1];
        assert_eq!(DocumentKey::from_pem(&long).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn algorithms_have_the_numbers_that_the_registry_of_cose_gives_them() {
        // https://www.iana.org/assignments/cose: ES256, ESP256; ES384, ESP384; ES512, ESP512; EdDSA, Ed25519.
        let numbers = Algorithm::ALL.map(|algorithm| (algorithm.len(), algorithm.cose()));
        for of_length in [(65, [-7, -9]), (97, [-35, -51]), (133, [-36, -52]), (32, [-8, -19])] {
            assert!(numbers.contains(&of_length), "{of_length:?}");
        }
    }

    #[test]
    fn key_is_shown_as_its_fingerprint() {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let key = DocumentKey::from_der(pair.public_key().as_der().unwrap().as_ref()).unwrap();
        assert_eq!(format!("{key:?}"), key.fingerprint().to_string());
    }

    #[test]
    fn numbers_of_a_signature_are_as_long_as_the_curve_s() {
        // r = 1, s = 255: DER drops leading zeros, and puts one before a high bit.
        let der = [0x30, 7, 2, 1, 1, 2, 2, 0, 255];
        assert_eq!(fixed(&der, 3).unwrap(), [0, 0, 1, 0, 0, 255]);
        assert_eq!(fixed(&der, 1).unwrap(), [1, 255]);
        let longer = [0x30, 7, 2, 2, 1, 0, 2, 1, 1];
        let three = [0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1];
        assert_eq!([fixed(&longer, 1), fixed(&three, 1), fixed(b"", 1)], [None, None, None]);
    }
}

//! Signed documents: Dead Simple Signing Envelope, protocol version 1.0.2, with a threshold of signers.

use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use core::fmt;
use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use serde::{Deserialize, Deserializer};
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
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

/// Who must sign a document: at least [`Self::threshold`] of these distinct keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    keys: Vec<DocumentKey>,
    threshold: usize,
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

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.key).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fingerprint(), f)
    }
}

impl Signers {
    /// At least `threshold` of `keys`.
    ///
    /// # Errors
    /// `policy-invalid`: no key, one key twice, or a threshold that is zero or more than there are keys; `too-large`: more than
    /// [`limits::DOCUMENT_SIGNERS`].
    pub fn new(mut keys: Vec<DocumentKey>, threshold: usize) -> Result<Self> {
        let given = keys.len();
        if given > limits::DOCUMENT_SIGNERS {
            return Err(Refusal::too_large("keys of signers", given, limits::DOCUMENT_SIGNERS));
        }
        keys.sort_unstable();
        keys.dedup();
        if keys.len() != given {
            return Err(Refusal::new(Code::PolicyInvalid, "keys of signers")
                .got("one key twice")
                .want("distinct keys"));
        }
        if threshold == 0 || threshold > given {
            return Err(Refusal::new(Code::PolicyInvalid, "threshold of signers")
                .got(threshold)
                .want(format!("1 to {given}")));
        }
        Ok(Self { keys, threshold })
    }

    /// How many of the keys must have signed.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// `SHA-256("strongroom/signers/v1\0" ‖ threshold, 8 bytes big-endian ‖ fingerprint of each key, ordered)`: by what it is
    /// remembered which versions of a document were seen from them, so that somebody else's of the same name are not compared.
    pub(crate) fn digest(&self) -> Sha256 {
        let mut bytes = b"strongroom/signers/v1\0".to_vec();
        bytes.extend_from_slice(&u64::try_from(self.threshold).unwrap_or(u64::MAX).to_be_bytes());
        let keys: std::collections::BTreeSet<Sha256> = self.keys.iter().map(DocumentKey::fingerprint).collect();
        keys.iter().for_each(|key| bytes.extend_from_slice(&key.0));
        Sha256::of(&bytes)
    }

    /// Verifies that enough of the keys signed `envelope` as a document of `payload_type`, and gives the document.
    ///
    /// Signatures by other keys, or of kinds that are not known, count nothing and harm nothing.
    ///
    /// # Errors
    /// `signature-invalid`: another payload type, or fewer keys than the threshold.
    pub fn verify(&self, envelope: &Envelope, payload_type: &str) -> Result<Vec<u8>> {
        if envelope.payload_type != payload_type {
            return Err(Refusal::new(Code::SignatureInvalid, "payload type")
                .got(&envelope.payload_type)
                .want(payload_type));
        }
        let message = envelope.signed_bytes();
        let signed = |key: &&DocumentKey| envelope.signatures.iter().any(|signature| key.verifies(&message, signature));
        let held = self.keys.iter().filter(signed).count();
        if held < self.threshold {
            let (given, keys) = (envelope.signatures.len(), self.keys.len());
            return Err(Refusal::new(Code::SignatureInvalid, "signers of a document")
                .got(format!("{held}, of {given} signatures"))
                .want(format!("{} of {keys} keys", self.threshold)));
        }
        Ok(envelope.payload.clone())
    }
}

/// Keys and threshold as policies write them.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SignersDocument {
    keys: Vec<String>,
    #[serde(default = "one")]
    threshold: usize,
}

const fn one() -> usize {
    1
}

/// `{ keys = ["<PEM>"], threshold = 1 }`; the threshold is 1 where it is not given.
impl<'de> Deserialize<'de> for Signers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        let SignersDocument { keys, threshold } = SignersDocument::deserialize(deserializer)?;
        let keys = keys.iter().map(|pem| DocumentKey::from_pem(pem.as_bytes())).collect::<Result<_>>();
        keys.and_then(|keys| Self::new(keys, threshold)).map_err(serde::de::Error::custom)
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::KeyInvalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _};

    const KIND: &str = "application/x-test";

    /// A key and how it signs.
    type Signer = (DocumentKey, Box<dyn Fn(&[u8]) -> Vec<u8>>);

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Signer {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let key = DocumentKey::from_der(pair.public_key().as_der().unwrap().as_ref()).unwrap();
        (key, Box::new(move |message| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()))
    }

    fn p256() -> Signer {
        ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    fn ed25519() -> Signer {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = DocumentKey::from_der(pair.public_key().as_der().unwrap().as_ref()).unwrap();
        (key, Box::new(move |message| pair.sign(message).as_ref().to_vec()))
    }

    fn signed(by: &[&Signer]) -> Envelope {
        let mut envelope =
            Envelope { payload_type: KIND.to_owned(), payload: b"document".to_vec(), signatures: Vec::new() };
        envelope.signatures = by.iter().map(|(_, sign)| sign(&envelope.signed_bytes())).collect();
        envelope
    }

    fn verdict(keys: &[&Signer], threshold: usize, envelope: &Envelope) -> core::result::Result<Vec<u8>, Code> {
        let keys = keys.iter().map(|(key, _)| key.clone()).collect();
        Signers::new(keys, threshold).unwrap().verify(envelope, KIND).map_err(|refusal| refusal.code)
    }

    #[test]
    fn signature_of_each_kind_of_key_accepted_and_of_another_key_refused() {
        let p384 = ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING);
        let p521 = ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING);
        let stranger = p256();
        for signer in [p256(), p384, p521, ed25519()] {
            assert_eq!(verdict(&[&signer], 1, &signed(&[&signer])).unwrap(), b"document");
            assert_eq!(verdict(&[&signer], 1, &signed(&[&stranger])), Err(Code::SignatureInvalid));
        }
    }

    #[test]
    fn threshold_of_distinct_keys_accepted_and_one_key_twice_refused() {
        let (one, two, three) = (p256(), ed25519(), p256());
        let keys = [&one, &two, &three];
        assert!(verdict(&keys, 2, &signed(&[&three, &one])).is_ok());
        assert_eq!(verdict(&keys, 2, &signed(&[&one, &one])), Err(Code::SignatureInvalid));
        assert_eq!(verdict(&keys, 2, &signed(&[&one])), Err(Code::SignatureInvalid));
    }

    #[test]
    fn signature_of_a_stranger_beside_enough_others_harms_nothing() {
        let (one, stranger) = (p256(), p256());
        assert!(verdict(&[&one], 1, &signed(&[&stranger, &one])).is_ok());
    }

    #[test]
    fn unsigned_changed_and_mistyped_documents_refused() {
        let one = p256();
        let good = signed(&[&one]);
        let unsigned = Envelope { signatures: Vec::new(), ..good.clone() };
        let changed = Envelope { payload: b"Document".to_vec(), ..good.clone() };
        let mistyped = Envelope { payload_type: "application/x-other".to_owned(), ..good.clone() };
        let mut of_another_type = mistyped.clone();
        of_another_type.signatures = vec![(one.1)(&of_another_type.signed_bytes())];
        assert!(verdict(&[&one], 1, &good).is_ok());
        for bad in [unsigned, changed, mistyped, of_another_type] {
            assert_eq!(verdict(&[&one], 1, &bad), Err(Code::SignatureInvalid));
        }
    }

    #[test]
    fn signers_that_nobody_or_one_key_twice_could_satisfy_refused() {
        let (one, two) = (p256().0, p256().0);
        let code = |keys: &[&DocumentKey], threshold| {
            Signers::new(keys.iter().copied().cloned().collect(), threshold).err().map(|refusal| refusal.code)
        };
        assert_eq!(code(&[&one, &two], 2), None);
        for (keys, threshold) in [(&[][..], 0), (&[], 1), (&[&one], 0), (&[&one], 2), (&[&one, &one], 1)] {
            assert_eq!(code(keys, threshold), Some(Code::PolicyInvalid));
        }
        let many: Vec<DocumentKey> = (0..=limits::DOCUMENT_SIGNERS).map(|_| p256().0).collect();
        let many: Vec<&DocumentKey> = many.iter().collect();
        assert_eq!(code(&many[1..], 1), None);
        assert_eq!(code(&many, 1), Some(Code::TooLarge));
    }

    #[test]
    fn keys_of_other_kinds_and_encodings_refused() {
        let good = p256().0.spki;
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
        let long = vec![b'a'; limits::KEY_FILE + 1];
        assert_eq!(DocumentKey::from_pem(&long).unwrap_err().code, Code::TooLarge);
    }
}

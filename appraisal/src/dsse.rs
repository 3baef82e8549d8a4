//! Signed documents: Dead Simple Signing Envelope, protocol version 1.0.2, with a threshold of signers.

use crate::DocumentKey;
use serde::{Deserialize, Deserializer};
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Who must sign a document: at least so many of these distinct keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    keys: Vec<DocumentKey>,
    threshold: usize,
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

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _};

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
}

//! Signing keys and the public keys that verify them: ECDSA on the curves of FIPS 186-5, each with the SHA-2 of its size.

mod curve;
mod encrypted;
mod public;
mod token;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};
use core::fmt;
use curve::Curve;
use der::pem::LineEnding;
pub use public::PublicKey;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// A private key for signatures. Neither cloned, shown nor compared; the backend clears it when dropped.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

/// Whatever signs with a private key: one in memory ([`SigningKey`]), or one in a token that never gives it away.
pub trait Sign {
    /// The other half of the key.
    fn public(&self) -> PublicKey;

    /// Signs `message` with the hash of the key's curve; gives the ASN.1 DER form (RFC 3279 §2.2.3).
    ///
    /// # Errors
    /// What kept the key from signing.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}

impl Sign for SigningKey {
    fn public(&self) -> PublicKey {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.sign(message)
    }
}

/// A private key as PEM text, zeroised when dropped.
pub struct SecretPem(Zeroizing<String>);

impl SecretPem {
    /// The text, for the file it is written to.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretPem")
    }
}

impl SigningKey {
    /// Draws a fresh P-256 key.
    pub fn generate() -> Result<Self> {
        Self::of_pair(
            EcdsaKeyPair::generate(Curve::P256.signing())
                .map_err(|_| Refusal::new(Code::Internal, "generation of a signing key"))?,
        )
    }

    /// Reads a PEM file: PKCS#8 (RFC 5958), SEC1 (RFC 5915), or the encrypted form of cosign, whose `password` is empty
    /// where none is given.
    ///
    /// Refuses everything else, and a wrong password, with `key-invalid`, which never repeats what it read.
    pub fn from_pem(bytes: &[u8], password: Option<&[u8]>) -> Result<Self> {
        if bytes.len() > limits::KEY_FILE {
            return Err(Refusal::too_large("key file", format!("{} bytes", bytes.len()), limits::KEY_FILE));
        }
        let (label, content) = der::pem::decode_vec(after_parameters(bytes)).map_err(|e| invalid("PEM").because(e))?;
        let content = Zeroizing::new(content);
        match label {
            "PRIVATE KEY" | "EC PRIVATE KEY" => Self::from_der(&content),
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                Self::from_der(&encrypted::decrypt(&content, password.unwrap_or_default())?)
            }
            other => {
                Err(invalid("kind of PEM").got(other).want("PRIVATE KEY, EC PRIVATE KEY or cosign's encrypted form"))
            }
        }
    }

    fn from_der(der: &[u8]) -> Result<Self> {
        let pair = Curve::ALL.iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve.signing(), der).ok());
        Self::of_pair(pair.ok_or_else(|| invalid("private key").want("ECDSA on P-256, P-384 or P-521"))?)
    }

    fn of_pair(pair: EcdsaKeyPair) -> Result<Self> {
        let spki = pair.public_key().as_der().map_err(|_| Refusal::new(Code::Internal, "public key of a pair"))?;
        let public = PublicKey::from_der(spki.as_ref())?;
        Ok(Self { pair, public })
    }

    /// The key as PKCS#8 PEM, unencrypted.
    pub fn to_pkcs8_pem(&self) -> Result<SecretPem> {
        let der = self.pair.to_pkcs8v1().map_err(|_| Refusal::new(Code::Internal, "PKCS#8 of a signing key"))?;
        let pem = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, der.as_ref())
            .map_err(|e| Refusal::new(Code::Internal, "PEM of a signing key").because(e))?;
        Ok(SecretPem(Zeroizing::new(pem)))
    }

    /// The other half.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `message` with the hash of the key's curve; gives the ASN.1 DER form (RFC 3279 §2.2.3).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| Refusal::new(Code::Internal, "signing"))?.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// OpenSSL writes the curve's name as a PEM block of its own before a SEC1 key, which repeats it.
fn after_parameters(pem: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END EC PARAMETERS-----";
    let at = pem.windows(END.len()).position(|window| window == END);
    at.and_then(|at| pem.get(at + END.len()..)).map_or(pem, <[u8]>::trim_ascii_start)
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::KeyInvalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Test keys, made with OpenSSL 3 for this file and used nowhere else.
    const P256_SEC1: &[u8] = include_bytes!("../tests/keys/p256.sec1.pem");
    const P256_PKCS8: &[u8] = include_bytes!("../tests/keys/p256.pkcs8.pem");
    const P256_PUBLIC: &[u8] = include_bytes!("../tests/keys/p256.pub.pem");
    const P384_SEC1: &[u8] = include_bytes!("../tests/keys/p384.sec1.pem");
    const RSA_PKCS8: &[u8] = include_bytes!("../tests/keys/rsa.pkcs8.pem");

    #[test]
    fn every_form_of_one_key_gives_one_public_key() {
        let want = PublicKey::from_pem(P256_PUBLIC).unwrap();
        for form in [P256_SEC1, P256_PKCS8] {
            assert_eq!(SigningKey::from_pem(form, None).unwrap().public(), want);
        }
        assert_eq!(want.pem().as_bytes(), P256_PUBLIC);
    }

    #[test]
    fn written_key_reads_back() {
        let key = SigningKey::generate().unwrap();
        let pem = key.to_pkcs8_pem().unwrap();
        assert_eq!(SigningKey::from_pem(pem.expose().as_bytes(), None).unwrap().public(), key.public());
        assert_eq!(format!("{pem:?}"), "SecretPem");
    }

    #[test]
    fn signature_verifies_under_its_key_and_message_only() {
        for key in [SigningKey::generate().unwrap(), SigningKey::from_pem(P384_SEC1, None).unwrap()] {
            let mut signature = key.sign(b"message").unwrap();
            assert!(key.public().verify(b"message", &signature).is_ok());
            assert_eq!(key.public().verify(b"massage", &signature).unwrap_err().code, Code::SignatureInvalid);
            let stranger = SigningKey::generate().unwrap().public();
            assert_eq!(stranger.verify(b"message", &signature).unwrap_err().code, Code::SignatureInvalid);
            *signature.last_mut().unwrap() ^= 1;
            assert_eq!(key.public().verify(b"message", &signature).unwrap_err().code, Code::SignatureInvalid);
        }
    }

    #[test]
    fn keys_of_other_kinds_and_files_that_are_none_refused() {
        for bad in [RSA_PKCS8, P256_PUBLIC, b"", b"no key"] {
            assert_eq!(SigningKey::from_pem(bad, None).unwrap_err().code, Code::KeyInvalid);
        }
        let long = vec![b'a'; limits::KEY_FILE + 1];
        assert_eq!(SigningKey::from_pem(&long, None).unwrap_err().code, Code::TooLarge);
    }
}

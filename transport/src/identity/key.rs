//! A server's private key: it stays in the crypto backend and leaves it only to be kept in a file.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use core::fmt;
use der::pem::{LineEnding, encode_string};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::{Zeroize as _, Zeroizing};

/// A PKCS#8 private key in PEM. Zeroised on drop; `Debug` shows the type's name.
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    /// The text, to be written to a file that only its owner can read.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem")
    }
}

/// An ECDSA P-256 key pair. Its memory is the backend's, which clears it when it is freed.
pub(super) struct P256Key(EcdsaKeyPair);

impl P256Key {
    pub(super) fn generate() -> Result<Self> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self)
            .map_err(|e| Refusal::new(Code::Internal, "making a P-256 key").because(e))
    }

    pub(super) fn load_pem(pem: &[u8]) -> Result<Self> {
        if pem.len() > limits::KEY_FILE {
            return Err(Refusal::too_large("tls key", pem.len(), limits::KEY_FILE));
        }
        let invalid = || Refusal::new(Code::KeyInvalid, "tls key").want("a P-256 private key, PKCS#8 or SEC1, in PEM");
        let mut der = PrivateKeyDer::from_pem_slice(pem).map_err(|e| invalid().because(e))?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_der());
        der.zeroize();
        pair.map(Self).map_err(|e| invalid().because(e))
    }

    pub(super) fn to_pem(&self) -> Result<PrivateKeyPem> {
        let failed = || Refusal::new(Code::Internal, "encoding a P-256 key");
        // The backend's document clears itself on drop.
        let der = self.0.to_pkcs8v1().map_err(|e| failed().because(e))?;
        let pem = encode_string("PRIVATE KEY", LineEnding::LF, der.as_ref()).map_err(|e| failed().because(e))?;
        Ok(PrivateKeyPem(Zeroizing::new(pem)))
    }

    pub(super) fn to_rustls(&self) -> Result<Arc<dyn SigningKey>> {
        let failed = || Refusal::new(Code::Internal, "handing a P-256 key to tls");
        let der = self.0.to_pkcs8v1().map_err(|e| failed().because(e))?;
        any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_ref()))).map_err(|e| failed().because(e))
    }
}

impl rcgen::PublicKeyData for P256Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for P256Key {
    fn sign(&self, message: &[u8]) -> core::result::Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

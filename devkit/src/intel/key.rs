//! A P-256 key that signs in both forms: DER inside certificates, R and S alone inside quotes and collateral.

use crate::amd::crypto;
use crate::x509::{Signer, oid};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use strongroom_wire::Result;
use x509_cert::spki::AlgorithmIdentifierOwned;

pub(crate) struct Key {
    der: EcdsaKeyPair,
    fixed: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn generate() -> Result<Self> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).map_err(crypto)?;
        let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).map_err(crypto)?;
        let fixed = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).map_err(crypto)?;
        Ok(Self { der, fixed })
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> Result<Vec<u8>> {
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(self.der.public_key()).map_err(crypto)?;
        Ok(der.as_ref().to_vec())
    }

    /// X and Y.
    pub(crate) fn point(&self) -> &[u8] {
        self.der.public_key().as_ref().get(1..).unwrap_or_default()
    }

    /// R and S, 32 bytes each.
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.fixed.sign(&SystemRandom::new(), message).map_err(crypto)?.as_ref().to_vec())
    }
}

impl Signer for Key {
    fn algorithm(&self) -> Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: oid("1.2.840.10045.4.3.2")?, parameters: None })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.der.sign(&SystemRandom::new(), message).map_err(crypto)?.as_ref().to_vec())
    }

    fn organisation(&self) -> &'static [(&'static str, &'static str)] {
        &[("2.5.4.10", "Intel Corporation"), ("2.5.4.7", "Santa Clara"), ("2.5.4.8", "CA"), ("2.5.4.6", "US")]
    }
}

//! A certificate signing request (PKCS #10, RFC 2986) for an identity, with proof that who asks holds the key.

use crate::certificate::only_spiffe_id;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use der::asn1::ObjectIdentifier;
use der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use der::oid::db::rfc5912::{ECDSA_WITH_SHA_256, ID_EC_PUBLIC_KEY, ID_EXTENSION_REQ, SECP_256_R_1};
use der::{Decode as _, Encode as _};
use strongroom_wire::spiffe::SpiffeId;
use strongroom_wire::{Code, Refusal, Result, limits};
use x509_cert::ext::Extensions;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// What a workload asks for. It holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    id: SpiffeId,
    spki: Vec<u8>,
    point: Vec<u8>,
}

impl Request {
    /// Parses a request in DER of at most [`limits::CERTIFICATE_REQUEST`] bytes and verifies its own signature. Subject and other
    /// extensions than the subject alternative name are passed over.
    ///
    /// # Errors
    /// `malformed`, `too-large`; `key-invalid`: no P-256 key; `request-invalid`: who signed does not hold the key;
    /// `identity-invalid`: not exactly one name, or none that is a SPIFFE id.
    pub fn parse(der: &[u8]) -> Result<Self> {
        if der.len() > limits::CERTIFICATE_REQUEST {
            return Err(Refusal::too_large("certificate request", der.len(), limits::CERTIFICATE_REQUEST));
        }
        let malformed = |e: der::Error| Refusal::malformed("certificate request", e);
        let request = CertReq::from_der(der).map_err(malformed)?;
        let signed = request.info.to_der().map_err(malformed)?;
        // What was signed is what was sent: there is one encoding.
        if request.to_der().map_err(malformed)? != der {
            return Err(Refusal::malformed("certificate request", "not DER"));
        }
        let (spki, point) = p256(&request.info.public_key)?;
        let signature = request.signature.as_bytes().unwrap_or_default();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point);
        if request.algorithm.oid != ECDSA_WITH_SHA_256 || key.verify(&signed, signature).is_err() {
            return Err(Refusal::new(Code::RequestInvalid, "signature of a certificate request")
                .got("not by the key that it is for")
                .want("ECDSA P-256 with SHA-256 by that key"));
        }
        let mut names = Vec::new();
        for attribute in request.info.attributes.iter().filter(|attribute| attribute.oid == ID_EXTENSION_REQ) {
            for value in attribute.values.iter() {
                let extensions: Extensions = value.decode_as().map_err(malformed)?;
                names.extend(extensions.into_iter().filter(|one| one.extn_id == ID_CE_SUBJECT_ALT_NAME));
            }
        }
        let names: Vec<&[u8]> = names.iter().map(|extension| extension.extn_value.as_bytes()).collect();
        Ok(Self { id: only_spiffe_id(&names)?, spki, point })
    }

    /// The identity.
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The key, as DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

impl rcgen::PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// The key in DER, and its uncompressed point.
fn p256(key: &SubjectPublicKeyInfoOwned) -> Result<(Vec<u8>, Vec<u8>)> {
    let invalid = || Refusal::new(Code::KeyInvalid, "key of a certificate request").want("an uncompressed P-256 key");
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let point = key.subject_public_key.as_bytes().filter(|point| point.len() == 65);
    match (key.algorithm.oid == ID_EC_PUBLIC_KEY, curve, point) {
        (true, Some(SECP_256_R_1), Some(point)) => {
            let der = key.to_der().map_err(|e| invalid().because(e))?;
            Ok((der, point.to_vec()))
        }
        _ => Err(invalid()),
    }
}

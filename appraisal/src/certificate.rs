//! Certificates of AMD's hierarchy (VCEK specification, publication 57230): X.509 v3, RSA-4096 with RSASSA-PSS for the
//! authorities, ECDSA P-384 for the endorsement keys.

use crate::UnixTime;
use aws_lc_rs::signature::{self, UnparsedPublicKey};
use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::AlgorithmIdentifierOwned;

mod vek;
pub(crate) use vek::{VekExtensions, product_of_cpuid};

/// id-RSASSA-PSS, RFC 4055 §3.1.
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A parsed certificate. Nothing about it is verified.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    signed: Signed,
    tbs: TbsCertificate,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: Vec<u8>,
    /// Common name of the subject.
    pub(crate) subject: String,
    /// Common name of the issuer.
    pub(crate) issuer: String,
}

/// The signed bytes of a certificate or a revocation list, as received, and their signature.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    bytes: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    /// Splits `SEQUENCE { to-be-signed, AlgorithmIdentifier, BIT STRING }` without re-encoding what was signed. The
    /// algorithm must be RSASSA-PSS; its parameters are fixed by how the signature is verified.
    pub(crate) fn split(der: &[u8], what: &str) -> Result<Self> {
        let malformed = |e: der::Error| Refusal::malformed(what, e);
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let outer = der::Header::decode(&mut reader).map_err(malformed)?;
        if outer.tag != Tag::Sequence {
            return Err(Refusal::malformed(what, "not a SEQUENCE"));
        }
        let bytes = reader.tlv_bytes().map_err(malformed)?.to_vec();
        let algorithm = AlgorithmIdentifierOwned::decode(&mut reader).map_err(malformed)?;
        let bits = der::asn1::BitString::decode(&mut reader).map_err(malformed)?;
        reader.finish(()).map_err(malformed)?;
        if algorithm.oid != RSASSA_PSS {
            let got = algorithm.oid;
            return Err(Refusal::new(Code::CertificateUnsuitable, format!("{what}: signature algorithm"))
                .got(got)
                .want("RSASSA-PSS"));
        }
        let signature = bits.as_bytes().ok_or_else(|| Refusal::malformed(what, "signature is not whole bytes"))?;
        Ok(Self { bytes, signature: signature.to_vec() })
    }

    /// RSASSA-PSS with SHA-384, MGF1-SHA-384 and a 48-byte salt (RFC 8017 §8.1.2) under `issuer`'s key.
    pub(crate) fn verify(&self, issuer_spki: &[u8]) -> core::result::Result<(), ()> {
        UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA384, issuer_spki)
            .verify(&self.bytes, &self.signature)
            .map_err(|_| ())
    }
}

impl Certificate {
    /// Parses one DER certificate.
    pub(crate) fn parse(der: &[u8]) -> Result<Self> {
        let malformed = |e: der::Error| Refusal::malformed("certificate", e);
        let signed = Signed::split(der, "certificate")?;
        let tbs = TbsCertificate::from_der(&signed.bytes).map_err(malformed)?;
        let spki = tbs.subject_public_key_info.to_der().map_err(malformed)?;
        let subject = common_name(&tbs.subject)?;
        let issuer = common_name(&tbs.issuer)?;
        Ok(Self { signed, spki, subject, issuer, tbs })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) fn key_id(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    /// The serial number, big-endian.
    pub(crate) fn serial(&self) -> &[u8] {
        self.tbs.serial_number.as_bytes()
    }

    /// Whether `issuer`'s key signed this certificate.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        self.signed.verify(&issuer.spki).is_ok()
    }

    /// Refuses a certificate outside its validity at `now`.
    pub(crate) fn verify_validity(&self, now: UnixTime) -> Result<()> {
        let not_before = self.tbs.validity.not_before.to_unix_duration().as_secs();
        let not_after = self.tbs.validity.not_after.to_unix_duration().as_secs();
        if now < not_before {
            return Err(Refusal::new(Code::CertificateNotYetValid, &self.subject).got(now).want(not_before));
        }
        if now > not_after {
            return Err(Refusal::new(Code::CertificateExpired, &self.subject).got(now).want(not_after));
        }
        Ok(())
    }

    /// Refuses an authority without CA:TRUE or the right to sign certificates (RFC 5280 §4.2.1.3, §4.2.1.9).
    pub(crate) fn verify_authority(&self) -> Result<()> {
        let unsuitable = |what: &str| Err(Refusal::new(Code::CertificateUnsuitable, &self.subject).got(what));
        match self.tbs.get::<BasicConstraints>() {
            Ok(Some((_, constraints))) if constraints.ca => {}
            _ => return unsuitable("not a certificate authority"),
        }
        match self.tbs.get::<KeyUsage>() {
            Ok(Some((_, usage))) if usage.key_cert_sign() => Ok(()),
            _ => unsuitable("may not sign certificates"),
        }
    }

    /// The value of an extension, or `None`. An extension that stands twice is refused (RFC 5280 §4.2).
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>> {
        let mut found = self.tbs.extensions.iter().flatten().filter(|extension| extension.extn_id == oid);
        let first = found.next().map(|extension| extension.extn_value.as_bytes());
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::malformed("certificate", format!("extension {oid} stands twice"))),
        }
    }

    /// The uncompressed point of a P-384 key.
    pub(crate) fn p384_point(&self) -> Result<&[u8]> {
        let info = &self.tbs.subject_public_key_info;
        let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let p384 = ObjectIdentifier::new_unwrap("1.3.132.0.34");
        match (curve, info.subject_public_key.as_bytes()) {
            (Some(curve), Some(point)) if curve == p384 => Ok(point),
            _ => Err(Refusal::new(Code::CertificateUnsuitable, &self.subject).got("another key").want("ECDSA P-384")),
        }
    }
}

/// The common name; AMD writes exactly one.
pub(crate) fn common_name(name: &x509_cert::name::Name) -> Result<String> {
    let mut names = name.0.iter().flat_map(|rdn| rdn.0.iter()).filter(|attribute| attribute.oid == COMMON_NAME);
    match (names.next(), names.next()) {
        (Some(attribute), None) => text(&attribute.value),
        _ => Err(Refusal::malformed("certificate", "not exactly one common name")),
    }
}

fn text(any: &Any) -> Result<String> {
    match any.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(any.value().to_vec()).map_err(|e| Refusal::malformed("certificate: common name", e))
        }
        tag => Err(Refusal::malformed("certificate: common name", format!("{tag}"))),
    }
}

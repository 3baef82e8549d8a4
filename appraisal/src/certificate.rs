//! Certificates of the vendors' hierarchies, X.509 v3. AMD's (VCEK specification, publication 57230): RSA-4096 with
//! RSASSA-PSS for the authorities, ECDSA P-384 for the endorsement keys. Intel's (PCK certificate and CRL profile
//! specification): ECDSA P-256 throughout.

use crate::UnixTime;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// id-RSASSA-PSS, RFC 4055 §3.1.
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// ecdsa-with-SHA256, RFC 5758 §3.2.
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
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
    algorithm: Algorithm,
    /// How the algorithm is named beside the signature, where nothing covers it.
    identifier: AlgorithmIdentifierOwned,
    signature: Vec<u8>,
}

/// How an authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    /// RSASSA-PSS with SHA-384, MGF1-SHA-384 and a 48-byte salt (RFC 8017 §8.1.2): AMD.
    RsaPss,
    /// ECDSA P-256 with SHA-256: Intel.
    EcdsaP256,
}

impl Signed {
    /// Splits `SEQUENCE { to-be-signed, AlgorithmIdentifier, BIT STRING }` without re-encoding what was signed. The
    /// algorithm must be one of the vendors'; its parameters are fixed by how the signature is verified.
    pub(crate) fn split(der: &[u8], what: &str) -> Result<Self> {
        let malformed = |e: der::Error| Refusal::malformed(what, e);
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let outer = der::Header::decode(&mut reader).map_err(malformed)?;
        if outer.tag != Tag::Sequence {
            return Err(Refusal::malformed(what, "not a SEQUENCE"));
        }
        let bytes = reader.tlv_bytes().map_err(malformed)?.to_vec();
        let identifier = AlgorithmIdentifierOwned::decode(&mut reader).map_err(malformed)?;
        let bits = der::asn1::BitString::decode(&mut reader).map_err(malformed)?;
        reader.finish(()).map_err(malformed)?;
        let algorithm = match identifier.oid {
            RSASSA_PSS => Algorithm::RsaPss,
            ECDSA_SHA256 => Algorithm::EcdsaP256,
            got => {
                return Err(Refusal::new(Code::CertificateUnsuitable, format!("{what}: signature algorithm"))
                    .got(got)
                    .want("RSASSA-PSS or ECDSA with SHA-256"));
            }
        };
        let signature = bits.as_bytes().ok_or_else(|| Refusal::malformed(what, "signature is not whole bytes"))?;
        Ok(Self { bytes, algorithm, identifier, signature: signature.to_vec() })
    }

    /// Refuses another identifier than `inside`, the one among the signed bytes (RFC 5280 §4.1.1.2, §5.1.1.2): so every
    /// bit of a certificate or a list is covered.
    pub(crate) fn verify_identifier(&self, inside: &AlgorithmIdentifierOwned, what: &str) -> Result<()> {
        if self.identifier == *inside {
            return Ok(());
        }
        Err(Refusal::malformed(what, "its signature algorithm is not the one that is signed").got(self.identifier.oid))
    }

    /// Verifies under the issuer's key, which must be one of the algorithm's kind.
    pub(crate) fn verify(&self, issuer_spki: &[u8]) -> core::result::Result<(), ()> {
        let algorithm: &dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::RsaPss => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
        };
        UnparsedPublicKey::new(algorithm, issuer_spki).verify(&self.bytes, &self.signature).map_err(|_| ())
    }
}

impl Certificate {
    /// Parses one DER certificate.
    pub(crate) fn parse(der: &[u8]) -> Result<Self> {
        let malformed = |e: der::Error| Refusal::malformed("certificate", e);
        let signed = Signed::split(der, "certificate")?;
        let tbs = TbsCertificate::from_der(&signed.bytes).map_err(malformed)?;
        signed.verify_identifier(&tbs.signature, "certificate")?;
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

    /// Whether both are the same bytes.
    pub(crate) fn is_the_same_as(&self, other: &Self) -> bool {
        self.signed.bytes == other.signed.bytes && self.signed.signature == other.signed.signature
    }

    /// Whether `issuer`'s key signed this certificate.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        self.signed.verify(&issuer.spki).is_ok()
    }

    /// Refuses a certificate outside its validity at `now`.
    pub(crate) fn verify_validity(&self, now: UnixTime) -> Result<()> {
        let (not_before, not_after) = self.validity();
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

    /// Refuses a certificate that is, or may be taken for, an authority's.
    pub(crate) fn verify_leaf(&self) -> Result<()> {
        let unsuitable = |what: &str| Err(Refusal::new(Code::CertificateUnsuitable, &self.subject).got(what));
        match self.tbs.get::<BasicConstraints>() {
            Ok(Some((_, constraints))) if !constraints.ca => {}
            _ => return unsuitable("not an end entity"),
        }
        match self.tbs.get::<KeyUsage>() {
            Ok(Some((_, usage))) if usage.digital_signature() && !usage.key_cert_sign() => Ok(()),
            _ => unsuitable("a key for another use than signatures"),
        }
    }

    /// First and last second of validity.
    pub(crate) fn validity(&self) -> (UnixTime, UnixTime) {
        let validity = &self.tbs.validity;
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
    }

    /// The uncompressed point of a P-384 key.
    pub(crate) fn p384_point(&self) -> Result<&[u8]> {
        self.point(P384, "ECDSA P-384")
    }

    /// The uncompressed point of a P-256 key.
    pub(crate) fn p256_point(&self) -> Result<&[u8]> {
        self.point(P256, "ECDSA P-256")
    }

    fn point(&self, wanted: ObjectIdentifier, name: &str) -> Result<&[u8]> {
        let info = &self.tbs.subject_public_key_info;
        let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        match (curve, info.subject_public_key.as_bytes()) {
            (Some(curve), Some(point)) if curve == wanted => Ok(point),
            _ => Err(Refusal::new(Code::CertificateUnsuitable, &self.subject).got("another key").want(name)),
        }
    }
}

/// The common name; both vendors write exactly one.
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

//! Certificates of the vendors' hierarchies, X.509 v3. AMD's (VCEK specification, publication 57230): RSA-4096 with
//! RSASSA-PSS for the authorities, ECDSA P-384 for the endorsement keys. Intel's (PCK certificate and CRL profile
//! specification): ECDSA P-256 throughout.

use crate::UnixTime;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use core::ops::Deref;
use der::asn1::{AnyRef, BitStringRef, IntRef, ObjectIdentifier, OctetStringRef};
use der::oid::AssociatedOid;
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use std::sync::{Arc, OnceLock};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use x509_cert::time::Validity;

/// id-RSASSA-PSS, RFC 4055 §3.1.
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// ecdsa-with-SHA256, RFC 5758 §3.2.
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Bytes of a serial number (RFC 5280 §4.1.2.2): 20, and one for issuers that count them before the sign byte.
const SERIAL: usize = 21;

/// A parsed certificate, cheap to clone. Nothing about it is verified.
#[derive(Debug, Clone)]
pub(crate) struct Certificate(Arc<Fields>);

/// What is read of a certificate; all of it has been parsed.
#[derive(Debug)]
pub(crate) struct Fields {
    signed: Signed,
    serial: Vec<u8>,
    validity: (UnixTime, UnixTime),
    /// Curve and uncompressed point of an elliptic-curve key.
    point: Option<(ObjectIdentifier, Vec<u8>)>,
    extensions: Vec<(ObjectIdentifier, Vec<u8>)>,
    /// The key, parsed when a signature is first verified under it.
    rsa_pss: OnceLock<Option<ParsedPublicKey>>,
    ecdsa_p256: OnceLock<Option<ParsedPublicKey>>,
    ecdsa_p256_fixed: OnceLock<Option<ParsedPublicKey>>,
    key_id: OnceLock<Sha256>,
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
    signature: Vec<u8>,
}

/// `TBSCertificate` (RFC 5280 §4.1), borrowed from its bytes.
#[derive(Sequence)]
struct Tbs<'a> {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: IntRef<'a>,
    signature: AlgorithmIdentifierRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    subject_public_key_info: SubjectPublicKeyInfoRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

/// `Extension` (RFC 5280 §4.1).
#[derive(Sequence)]
struct Extension<'a> {
    extn_id: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    extn_value: OctetStringRef<'a>,
}

/// `AttributeTypeAndValue` (RFC 5280 §4.1.2.4).
#[derive(Sequence)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
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
    pub(crate) fn split<'a>(der: &'a [u8], what: &str) -> Result<(Self, AlgorithmIdentifierRef<'a>)> {
        let malformed = |e: der::Error| Refusal::malformed(what, e);
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let outer = der::Header::decode(&mut reader).map_err(malformed)?;
        if outer.tag != Tag::Sequence || outer.length != reader.remaining_len() {
            return Err(Refusal::malformed(what, "not a SEQUENCE of all its bytes"));
        }
        let bytes = reader.tlv_bytes().map_err(malformed)?.to_vec();
        let identifier = AlgorithmIdentifierRef::decode(&mut reader).map_err(malformed)?;
        let bits = BitStringRef::decode(&mut reader).map_err(malformed)?;
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
        Ok((Self { bytes, algorithm, signature: signature.to_vec() }, identifier))
    }

    /// The bytes that are signed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Verifies under the issuer's key, which must be one of the algorithm's kind.
    pub(crate) fn verify(&self, issuer: &Certificate) -> core::result::Result<(), ()> {
        let key = issuer.key(self.algorithm).ok_or(())?;
        key.verify_sig(&self.bytes, &self.signature).map_err(|_| ())
    }
}

/// Refuses an identifier beside the signature other than `inside`, the one among the signed bytes (RFC 5280 §4.1.1.2,
/// §5.1.1.2): so every bit of a certificate or a list is covered.
pub(crate) fn verify_identifier(
    beside: &AlgorithmIdentifierRef<'_>,
    inside: &AlgorithmIdentifierRef<'_>,
    what: &str,
) -> Result<()> {
    if beside == inside {
        return Ok(());
    }
    Err(Refusal::malformed(what, "its signature algorithm is not the one that is signed").got(beside.oid))
}

impl Deref for Certificate {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl Certificate {
    /// Parses one DER certificate.
    pub(crate) fn parse(der: &[u8]) -> Result<Self> {
        let malformed = |e: der::Error| Refusal::malformed("certificate", e);
        let (signed, identifier) = Signed::split(der, "certificate")?;
        let tbs = Tbs::from_der(signed.bytes()).map_err(malformed)?;
        verify_identifier(&identifier, &tbs.signature, "certificate")?;
        let serial = tbs.serial_number.as_bytes();
        if serial.len() > SERIAL {
            return Err(Refusal::malformed("certificate", "serial number over 20 bytes"));
        }
        let info = &tbs.subject_public_key_info;
        let curve = info.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let extensions = tbs.extensions.iter().flatten();
        Ok(Self(Arc::new(Fields {
            serial: serial.to_vec(),
            validity: (
                tbs.validity.not_before.to_unix_duration().as_secs(),
                tbs.validity.not_after.to_unix_duration().as_secs(),
            ),
            point: curve.zip(info.subject_public_key.as_bytes().map(<[u8]>::to_vec)),
            extensions: extensions.map(|found| (found.extn_id, found.extn_value.as_bytes().to_vec())).collect(),
            rsa_pss: OnceLock::new(),
            ecdsa_p256: OnceLock::new(),
            ecdsa_p256_fixed: OnceLock::new(),
            key_id: OnceLock::new(),
            spki: info.to_der().map_err(malformed)?,
            subject: subject_of(tbs.subject)?.to_owned(),
            issuer: subject_of(tbs.issuer)?.to_owned(),
            signed,
        })))
    }

    /// The key for signatures of that kind; `None` where it is of another.
    fn key(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let (kept, algorithm): (_, &'static dyn VerificationAlgorithm) = match algorithm {
            Algorithm::RsaPss => (&self.rsa_pss, &signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::EcdsaP256 => (&self.ecdsa_p256, &signature::ECDSA_P256_SHA256_ASN1),
        };
        kept.get_or_init(|| ParsedPublicKey::new(algorithm, &self.spki).ok()).as_ref()
    }

    /// The P-256 key, for signatures that are R and S alone.
    ///
    /// # Errors
    /// `certificate-unsuitable`: a key of another kind.
    pub(crate) fn p256_key(&self) -> Result<&ParsedPublicKey> {
        let point = self.p256_point()?;
        let parse = || ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).ok();
        let unsuitable = || Refusal::new(Code::CertificateUnsuitable, &self.subject).got("not a point on P-256");
        self.ecdsa_p256_fixed.get_or_init(parse).as_ref().ok_or_else(unsuitable)
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) fn key_id(&self) -> Sha256 {
        *self.key_id.get_or_init(|| Sha256::of(&self.spki))
    }

    /// The serial number, big-endian.
    pub(crate) fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// Whether both are the same bytes.
    pub(crate) fn is_the_same_as(&self, other: &Self) -> bool {
        self.signed.bytes == other.signed.bytes && self.signed.signature == other.signed.signature
    }

    /// Whether `issuer`'s key signed this certificate.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        self.signed.verify(issuer).is_ok()
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
        match self.read::<BasicConstraints>() {
            Some(constraints) if constraints.ca => {}
            _ => return unsuitable("not a certificate authority"),
        }
        match self.read::<KeyUsage>() {
            Some(usage) if usage.key_cert_sign() => Ok(()),
            _ => unsuitable("may not sign certificates"),
        }
    }

    /// The value of an extension, or `None`. An extension that stands twice is refused (RFC 5280 §4.2).
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>> {
        let mut found = self.extensions.iter().filter(|(found, _)| *found == oid);
        let first = found.next().map(|(_, value)| value.as_slice());
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::malformed("certificate", format!("extension {oid} stands twice"))),
        }
    }

    /// An extension that stands once and can be read.
    fn read<'a, T: Decode<'a> + AssociatedOid>(&'a self) -> Option<T> {
        T::from_der(self.extension(T::OID).ok()??).ok()
    }

    /// Refuses a certificate that is, or may be taken for, an authority's.
    pub(crate) fn verify_leaf(&self) -> Result<()> {
        let unsuitable = |what: &str| Err(Refusal::new(Code::CertificateUnsuitable, &self.subject).got(what));
        match self.read::<BasicConstraints>() {
            Some(constraints) if !constraints.ca => {}
            _ => return unsuitable("not an end entity"),
        }
        match self.read::<KeyUsage>() {
            Some(usage) if usage.digital_signature() && !usage.key_cert_sign() => Ok(()),
            _ => unsuitable("a key for another use than signatures"),
        }
    }

    /// First and last second of validity.
    pub(crate) fn validity(&self) -> (UnixTime, UnixTime) {
        self.validity
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
        match &self.point {
            Some((curve, point)) if *curve == wanted => Ok(point),
            _ => Err(Refusal::new(Code::CertificateUnsuitable, &self.subject).got("another key").want(name)),
        }
    }
}

/// The common name of a `Name` (RFC 5280 §4.1.2.4); both vendors write exactly one.
fn subject_of(name: AnyRef<'_>) -> Result<&str> {
    let malformed = |e: der::Error| Refusal::malformed("certificate: name", e);
    let mut found = None;
    for set in items(name, Tag::Sequence).map_err(malformed)? {
        for attribute in items(set, Tag::Set).map_err(malformed)? {
            let attribute: Attribute<'_> = attribute.decode_as().map_err(malformed)?;
            if attribute.oid == COMMON_NAME && found.replace(attribute.value).is_some() {
                return Err(Refusal::malformed("certificate", "not exactly one common name"));
            }
        }
    }
    text(found.ok_or_else(|| Refusal::malformed("certificate", "not exactly one common name"))?)
}

/// The members of a SEQUENCE or SET.
fn items(any: AnyRef<'_>, tag: Tag) -> der::Result<Vec<AnyRef<'_>>> {
    any.tag().assert_eq(tag)?;
    let mut reader = SliceReader::new(any.value())?;
    let mut items = Vec::new();
    while !reader.is_finished() {
        items.push(AnyRef::decode(&mut reader)?);
    }
    Ok(items)
}

/// The common name of a name that was decoded whole.
pub(crate) fn common_name(name: &x509_cert::name::Name) -> Result<String> {
    let mut names = name.0.iter().flat_map(|rdn| rdn.0.iter()).filter(|attribute| attribute.oid == COMMON_NAME);
    match (names.next(), names.next()) {
        (Some(attribute), None) => text(AnyRef::from(&attribute.value)).map(str::to_owned),
        _ => Err(Refusal::malformed("certificate", "not exactly one common name")),
    }
}

fn text(any: AnyRef<'_>) -> Result<&str> {
    match any.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            core::str::from_utf8(any.value()).map_err(|e| Refusal::malformed("certificate: common name", e))
        }
        tag => Err(Refusal::malformed("certificate: common name", format!("{tag}"))),
    }
}

#[cfg(test)]
mod tests;

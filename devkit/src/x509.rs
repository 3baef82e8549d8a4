//! X.509 as the vendors write it, built from the `x509-cert` types and signed by hand: no certificate builder signs with
//! RSASSA-PSS and SHA-384, or writes Intel's extensions, through our crypto backend.

use der::asn1::{Any, BitString, GeneralizedTime, ObjectIdentifier, OctetString, PrintableString, SetOfVec};
use der::{DateTime, Decode, Encode, Sequence};
use std::ops::Range;
use std::time::Duration;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::crl::{RevokedCert, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, Version};

/// Who signs, as a vendor does.
pub(crate) trait Signer {
    /// The signature's AlgorithmIdentifier.
    fn algorithm(&self) -> Result<AlgorithmIdentifierOwned>;
    /// The signature over `message`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
    /// The attributes of the vendor's distinguished names beside the common name, in order, by object identifier.
    fn organisation(&self) -> &'static [(&'static str, &'static str)];
}

/// Who a certificate is for.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) serial: u32,
    pub(crate) spki: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
}

/// `SEQUENCE { to-be-signed, algorithm, signature }`.
#[derive(Sequence)]
struct SignedSequence {
    tbs: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

pub(crate) fn certificate(
    subject: &Subject<'_>,
    issuer: &str,
    validity: Range<u64>,
    key: &dyn Signer,
) -> Result<Vec<u8>> {
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: serial(subject.serial)?,
        signature: key.algorithm()?,
        issuer: name(issuer, key)?,
        validity: Validity { not_before: time(validity.start)?, not_after: time(validity.end)? },
        subject: name(subject.name, key)?,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&subject.spki).map_err(asn1)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(subject.extensions.clone()),
    };
    signed(&tbs.to_der().map_err(asn1)?, key)
}

/// A revocation list; `number` is its cRLNumber, `None` leaves the extension out.
pub(crate) fn crl(
    issuer: &str,
    serials: &[u32],
    window: Range<u64>,
    number: Option<u64>,
    key: &dyn Signer,
) -> Result<Vec<u8>> {
    let revoked = |number: &u32| {
        Ok(RevokedCert {
            serial_number: serial(*number)?,
            revocation_date: time(window.start)?,
            crl_entry_extensions: None,
        })
    };
    let revoked = serials.iter().map(revoked).collect::<Result<Vec<_>>>()?;
    let numbered = |number: u64| extension("2.5.29.20", false, number.to_der().map_err(asn1)?);
    let tbs = TbsCertList {
        version: Version::V2,
        signature: key.algorithm()?,
        issuer: name(issuer, key)?,
        this_update: time(window.start)?,
        next_update: Some(time(window.end)?),
        revoked_certificates: (!revoked.is_empty()).then_some(revoked),
        crl_extensions: number.map(numbered).transpose()?.map(|extension| vec![extension]),
    };
    signed(&tbs.to_der().map_err(asn1)?, key)
}

fn signed(tbs: &[u8], key: &dyn Signer) -> Result<Vec<u8>> {
    let whole = SignedSequence {
        tbs: Any::from_der(tbs).map_err(asn1)?,
        algorithm: key.algorithm()?,
        signature: BitString::from_bytes(&key.sign(tbs)?).map_err(asn1)?,
    };
    whole.to_der().map_err(asn1)
}

/// Basic constraints and key usage of an authority.
pub(crate) fn authority() -> Result<Vec<Extension>> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: None }.to_der().map_err(asn1)?;
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign).to_der().map_err(asn1)?;
    Ok(vec![extension("2.5.29.19", true, constraints)?, extension("2.5.29.15", true, usage)?])
}

/// Basic constraints and key usage of an end entity that signs.
pub(crate) fn end_entity() -> Result<Vec<Extension>> {
    let constraints = BasicConstraints { ca: false, path_len_constraint: None }.to_der().map_err(asn1)?;
    let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation).to_der().map_err(asn1)?;
    Ok(vec![extension("2.5.29.19", true, constraints)?, extension("2.5.29.15", true, usage)?])
}

pub(crate) fn extension(oid: &str, critical: bool, value: Vec<u8>) -> Result<Extension> {
    Ok(Extension { extn_id: self::oid(oid)?, critical, extn_value: OctetString::new(value).map_err(asn1)? })
}

/// The vendor's distinguished name with this common name.
fn name(common_name: &str, vendor: &dyn Signer) -> Result<Name> {
    let rdn = |(oid, text): (&str, &str)| {
        let value = PrintableString::new(text).and_then(|text| Any::encode_from(&text)).map_err(asn1)?;
        let attribute = AttributeTypeAndValue { oid: self::oid(oid)?, value };
        Ok(RelativeDistinguishedName(SetOfVec::try_from(vec![attribute]).map_err(asn1)?))
    };
    let parts = vendor.organisation().iter().copied().chain([("2.5.4.3", common_name)]);
    Ok(RdnSequence(parts.map(rdn).collect::<Result<Vec<_>>>()?))
}

fn serial(number: u32) -> Result<SerialNumber> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    SerialNumber::new(bytes.get(zeros..).unwrap_or_default()).map_err(asn1)
}

fn time(seconds: u64) -> Result<Time> {
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds)).map_err(asn1)?;
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(date)))
}

pub(crate) fn oid(text: &str) -> Result<ObjectIdentifier> {
    ObjectIdentifier::new(text).map_err(|e| Refusal::new(Code::Internal, "object identifier").because(e))
}

pub(crate) fn asn1(error: der::Error) -> Refusal {
    Refusal::new(Code::Internal, "devkit ASN.1").because(error)
}

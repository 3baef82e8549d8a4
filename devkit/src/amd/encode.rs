//! X.509 as AMD writes it, built from the `x509-cert` types and signed by hand: no certificate builder signs with
//! RSASSA-PSS and SHA-384 through our crypto backend.

use super::{VekSpec, sign};
use aws_lc_rs::signature::RsaKeyPair;
use der::asn1::{Any, BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, PrintableString, SetOfVec};
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

const EXTENSIONS: &str = "1.3.6.1.4.1.3704.1";

/// Who a certificate is for.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) serial: u32,
    pub(super) spki: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
}

/// `SEQUENCE { to-be-signed, algorithm, signature }`.
#[derive(Sequence)]
struct SignedSequence {
    tbs: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

pub(super) fn certificate(
    subject: &Subject<'_>,
    issuer: &str,
    validity: Range<u64>,
    key: &RsaKeyPair,
) -> Result<Vec<u8>> {
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: serial(subject.serial)?,
        signature: pss()?,
        issuer: name(issuer)?,
        validity: Validity { not_before: time(validity.start)?, not_after: time(validity.end)? },
        subject: name(subject.name)?,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&subject.spki).map_err(asn1)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(subject.extensions.clone()),
    };
    signed(&tbs.to_der().map_err(asn1)?, key)
}

pub(super) fn crl(issuer: &str, serials: &[u32], window: Range<u64>, key: &RsaKeyPair) -> Result<Vec<u8>> {
    let revoked = |number: &u32| {
        Ok(RevokedCert {
            serial_number: serial(*number)?,
            revocation_date: time(window.start)?,
            crl_entry_extensions: None,
        })
    };
    let revoked = serials.iter().map(revoked).collect::<Result<Vec<_>>>()?;
    let tbs = TbsCertList {
        version: Version::V2,
        signature: pss()?,
        issuer: name(issuer)?,
        this_update: time(window.start)?,
        next_update: Some(time(window.end)?),
        revoked_certificates: (!revoked.is_empty()).then_some(revoked),
        crl_extensions: None,
    };
    signed(&tbs.to_der().map_err(asn1)?, key)
}

fn signed(tbs: &[u8], key: &RsaKeyPair) -> Result<Vec<u8>> {
    let whole = SignedSequence {
        tbs: Any::from_der(tbs).map_err(asn1)?,
        algorithm: pss()?,
        signature: BitString::from_bytes(&sign(key, tbs)?).map_err(asn1)?,
    };
    whole.to_der().map_err(asn1)
}

/// Basic constraints and key usage of an authority.
pub(super) fn authority() -> Result<Vec<Extension>> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: None }.to_der().map_err(asn1)?;
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign).to_der().map_err(asn1)?;
    Ok(vec![extension("2.5.29.19", true, constraints)?, extension("2.5.29.15", true, usage)?])
}

/// The extensions of a VCEK or VLEK (publication 57230).
pub(super) fn endorsement_key(spec: &VekSpec) -> Result<Vec<Extension>> {
    let own = |suffix: &str, value: Vec<u8>| extension(&format!("{EXTENSIONS}.{suffix}"), false, value);
    let ia5 = |text: &str| Ia5String::new(text).and_then(|text| text.to_der()).map_err(asn1);
    let spl = |level: u8| level.to_der().map_err(asn1);
    let mut extensions = vec![
        own("1", spl(1)?)?,
        own("2", ia5(&spec.product_name)?)?,
        own("3.1", spl(spec.tcb.bootloader)?)?,
        own("3.2", spl(spec.tcb.tee)?)?,
        own("3.3", spl(spec.tcb.snp)?)?,
        own("3.8", spl(spec.tcb.microcode)?)?,
    ];
    if let Some(fmc) = spec.tcb.fmc {
        extensions.push(own("3.9", spl(fmc)?)?);
    }
    if let Some(hwid) = &spec.hwid {
        extensions.push(own("4", hwid.clone())?);
    }
    if let Some(csp_id) = &spec.csp_id {
        extensions.push(own("5", ia5(csp_id)?)?);
    }
    Ok(extensions)
}

fn extension(oid: &str, critical: bool, value: Vec<u8>) -> Result<Extension> {
    Ok(Extension { extn_id: self::oid(oid)?, critical, extn_value: OctetString::new(value).map_err(asn1)? })
}

/// RSASSA-PSS with SHA-384, MGF1 over SHA-384 and a salt of 48 bytes (RFC 4055 §3.1).
fn pss() -> Result<AlgorithmIdentifierOwned> {
    const PARAMETERS: &[u8] = &[
        0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
        0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d,
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
    ];
    let parameters = Any::from_der(PARAMETERS).map_err(asn1)?;
    Ok(AlgorithmIdentifierOwned { oid: oid("1.2.840.113549.1.1.10")?, parameters: Some(parameters) })
}

/// AMD's distinguished name with this common name.
fn name(common_name: &str) -> Result<Name> {
    let parts = [
        ("2.5.4.11", "Engineering"),
        ("2.5.4.6", "US"),
        ("2.5.4.7", "Santa Clara"),
        ("2.5.4.8", "CA"),
        ("2.5.4.10", "Advanced Micro Devices"),
        ("2.5.4.3", common_name),
    ];
    let rdn = |(oid, text): (&str, &str)| {
        let value = PrintableString::new(text).and_then(|text| Any::encode_from(&text)).map_err(asn1)?;
        let attribute = AttributeTypeAndValue { oid: self::oid(oid)?, value };
        Ok(RelativeDistinguishedName(SetOfVec::try_from(vec![attribute]).map_err(asn1)?))
    };
    Ok(RdnSequence(parts.into_iter().map(rdn).collect::<Result<Vec<_>>>()?))
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

fn oid(text: &str) -> Result<ObjectIdentifier> {
    ObjectIdentifier::new(text).map_err(|e| Refusal::new(Code::Internal, "object identifier").because(e))
}

fn asn1(error: der::Error) -> Refusal {
    Refusal::new(Code::Internal, "devkit ASN.1").because(error)
}

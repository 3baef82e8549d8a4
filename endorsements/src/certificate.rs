//! What has to be read of certificates and revocation lists (RFC 5280) to know what they are and how long they last.
//! Signatures are `appraisal`'s matter.

use crate::UnixTime;
use bytes::Bytes;
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use strongroom_wire::{Refusal, Result};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A DER certificate.
pub(crate) fn parse(der: &[u8], what: &str) -> Result<Certificate> {
    Certificate::from_der(der).map_err(|e| Refusal::malformed(what, e))
}

/// The certificates of a PEM text, of which there is at least one.
pub(crate) fn parse_chain(pem: &[u8], what: &str) -> Result<Vec<Certificate>> {
    // A quote carries its chain as a C string.
    let pem = pem.strip_suffix(b"\0").unwrap_or(pem).trim_ascii();
    if pem.is_empty() {
        return Err(Refusal::malformed(what, "no certificate"));
    }
    match Certificate::load_pem_chain(pem) {
        Ok(chain) if chain.is_empty() => Err(Refusal::malformed(what, "no certificate")),
        chain => chain.map_err(|e| Refusal::malformed(what, e)),
    }
}

/// notAfter.
pub(crate) fn expires(certificate: &Certificate) -> UnixTime {
    certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs()
}

/// The soonest notAfter of a PEM chain.
pub(crate) fn chain_expires(pem: &[u8], what: &str) -> Result<UnixTime> {
    Ok(parse_chain(pem, what)?.iter().map(expires).min().unwrap_or_default())
}

/// The certificates of a PEM chain, each in DER.
pub(crate) fn chain_der(pem: &[u8], what: &str) -> Result<Vec<Bytes>> {
    let der = |certificate: &Certificate| certificate.to_der().map_err(|e| Refusal::malformed(what, e));
    parse_chain(pem, what)?.iter().map(|certificate| der(certificate).map(Bytes::from)).collect()
}

/// nextUpdate of a DER revocation list; zero where it has none, which neither vendor leaves out.
pub(crate) fn crl_expires(der: &[u8], what: &str) -> Result<UnixTime> {
    let list = CertificateList::from_der(der).map_err(|e| Refusal::malformed(what, e))?;
    Ok(list.tbs_cert_list.next_update.map_or(0, |time| time.to_unix_duration().as_secs()))
}

/// The value of an extension.
pub(crate) fn extension(certificate: &Certificate, oid: ObjectIdentifier) -> Option<&[u8]> {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    extensions.filter(|extension| extension.extn_id == oid).map(|extension| extension.extn_value.as_bytes()).next()
}

/// Common name of the issuer; empty where there is none.
pub(crate) fn issuer(certificate: &Certificate) -> String {
    let names = certificate.tbs_certificate.issuer.0.iter().flat_map(|rdn| rdn.0.iter());
    let mut common = names.filter(|attribute| attribute.oid == COMMON_NAME);
    common.next().map_or_else(String::new, |name| String::from_utf8_lossy(name.value.value()).into_owned())
}

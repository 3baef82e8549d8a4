//! The one name of a client in its certificate, and that the certificate is for clients.

use der::Decode as _;
use der::oid::ObjectIdentifier;
use rustls::pki_types::CertificateDer;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// id-kp-clientAuth (RFC 5280 §4.2.1.12).
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// The longest name: a SPIFFE ID has at most 2048 bytes, and those that people read are far shorter.
const LONGEST: usize = 512;

/// The URI, or without one the e-mail address, in the certificate's subjectAltName (RFC 5280 §4.2.1.6).
///
/// # Errors
/// `certificate-unsuitable`: it does not say that it is for clients and for signatures, or names nobody or several.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<String> {
    let unsuitable = || Refusal::new(Code::CertificateUnsuitable, "client certificate");
    let parsed = Certificate::from_der(certificate).map_err(|e| unsuitable().because(e))?.tbs_certificate;
    // webpki takes a certificate without the extension for one that is for everything.
    let purposes = parsed.get::<ExtendedKeyUsage>().map_err(|e| unsuitable().because(e))?;
    if !purposes.is_some_and(|(_, purposes)| purposes.0.contains(&CLIENT_AUTH)) {
        return Err(unsuitable().got("no extended key usage for clients").want("clientAuth"));
    }
    let usage = parsed.get::<KeyUsage>().map_err(|e| unsuitable().because(e))?;
    if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
        return Err(unsuitable().got("a key usage without signatures").want("digitalSignature"));
    }
    let names = parsed.get::<SubjectAltName>().map_err(|e| unsuitable().because(e))?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    let addresses = names.iter().filter_map(|name| match name {
        GeneralName::Rfc822Name(address) => Some(format!("mailto:{address}")),
        _ => None,
    });
    let (uris, addresses): (Vec<_>, Vec<_>) = (uris.collect(), addresses.collect());
    let from_uri = !uris.is_empty();
    let mut names = if uris.is_empty() { addresses } else { uris };
    let want = "one URI, or without one one e-mail address, in subjectAltName";
    match (names.pop(), names.is_empty()) {
        // Who vouches for URIs need not vouch for e-mail addresses.
        (Some(name), true)
            if from_uri && name.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:")) =>
        {
            Err(unsuitable().got("an e-mail address that is a URI").want("one that is an rfc822Name"))
        }
        (Some(name), true) if is_printable(&name) => Ok(name),
        (Some(_), true) => Err(unsuitable().got("a name that nobody can read").want(want)),
        (Some(_), false) => Err(unsuitable().got("several names").want(want)),
        (None, _) => Err(unsuitable().got("no name").want(want)),
    }
}

/// It stands in logs and is compared byte for byte.
fn is_printable(name: &str) -> bool {
    name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_graphic())
}

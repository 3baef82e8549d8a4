//! Statements signed under a certificate of an authority of one's own (OMS v1.0, method `certificate`).

use super::SignedStatement;
use crate::bundle::Bundle;
use crate::dsse::Envelope;
use crate::keys::{PublicKey, Sign};
use crate::signers::Credential;
use core::fmt;
use core::time::Duration;
use der::oid::db::rfc5280::ID_KP_CODE_SIGNING;
use der::{Decode as _, Encode as _};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage as KeyUsageExtension};

/// Contents of the object identifier id-kp-codeSigning, 1.3.6.1.5.5.7.3.3, as `webpki` wants it (RFC 5280 §4.2.1.12).
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// The lines around a certificate (RFC 7468 §5).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a file: one's authorities, or a signer's own and those between.
#[derive(Clone)]
pub struct Certificates(Vec<CertificateDer<'static>>);

impl Certificates {
    /// Reads PEM certificates, of which there are one to [`limits::SIGNER_CHAIN`]. Refuses everything else with
    /// `configuration-invalid`.
    pub fn from_pem(bytes: &[u8]) -> Result<Self> {
        let invalid = |e: &dyn fmt::Display| Refusal::new(Code::ConfigurationInvalid, "certificates").because(e);
        let text = core::str::from_utf8(bytes).map_err(|e| invalid(&e))?;
        let blocks: Vec<_> = text.split_inclusive(END).filter_map(|block| block.get(block.find(BEGIN)?..)).collect();
        if blocks.is_empty() || blocks.len() > limits::SIGNER_CHAIN {
            let refusal = Refusal::new(Code::ConfigurationInvalid, "certificates").got(blocks.len());
            return Err(refusal.want(format!("1 to {}", limits::SIGNER_CHAIN)));
        }
        let read = |block: &str| {
            let (_, der) = der::pem::decode_vec(block.as_bytes()).map_err(|e| invalid(&e))?;
            Certificate::from_der(&der).map_err(|e| invalid(&e))?;
            Ok(CertificateDer::from(der))
        };
        blocks.into_iter().map(read).collect::<Result<_>>().map(Self)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}

/// Signs a statement as [`super::sign_statement`] does, with the certificate of `key`, which comes first in `own`, and those that lead
/// to an authority behind it, the authority's too.
///
/// Refuses a first certificate of another key with `key-invalid`.
pub fn sign_statement_certified(
    payload: &[u8],
    key: &dyn Sign,
    own: &Certificates,
    chain: Option<&Certificates>,
) -> Result<Vec<u8>> {
    let first = own.0.first().map(|first| read(first)).transpose()?;
    if first.map(|(_, public)| public) != Some(key.public()) {
        return Err(Refusal::new(Code::KeyInvalid, "certificate of the signer")
            .got("of another key")
            .want(key.public().fingerprint()));
    }
    let all = own.0.iter().chain(chain.into_iter().flat_map(|chain| &chain.0)).map(|one| one.as_ref());
    Bundle::render_chain(&Envelope::sign(payload, key)?.with_empty_key_id(), all)
}

/// Verifies a bundle whose signer one of `authorities` certified, at `now` in seconds of Unix time.
///
/// The certificate must be valid at `now`, as the specification says; its reference client looks at the time it began instead, so that
/// none ever ends. It must be for signing: key usage `digitalSignature`, or extended key usage `codeSigning`; and if it has extended
/// key usages, that must be among them.
///
/// # Errors
/// `signer-untrusted` the bundle is of a key or of an identity; `signer-certificate-expired`; `signer-certificate-invalid`;
/// `signature-invalid`; and those of [`super::verify_statement`].
pub fn verify_statement_certified(bundle: &[u8], authorities: &Certificates, now: u64) -> Result<SignedStatement> {
    let bundle = Bundle::parse(bundle)?;
    let Some((chain, envelope)) = bundle.chain() else {
        return Err(Refusal::new(Code::SignerUntrusted, "signer of a bundle")
            .got("no chain")
            .want("a certificate chain"));
    };
    let chain: Vec<_> = chain.iter().map(|one| CertificateDer::from(one.as_slice())).collect();
    let (leaf, between) =
        chain.split_first().ok_or_else(|| Refusal::malformed("signature bundle", "an empty chain"))?;
    verify_path(leaf, between, authorities, now)?;
    let (certificate, key) = read(leaf)?;
    verify_purpose(&certificate)?;
    let payload = envelope.verify(&key)?;
    let subject = certificate.tbs_certificate.subject.to_string();
    SignedStatement::of(payload, Credential::Certificate { subject, fingerprint: Sha256::of(leaf) })
}

fn verify_path(
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    authorities: &Certificates,
    now: u64,
) -> Result<()> {
    let invalid = |e: &webpki::Error| {
        let code = match e {
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => Code::SignerCertificateExpired,
            _ => Code::SignerCertificateInvalid,
        };
        Refusal::new(code, "certificate of a signer").because(e)
    };
    let anchors =
        authorities.0.iter().map(anchor_from_trusted_cert).collect::<core::result::Result<Vec<TrustAnchor<'_>>, _>>();
    let anchors = anchors.map_err(|e| Refusal::new(Code::ConfigurationInvalid, "authority").because(e))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|e| invalid(&e))?;
    let usage = KeyUsage::required_if_present(CODE_SIGNING);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let path = leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, between, now, usage, None, None);
    path.map(|_| ()).map_err(|e| invalid(&e))
}

fn verify_purpose(certificate: &Certificate) -> Result<()> {
    let invalid = |e: der::Error| Refusal::new(Code::SignerCertificateInvalid, "certificate of a signer").because(e);
    let usage = certificate.tbs_certificate.get::<KeyUsageExtension>().map_err(invalid)?;
    let extended = certificate.tbs_certificate.get::<ExtendedKeyUsage>().map_err(invalid)?;
    let signs = usage.is_some_and(|(_, usage)| usage.digital_signature());
    let signs_code = extended.is_some_and(|(_, usages)| usages.0.contains(&ID_KP_CODE_SIGNING));
    if signs || signs_code {
        return Ok(());
    }
    let refusal = Refusal::new(Code::SignerCertificateInvalid, "purpose of a signer's certificate");
    Err(refusal.got("neither").want("digitalSignature or codeSigning"))
}

fn read(certificate: &CertificateDer<'_>) -> Result<(Certificate, PublicKey)> {
    let invalid = |e: der::Error| Refusal::new(Code::SignerCertificateInvalid, "certificate of a signer").because(e);
    let parsed = Certificate::from_der(certificate).map_err(invalid)?;
    let spki = parsed.tbs_certificate.subject_public_key_info.to_der().map_err(invalid)?;
    let key =
        PublicKey::from_der(&spki).map_err(|refusal| Refusal { code: Code::SignerCertificateInvalid, ..refusal })?;
    Ok((parsed, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{FileDigest, HashAlgorithm};
    use crate::keys::SigningKey;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };

    /// Noon of a day within the validity of the certificates, and of one after it.
    const NOW: u64 = 1_750_000_000;
    const LATER: u64 = 2_000_000_000;

    struct Signed {
        bundle: Vec<u8>,
        authority: String,
        leaf: String,
        key: SigningKey,
    }

    fn statement() -> Vec<u8> {
        let file = FileDigest { path: "a".into(), algorithm: HashAlgorithm::Sha256, digest: vec![1; 32] };
        super::super::statement("m", &[file]).unwrap()
    }

    /// A statement under a certificate of `usages` and `extended` usages, which ends before [`LATER`].
    fn signed(usages: &[KeyUsagePurpose], extended: &[ExtendedKeyUsagePurpose]) -> Signed {
        let (ca_key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let valid = |mut params: CertificateParams, name: &str| {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2030, 1, 1));
            params
        };
        let mut ca = valid(CertificateParams::default(), "authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = ca.self_signed(&ca_key).unwrap().pem();
        let mut leaf = valid(CertificateParams::default(), "training");
        leaf.key_usages = usages.to_vec();
        leaf.extended_key_usages = extended.to_vec();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).unwrap().pem();
        let key = SigningKey::from_pem(leaf_key.serialize_pem().as_bytes(), None).unwrap();
        let bundle =
            sign_statement_certified(&statement(), &key, &read_pem(&leaf), Some(&read_pem(&authority))).unwrap();
        Signed { bundle, authority, leaf, key }
    }

    fn good() -> Signed {
        signed(&[KeyUsagePurpose::DigitalSignature], &[])
    }

    fn read_pem(pem: &str) -> Certificates {
        Certificates::from_pem(pem.as_bytes()).unwrap()
    }

    fn code(signed: &Signed, authority: &str, now: u64) -> Option<Code> {
        verify_statement_certified(&signed.bundle, &read_pem(authority), now).err().map(|refusal| refusal.code)
    }

    #[test]
    fn certificate_of_the_authority_accepted_and_of_another_or_out_of_its_time_refused() {
        let good = good();
        let statement = verify_statement_certified(&good.bundle, &read_pem(&good.authority), NOW).unwrap();
        assert_eq!(statement.name(), "m");
        assert!(matches!(statement.signer(), Credential::Certificate { subject, .. } if subject == "CN=training"));
        // Of the same name, and another key.
        let other = self::good();
        assert_eq!(code(&good, &other.authority, NOW), Some(Code::SignerCertificateInvalid));
        assert_eq!(code(&good, &good.authority, LATER), Some(Code::SignerCertificateExpired));
        assert_eq!(code(&good, &good.authority, 1), Some(Code::SignerCertificateExpired));
    }

    #[test]
    fn certificate_for_signing_accepted_and_for_something_else_refused() {
        use ExtendedKeyUsagePurpose::{CodeSigning, ServerAuth};
        use KeyUsagePurpose::{DigitalSignature, KeyAgreement};
        for (usages, extended, want) in [
            (vec![DigitalSignature], vec![], None),
            (vec![KeyAgreement], vec![CodeSigning], None),
            (vec![KeyAgreement], vec![], Some(Code::SignerCertificateInvalid)),
            (vec![DigitalSignature], vec![ServerAuth], Some(Code::SignerCertificateInvalid)),
        ] {
            let signed = signed(&usages, &extended);
            assert_eq!(code(&signed, &signed.authority, NOW), want, "{usages:?} {extended:?}");
        }
    }

    #[test]
    fn changed_statement_other_forms_and_a_certificate_of_another_key_refused() {
        let good = good();
        let mut json: serde_json::Value = serde_json::from_slice(&good.bundle).unwrap();
        json["dsseEnvelope"]["payload"] = strongroom_wire::bytes::to_base64(b"{}").into();
        let changed = Signed { bundle: json.to_string().into_bytes(), ..self::good() };
        assert_eq!(code(&changed, &good.authority, NOW), Some(Code::SignatureInvalid));
        let by_key = Signed { bundle: super::super::sign_payload(&statement(), &good.key).unwrap(), ..self::good() };
        assert_eq!(code(&by_key, &good.authority, NOW), Some(Code::SignerUntrusted));
        let another = SigningKey::generate().unwrap();
        let refused = sign_statement_certified(&statement(), &another, &read_pem(&good.leaf), None).unwrap_err();
        assert_eq!(refused.code, Code::KeyInvalid);
        // A chain is nobody's where keys are trusted.
        let keys = [good.key.public()];
        assert_eq!(super::super::verify_statement(&good.bundle, &keys).unwrap_err().code, Code::SignerUntrusted);
    }

    #[test]
    fn one_to_eight_certificates_read() {
        let pem = good().authority;
        assert!(Certificates::from_pem(pem.repeat(limits::SIGNER_CHAIN).as_bytes()).is_ok());
        for bad in [pem.repeat(limits::SIGNER_CHAIN + 1), String::new(), "no PEM".to_owned()] {
            assert_eq!(Certificates::from_pem(bad.as_bytes()).unwrap_err().code, Code::ConfigurationInvalid);
        }
    }
}

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
    SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime};
use strongroom_wire::spiffe::TrustDomain;
use strongroom_wire::{Code, limits};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;
const ID: &str = "spiffe://example.org/models/embed";

struct Key(EcdsaKeyPair, &'static SignatureAlgorithm);

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.1
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}

fn key() -> Key {
    Key(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(), &rcgen::PKCS_ECDSA_P256_SHA256)
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn request_of(key: &Key, names: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.serialize_request(key).unwrap().der().to_vec()
}

fn request() -> Request {
    Request::parse(&request_of(&key(), vec![uri(ID)])).unwrap()
}

fn authority() -> Authority {
    Authority::generate(domain(), NOW..NOW + DAY).unwrap()
}

fn bundle(authorities: &[&Authority]) -> Bundle {
    Bundle::new(domain(), authorities.iter().map(|one| one.certificate().to_vec()).collect(), 7, 300)
}

fn code_of(bundle: &Bundle, certificate: &[u8], side: Side, now: u64) -> Option<Code> {
    bundle.verify(&[CertificateDer::from(certificate)], side, now).err().map(|refusal| refusal.code)
}

#[test]
fn request_for_one_identity_by_who_holds_the_key_accepted() {
    let key = key();
    let request = Request::parse(&request_of(&key, vec![uri(ID)])).unwrap();
    assert_eq!(request.id().as_str(), ID);
    assert!(request.spki().ends_with(key.0.public_key().as_ref()));
}

#[test]
fn request_of_another_shape_key_or_name_refused() {
    let code = |der: &[u8]| Request::parse(der).err().map(|refusal| refusal.code);
    let key = key();
    let good = request_of(&key, vec![uri(ID)]);
    assert_eq!(code(&good), None);
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(code(&longer), Some(Code::Malformed));
    assert_eq!(code(&vec![0x30; limits::CERTIFICATE_REQUEST + 1]), Some(Code::TooLarge));
    // The last byte is the signature's; one of the name is what is signed.
    let mut signature = good.clone();
    *signature.last_mut().unwrap() ^= 1;
    let mut name = good.clone();
    let at = good.windows(5).position(|window| window == b"embed").unwrap();
    name[at] ^= 1;
    for forged in [signature, name] {
        assert_eq!(code(&forged), Some(Code::RequestInvalid));
    }
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let p384 = request_of(&Key(p384, &rcgen::PKCS_ECDSA_P384_SHA384), vec![uri(ID)]);
    assert_eq!(code(&p384), Some(Code::KeyInvalid));
    let dns = SanType::DnsName(Ia5String::try_from("example.org").unwrap());
    for names in [
        vec![],
        vec![dns.clone()],
        vec![uri(ID), dns],
        vec![uri(ID), uri(ID)],
        vec![uri("spiffe://example.org")],
        vec![uri("https://example.org/models")],
    ] {
        assert_eq!(code(&request_of(&key, names.clone())), Some(Code::IdentityInvalid), "{names:?}");
    }
}

#[test]
fn certificate_names_the_workload_for_both_sides_and_for_an_hour_at_most() {
    let (authority, request) = (authority(), request());
    let svid = authority.issue(&request, NOW + 60, u64::MAX).unwrap();
    assert_eq!((svid.id.as_str(), svid.expires), (ID, NOW + 60 + LIFETIME));
    let bundle = bundle(&[&authority]);
    let leaf = CertificateDer::from(svid.certificate.as_slice());
    for side in [Side::Client, Side::Server] {
        let id = bundle.verify(std::slice::from_ref(&leaf), side, NOW + 60).unwrap();
        assert_eq!(id.as_str(), ID);
    }
    for (now, code) in [
        (NOW + 60 - SKEW, None),
        (NOW + 60 - SKEW - 1, Some(Code::SvidUntrusted)),
        (svid.expires, None),
        (svid.expires + 1, Some(Code::SvidUntrusted)),
    ] {
        assert_eq!(code_of(&bundle, &svid.certificate, Side::Client, now), code, "{now}");
    }
    assert_ne!(authority.issue(&request, NOW + 60, u64::MAX).unwrap().serial, svid.serial);
}

#[test]
fn certificate_ends_no_later_than_what_it_rests_on_or_its_authority() {
    let (authority, request) = (authority(), request());
    let expires = |now, until| authority.issue(&request, now, until).map(|svid| svid.expires).map_err(|e| e.code);
    assert_eq!(expires(NOW, NOW + 100), Ok(NOW + 100));
    assert_eq!(expires(NOW, NOW), Err(Code::CertificateExpired));
    assert_eq!(expires(NOW + DAY - 1, u64::MAX), Ok(NOW + DAY));
    assert_eq!(expires(NOW + DAY, u64::MAX), Err(Code::CertificateExpired));
    assert_eq!(expires(NOW - 1, u64::MAX), Err(Code::CertificateNotYetValid));
    let elsewhere = TrustDomain::parse("example.com").unwrap();
    let elsewhere = Authority::generate(elsewhere, NOW..NOW + DAY).unwrap();
    assert_eq!(elsewhere.issue(&request, NOW, u64::MAX).unwrap_err().code, Code::IdentityInvalid);
}

#[test]
fn authority_that_was_kept_issues_what_its_certificate_vouches_for() {
    let made = authority();
    let secret = made.secret().unwrap();
    let kept = Authority::load(domain(), made.valid().clone(), made.certificate().to_vec(), &secret).unwrap();
    let svid = kept.issue(&request(), NOW, u64::MAX).unwrap();
    assert_eq!(code_of(&bundle(&[&made]), &svid.certificate, Side::Server, NOW), None);
    let other = Authority::load(domain(), made.valid().clone(), made.certificate().to_vec(), b"none");
    assert_eq!(other.unwrap_err().code, Code::KeyInvalid);
    assert!(!format!("{made:?}").contains("secret") && !format!("{made:?}").contains("key"));
}

#[test]
fn certificate_of_an_authority_outside_the_bundle_refused_and_of_each_inside_accepted() {
    let (old, new, other) = (authority(), authority(), authority());
    let both = bundle(&[&old, &new]);
    for (authority, code) in [(&old, None), (&new, None), (&other, Some(Code::SvidUntrusted))] {
        let svid = authority.issue(&request(), NOW, u64::MAX).unwrap();
        assert_eq!(code_of(&both, &svid.certificate, Side::Client, NOW), code);
    }
    assert_eq!(both.verify(&[], Side::Client, NOW).unwrap_err().code, Code::SvidUntrusted);
    let svid = old.issue(&request(), NOW, u64::MAX).unwrap();
    let leaf = CertificateDer::from(svid.certificate.as_slice());
    let chain = vec![leaf; limits::SIGNER_CHAIN + 1];
    assert_eq!(both.verify(&chain, Side::Client, NOW).unwrap_err().code, Code::TooLarge);
}

/// Certificates that an authority of the domain signed and that are no SVIDs.
#[test]
fn certificate_that_may_sign_or_has_other_names_refused_though_the_authority_signed_it() {
    let signer = key();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&signer).unwrap();
    let issuer = Issuer::new(params, signer);
    let bundle = Bundle::new(domain(), vec![root.der().to_vec()], 1, 1);
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let code = |change: fn(&mut CertificateParams)| {
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = vec![uri(ID)];
        leaf.distinguished_name = DistinguishedName::new();
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf.not_after = time(NOW + 60).into();
        change(&mut leaf);
        let certificate = leaf.signed_by(&key(), &issuer).unwrap();
        code_of(&bundle, certificate.der(), Side::Client, NOW)
    };
    assert_eq!(code(|_| ()), None);
    let other = Some(Code::IdentityInvalid);
    assert_eq!(code(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)), other);
    assert_eq!(code(|leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign)), other);
    assert_eq!(code(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]), other);
    assert_eq!(code(|leaf| leaf.key_usages.clear()), other);
    assert_eq!(code(|leaf| leaf.subject_alt_names = vec![uri("spiffe://example.com/models")]), other);
    assert_eq!(code(|leaf| leaf.subject_alt_names.push(uri(ID))), other);
    assert_eq!(code(|leaf| leaf.subject_alt_names.clear()), other);
    let untrusted = Some(Code::SvidUntrusted);
    assert_eq!(code(|leaf| leaf.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)), untrusted);
    assert_eq!(code(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), untrusted);
}

#[test]
fn bundle_reads_back_and_one_without_an_authority_refused() {
    let (old, new) = (authority(), authority());
    let made = bundle(&[&old, &new]);
    let json = made.to_json().unwrap();
    assert_eq!(Bundle::parse(domain(), &json).unwrap(), made);
    let mut value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&value["spiffe_sequence"], &value["spiffe_refresh_hint"]), (&7.into(), &300.into()));
    let parse = |value: &serde_json::Value| Bundle::parse(domain(), value.to_string().as_bytes()).map_err(|e| e.code);
    // Of keys for other things nothing is taken.
    value["keys"][0]["use"] = "jwt-svid".into();
    assert_eq!(parse(&value).unwrap(), Bundle::new(domain(), vec![new.certificate().to_vec()], 7, 300));
    value["keys"][1]["use"] = "sig".into();
    assert_eq!(parse(&value), Err(Code::IdentityInvalid));
    value["keys"][1]["use"] = "x509-svid".into();
    value["keys"][1]["x5c"] = serde_json::json!([]);
    assert_eq!(parse(&value), Err(Code::Malformed));
    value["keys"][1]["x5c"] = serde_json::json!(["AAAA"]);
    assert_eq!(parse(&value), Err(Code::Malformed));
    assert_eq!(Bundle::parse(domain(), &vec![b' '; limits::SPIFFE_BUNDLE + 1]).unwrap_err().code, Code::TooLarge);
}

use super::*;
use std::sync::LazyLock;
use strongroom_devkit::intel::{ALWAYS, Authority, Hierarchy, PckSpec};

static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(|| Hierarchy::generate().unwrap());

/// keyUsage (RFC 5280 §4.2.1.3) of devkit's authorities and of its leaves, as an extension's value.
const SIGNS_CERTIFICATES: [u8; 4] = [0x03, 0x02, 0x01, 0x06];
const SIGNS: [u8; 4] = [0x03, 0x02, 0x06, 0xc0];

fn leaf() -> Vec<u8> {
    HIERARCHY.issue(PckSpec::default()).unwrap().certificate
}

/// The certificate with the one place where `from` stands changed. Its signature does not hold any more, which what is
/// tested here never asks for.
fn changed<const N: usize>(der: &[u8], from: [u8; N], to: [u8; N]) -> Certificate {
    let mut places = der.windows(N).enumerate().filter(|(_, window)| *window == from).map(|(at, _)| at);
    let (at, None) = (places.next().expect("not there"), places.next()) else { panic!("there more than once") };
    let mut der = der.to_vec();
    der[at..at + N].copy_from_slice(&to);
    Certificate::parse(&der).unwrap()
}

fn code(outcome: Result<()>) -> Option<Code> {
    outcome.err().map(|refusal| refusal.code)
}

#[test]
fn authority_that_may_sign_certificates_accepted_and_without_that_right_refused() {
    let authority = HIERARCHY.root.certificate();
    assert_eq!(code(Certificate::parse(authority).unwrap().verify_authority()), None);
    let lists_only = changed(authority, SIGNS_CERTIFICATES, [0x03, 0x02, 0x01, 0x02]);
    assert_eq!(code(lists_only.verify_authority()), Some(Code::CertificateUnsuitable));
}

#[test]
fn end_entity_whose_key_usage_speaks_of_certificates_is_no_authority_and_no_leaf() {
    let leaf = leaf();
    let both = changed(&leaf, SIGNS, [0x03, 0x02, 0x02, 0x84]);
    assert_eq!(code(both.verify_authority()), Some(Code::CertificateUnsuitable));
    assert_eq!(code(both.verify_leaf()), Some(Code::CertificateUnsuitable));
}

#[test]
fn leaf_that_signs_accepted_and_one_with_a_key_for_another_use_refused() {
    let leaf = leaf();
    assert_eq!(code(changed(&leaf, SIGNS, [0x03, 0x02, 0x07, 0x80]).verify_leaf()), None);
    assert_eq!(code(Certificate::parse(&leaf).unwrap().verify_leaf()), None);
    let agrees = changed(&leaf, SIGNS, [0x03, 0x02, 0x03, 0x08]);
    assert_eq!(code(agrees.verify_leaf()), Some(Code::CertificateUnsuitable));
}

#[test]
fn authority_with_the_key_usage_of_a_leaf_is_no_leaf() {
    let authority = changed(HIERARCHY.root.certificate(), SIGNS_CERTIFICATES, SIGNS);
    assert_eq!(code(authority.verify_leaf()), Some(Code::CertificateUnsuitable));
}

#[test]
fn certificate_is_the_same_as_itself_alone() {
    let parse = |authority: &Authority| Certificate::parse(authority.certificate()).unwrap();
    let root = parse(&HIERARCHY.root);
    assert!(root.is_the_same_as(&parse(&HIERARCHY.root)));
    assert!(!root.is_the_same_as(&parse(&HIERARCHY.platform_ca)));
    // The same to be signed, and another signature; the same signature, over something else.
    let der = HIERARCHY.root.certificate();
    let mut resigned = der.to_vec();
    *resigned.last_mut().unwrap() ^= 1;
    assert!(!root.is_the_same_as(&Certificate::parse(&resigned).unwrap()));
    assert!(!root.is_the_same_as(&changed(der, SIGNS_CERTIFICATES, SIGNS)));
}

#[test]
fn point_is_given_for_the_curve_that_was_asked_for_alone() {
    let p256 = Certificate::parse(&leaf()).unwrap();
    assert_eq!(p256.p256_point().unwrap().first_chunk(), Some(&[4]));
    assert_eq!(p256.p384_point().unwrap_err().code, Code::CertificateUnsuitable);
    let amd = strongroom_devkit::amd::Hierarchy::shared().unwrap();
    let p384 = Certificate::parse(&amd.issue(strongroom_devkit::amd::VekSpec::default()).unwrap().certificate).unwrap();
    assert_eq!(p384.p384_point().unwrap().len(), 97);
    assert_eq!(p384.p256_point().unwrap_err().code, Code::CertificateUnsuitable);
    let rsa = Certificate::parse(amd.ark.certificate()).unwrap();
    assert_eq!(rsa.p384_point().unwrap_err().code, Code::CertificateUnsuitable);
}

#[test]
fn validity_includes_its_first_and_its_last_second() {
    let authority = Certificate::parse(HIERARCHY.root.certificate()).unwrap();
    let (first, last) = authority.validity();
    assert_eq!((first, last), (ALWAYS.start, ALWAYS.end));
    assert_eq!((code(authority.verify_validity(first)), code(authority.verify_validity(last))), (None, None));
    assert_eq!(code(authority.verify_validity(first - 1)), Some(Code::CertificateNotYetValid));
    assert_eq!(code(authority.verify_validity(last + 1)), Some(Code::CertificateExpired));
}

/// A certificate is a SEQUENCE, and as long as it says.
#[test]
fn outermost_tag_and_length_are_compared_with_what_follows() {
    let sound = leaf();
    let code = |at: usize, to: u8| {
        let mut der = sound.clone();
        der[at] = to;
        Signed::split(&der, "certificate").err().map(|refusal| refusal.code)
    };
    // SEQUENCE, two bytes of length, the length.
    assert_eq!(sound[..2], [0x30, 0x82]);
    assert_eq!(code(0, 0x30), None);
    assert_eq!(code(0, 0x31), Some(Code::Malformed));
    assert_eq!([sound[3].wrapping_sub(1), sound[3].wrapping_add(1)].map(|to| code(3, to)), [Some(Code::Malformed); 2]);
}

#[test]
fn algorithm_beside_a_signature_is_the_one_that_is_signed() {
    let amd = strongroom_devkit::amd::Hierarchy::shared().unwrap();
    let sound = amd.ark.certificate();
    // RSASSA-PSS-params (RFC 8017, A.2.3): a salt of 48 bytes, stated inside and then beside the signature.
    let salt = [0xa2, 0x03, 0x02, 0x01, 0x30];
    let beside = sound.windows(salt.len()).rposition(|window| window == salt).unwrap();
    let mut changed = sound.to_vec();
    changed[beside + 4] = 0x20;
    let code = |der: &[u8]| Certificate::parse(der).err().map(|refusal| refusal.code);
    assert_eq!((code(sound), code(&changed)), (None, Some(Code::Malformed)));
}

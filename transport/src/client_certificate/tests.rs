//! Certificates that differ in one thing from one that names somebody.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

/// 2027-01-15.
const NOW: u64 = 1_800_000_000;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = params();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2027, 1, 1), date_time_ymd(2027, 2, 1));
    params
}

/// Of somebody, as [`NOW`] has it.
fn person() -> CertificateParams {
    let mut params = params();
    params.serial_number = Some(SerialNumber::from(7));
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/alice".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn email(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().unwrap())
}

fn shown(params: &CertificateParams, authority: &Authority) -> PeerCertificates {
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap();
    PeerCertificates::of(&[certificate.der().clone()])
}

fn judged(
    params: &CertificateParams,
    by: &Authority,
    trusted: &Authority,
    now: u64,
) -> core::result::Result<String, Code> {
    let authority = ClientAuthority::new(trusted.pem().as_bytes()).unwrap();
    authority.verify(&shown(params, by), || Ok(None), now).map_err(|refusal| refusal.code)
}

#[test]
fn certificate_under_the_authority_names_its_holder_and_under_another_nobody() {
    let (own, other) = (authority("own"), authority("other"));
    assert_eq!(judged(&person(), &own, &own, NOW), Ok("spiffe://example.org/alice".into()));
    assert_eq!(judged(&person(), &other, &own, NOW), Err(Code::RootUntrusted));
    // The same name, another key.
    assert!(judged(&person(), &authority("own"), &own, NOW).is_err());
}

#[test]
fn certificate_names_nobody_outside_its_time() {
    let own = authority("own");
    let (begin, end) = (1_798_761_600, 1_801_440_000);
    for (now, want) in [
        (begin - 1, Err(Code::CertificateNotYetValid)),
        (begin, Ok(())),
        (end, Ok(())),
        (end + 1, Err(Code::CertificateExpired)),
    ] {
        // The authority's own dates are the same, and are not looked at: it is trusted by name and key.
        assert_eq!(judged(&person(), &own, &own, now).map(drop), want, "{now}");
    }
}

#[test]
fn certificate_that_is_not_for_clients_or_names_not_one_refused() {
    let own = authority("own");
    let of = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = person();
        change(&mut params);
        judged(&params, &own, &own, NOW)
    };
    let address = email("alice@example.org");
    assert_eq!(of(&|params| params.subject_alt_names = vec![address.clone()]), Ok("mailto:alice@example.org".into()));
    assert_eq!(of(&|params| params.subject_alt_names.push(address.clone())), Ok("spiffe://example.org/alice".into()));
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let changes: [&dyn Fn(&mut CertificateParams); 11] = [
        &|params| params.subject_alt_names = vec![uri("mailto:alice@example.org")],
        &|params| params.subject_alt_names = vec![uri("MAILTO:alice@example.org"), address.clone()],
        &|params| params.extended_key_usages.clear(),
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        &|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        &|params| params.subject_alt_names.clear(),
        &|params| params.subject_alt_names = vec![SanType::DnsName("alice".try_into().unwrap())],
        &|params| params.subject_alt_names.push(SanType::URI("spiffe://example.org/bob".try_into().unwrap())),
        &|params| params.subject_alt_names = vec![email("a@b"), email("c@d")],
        &|params| params.subject_alt_names = vec![email("a b@c")],
        &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
    ];
    for change in changes {
        assert_eq!(of(change), Err(Code::CertificateUnsuitable));
    }
}

fn list(authority: &Authority, serial: u64, next_update: i32) -> Vec<u8> {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2027, 1, 2),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2027, 1, 2),
        next_update: date_time_ymd(next_update, 1, 20),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).unwrap().pem().unwrap().into_bytes()
}

#[test]
fn certificate_on_a_list_refused_and_so_is_every_one_without_a_list_in_date() {
    let (own, other) = (authority("own"), authority("other"));
    let trust = ClientAuthority::new(own.pem().as_bytes()).unwrap();
    let alice = shown(&person(), &own);
    let code = |lists: Vec<u8>, now| trust.verify(&alice, || Ok(Some(lists)), now).err().map(|refusal| refusal.code);
    assert_eq!(code(list(&own, 8, 2027), NOW), None);
    assert_eq!(code(list(&own, 7, 2027), NOW), Some(Code::CertificateRevoked));
    assert_eq!(code(list(&own, 8, 2027), NOW + 6 * 86_400), Some(Code::CrlExpired));
    assert_eq!(code(list(&other, 8, 2027), NOW), Some(Code::CrlMissing));
    assert_eq!(code([list(&other, 7, 2027), list(&own, 8, 2027)].concat(), NOW), None, "another's serial");
    assert_eq!(code(list(&authority("own"), 8, 2027), NOW), Some(Code::CrlSignatureInvalid));
    assert_eq!(code(Vec::new(), NOW), Some(Code::ConfigurationInvalid));
    assert_eq!(code(vec![b'\n'; limits::CONFIGURATION + 1], NOW), Some(Code::TooLarge));
}

#[test]
fn lists_are_not_read_for_certificates_that_nobody_vouches_for() {
    let (own, other) = (authority("own"), authority("other"));
    let trust = ClientAuthority::new(own.pem().as_bytes()).unwrap();
    let failed = || Err(Refusal::new(Code::Io, "list"));
    assert_eq!(trust.verify(&shown(&person(), &other), failed, NOW).unwrap_err().code, Code::RootUntrusted);
    assert_eq!(trust.verify(&shown(&person(), &own), failed, NOW).unwrap_err().code, Code::Io);
}

//! A fake hierarchy, one changed field at a time: who signed an SNP report.

use super::pair::Pair;
use super::snp_case::{Case, HIERARCHY, NOW, ROOTS, refused};
use strongroom_appraisal::{Endorsements, Roots, authenticate};
use strongroom_devkit::amd::{ALWAYS, Authority, Vek, VekSpec};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::{Code, Realm, Root};

/// A sound case whose report is changed.
fn with_report(report: ReportSpec) -> Case {
    Case { report, ..Case::sound() }
}

fn with_spec(spec: VekSpec) -> Case {
    Case { spec, ..Case::sound() }
}

fn with_crls(crls: &[Vec<u8>]) -> Case {
    Case { crls: crls.to_vec(), ..Case::sound() }
}

fn with_intermediate(intermediate: &[u8]) -> Case {
    Case { intermediate: intermediate.to_vec(), ..Case::sound() }
}

/// A Turin case with another raw REPORTED_TCB.
fn turin(tcb: [u8; 8]) -> Case {
    let report = ReportSpec { tcb: Some(tcb), ..Case::turin().report };
    Case { report, ..Case::turin() }
}

fn chip(change: impl Fn(&mut [u8; 64])) -> Case {
    let mut chip: [u8; 64] = core::array::from_fn(|i| u8::try_from(i).unwrap());
    change(&mut chip);
    with_report(ReportSpec { chip_id: Some(chip), ..ReportSpec::default() })
}

pub(crate) fn pairs() -> Vec<Pair> {
    let row = |what: &str, accepted: Case, refused: Case, check, code| {
        Pair::new(what, || accepted.outcome(), || refused.outcome(), check, code)
    };
    let mut pairs: Vec<Pair> = report_rows()
        .into_iter()
        .chain(chain_rows())
        .chain(list_rows())
        .map(|(what, accepted, refused, check, code)| row(what, accepted, refused, check, code))
        .collect();
    let milan = [4, 0, 0, 0, 0, 0, 24, 219];
    for (at, what) in
        [(0, "boot loader"), (1, "TEE"), (2, "first reserved"), (5, "last reserved"), (6, "SNP"), (7, "microcode")]
    {
        let mut changed = milan;
        changed[at] ^= 1;
        let of = |tcb| with_report(ReportSpec { tcb: Some(tcb), ..ReportSpec::default() });
        pairs.push(row(&format!("Milan's {what}"), of(milan), of(changed), "reported-tcb", Code::TcbMismatch));
    }
    let sound = [1, 1, 1, 4, 0, 0, 0, 81];
    let names = ["FMC", "boot loader", "TEE", "SNP", "first reserved", "second reserved", "last reserved", "microcode"];
    for (at, what) in names.into_iter().enumerate() {
        let mut changed = sound;
        changed[at] ^= 1;
        pairs.push(row(&format!("Turin's {what}"), turin(sound), turin(changed), "reported-tcb", Code::TcbMismatch));
    }
    for (at, what) in [
        (0x2a0, "lowest byte of R"),
        (0x2cf, "highest byte of R"),
        (0x2d0, "padding of R"),
        (0x2e8, "lowest byte of S"),
        (0x32f, "padding of S"),
    ] {
        let flipped = Case { flip: Some(at), ..Case::sound() };
        pairs.push(row(what, Case::sound(), flipped, "signature", Code::EvidenceSignatureInvalid));
    }
    pairs
}

type Row = (&'static str, Case, Case, &'static str, Code);

fn report_rows() -> Vec<Row> {
    let key = Code::SigningKeyUnsupported;
    let of = |key_info| with_report(ReportSpec { key_info, ..ReportSpec::default() });
    let algorithm = |signature_algo| with_report(ReportSpec { signature_algo, ..ReportSpec::default() });
    let cpu = |cpuid| with_report(ReportSpec { cpuid, ..ReportSpec::default() });
    let short = |last| {
        let mut chip_id = [0; 64];
        chip_id[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        chip_id[8] = last;
        Case { report: ReportSpec { chip_id: Some(chip_id), ..Case::turin().report }, ..Case::turin() }
    };
    let version = |version| with_report(ReportSpec { version, ..ReportSpec::default() });
    let product = Code::ProductMismatch;
    vec![
        ("version above 5", version(5), version(6), "report-format", Code::VersionUnsupported),
        ("version below 2", version(2), version(1), "report-format", Code::VersionUnsupported),
        ("signature algorithm", algorithm(1), algorithm(2), "report-format", key),
        ("unsigned", of(0), of(7 << 2), "report-format", key),
        ("undefined signing key", of(0), of(2 << 2), "report-format", key),
        ("signing key of another kind", of(0), of(1 << 2), "endorsement-key", Code::EndorsementMissing),
        ("CPU model", cpu([0x19, 0x0f, 0]), cpu([0x19, 0x10, 0]), "product", product),
        ("CPU family", cpu([0x19, 0x01, 0]), cpu([0x17, 0x01, 0]), "product", product),
        ("first byte of the chip id", chip(|_| {}), chip(|id| id[0] ^= 1), "chip-id", Code::ChipIdMismatch),
        ("last byte of the chip id", chip(|_| {}), chip(|id| id[63] ^= 1), "chip-id", Code::ChipIdMismatch),
        ("padding of Turin's chip id", short(0), short(9), "chip-id", Code::ChipIdMismatch),
    ]
}

fn chain_rows() -> Vec<Row> {
    let (early, late) = (Code::CertificateNotYetValid, Code::CertificateExpired);
    let unsuitable = Code::CertificateUnsuitable;
    let key = |validity| with_spec(VekSpec { validity, ..VekSpec::default() });
    let ask = |validity| with_intermediate(&HIERARCHY.ask.reissue(&HIERARCHY.ark, 3, validity).unwrap());
    let named = |subject: &str| with_spec(VekSpec { subject: subject.into(), ..VekSpec::default() });
    let hwid = |hwid| with_spec(VekSpec { hwid, ..VekSpec::default() });
    let whole = || Some((0..64).collect::<Vec<u8>>());
    let csp = |csp_id| Case { spec: VekSpec { csp_id, ..VekSpec::vlek() }, ..Case::vlek() };
    let stranger = HIERARCHY.ark.intermediate("SEV-Milan", 7, ALWAYS).unwrap();
    let other = Authority::root("ARK-Milan", ALWAYS).unwrap();
    let crossed = HIERARCHY.ask.reissue(&other, 9, ALWAYS).unwrap();
    let forged = Code::CertificateSignatureInvalid;
    vec![
        ("key's notBefore", key(NOW..NOW + 9), key(NOW + 1..NOW + 9), "validity", early),
        ("key's notAfter", key(NOW - 9..NOW), key(NOW - 9..NOW - 1), "validity", late),
        ("intermediate's notBefore", ask(NOW..NOW + 9), ask(NOW + 1..NOW + 9), "validity", early),
        ("intermediate's notAfter", ask(NOW - 9..NOW), ask(NOW - 9..NOW - 1), "validity", late),
        ("key's subject", named("SEV-VCEK"), named("SEV-VCEX"), "endorsement-key", Code::EndorsementMissing),
        ("chip's id in the certificate", hwid(whole()), hwid(None), "endorsement-key", unsuitable),
        ("length of that id", hwid(whole()), hwid(Some((0..63).collect())), "endorsement-key", Code::Malformed),
        ("provider in the certificate", csp(Some("a".into())), csp(None), "endorsement-key", unsuitable),
        (
            "intermediate of the other kind of key",
            Case::sound(),
            with_intermediate(HIERARCHY.asvk.certificate()),
            "intermediate",
            Code::IntermediateMissing,
        ),
        ("intermediate of that name", Case::sound(), with_intermediate(stranger.certificate()), "intermediate", forged),
        ("intermediate's signature", Case::sound(), with_intermediate(&crossed), "root", forged),
    ]
}

fn list_rows() -> Vec<Row> {
    let serial = 0x01_00_01;
    let of = |serials: &[u32], window| HIERARCHY.ark.crl(serials, window).unwrap();
    let window = || NOW - 10..NOW + 10;
    let until = |ends| with_crls(&[of(&[], NOW - 10..ends)]);
    let from = |begins| with_crls(&[of(&[], begins..NOW + 10)]);
    let naming = |serial| with_crls(&[of(&[serial], window())]);
    let stale = |serial| with_crls(&[of(&[], window()), of(&[serial], NOW - 99..NOW - 50)]);
    let signed = of(&[], window());
    let mut forged = signed.clone();
    *forged.last_mut().unwrap() ^= 1;
    let revoked = Code::CertificateRevoked;
    vec![
        ("list's nextUpdate", until(NOW), until(NOW - 1), "revocation", Code::CrlExpired),
        ("list's thisUpdate", from(NOW), from(NOW + 1), "revocation", Code::CrlExpired),
        ("serial on the list", naming(serial + 1), naming(serial), "revocation", revoked),
        ("root's own serial on the list", naming(serial + 1), naming(0x01_00_00), "revocation", revoked),
        ("serial on a stale list beside a current one", stale(serial + 1), stale(serial), "revocation", revoked),
        ("list's signature", with_crls(&[signed]), with_crls(&[forged]), "revocation", Code::CrlSignatureInvalid),
    ]
}

#[test]
fn each_departure_of_report_chain_or_list_refused_by_its_own_check_and_its_twin_authentic() {
    Pair::hold(pairs());
}

#[test]
fn sound_vcek_report_authentic_under_its_test_root() {
    let authentic = Case::sound().run().unwrap();
    let key = HIERARCHY.ark.key_digest().unwrap();
    assert_eq!(authentic.root(), Root::Test(key));
    assert_eq!(ROOTS.realm(), Realm::Test(key));
    assert_eq!(authentic.product(), "Milan");
    assert!(authentic.checks().iter().all(|check| check.ok));
}

#[test]
fn sound_vlek_report_of_version_2_authentic_without_a_chip_id() {
    assert_eq!(Case::vlek().run().unwrap().provider(), Some("devkit cloud"));
}

#[test]
fn every_flipped_byte_of_the_signed_part_refused() {
    // Every byte once; the exhaustive bit by bit run belongs to the deeper suite. Fields that parsing looks at before the
    // signature may refuse with a code of their own.
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    for at in 0..0x2a0 {
        let code = Case { flip: Some(at), ..Case::sound() }.run_with(&vek).expect_err("accepted");
        let own = [Code::VersionUnsupported, Code::SigningKeyUnsupported, Code::EndorsementMissing];
        assert!(code == Code::EvidenceSignatureInvalid || own.contains(&code), "{at:#x}: {code}");
    }
}

#[test]
fn chain_that_ends_at_another_root_refused() {
    let other = Authority::root("ARK-Milan", ALWAYS).unwrap();
    let crossed = HIERARCHY.ask.reissue(&other, 9, ALWAYS).unwrap();
    // Without the foreign root at hand the signature under the trusted root of that name simply fails.
    assert_eq!(refused(Case { intermediate: crossed.clone(), ..Case::sound() }), Code::CertificateSignatureInvalid);
    // With it, the chain is whole and ends elsewhere.
    let mut endorsements = Endorsements::new();
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    for der in [&vek.certificate, &crossed, &other.certificate().to_vec()] {
        endorsements.add(der).unwrap();
    }
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    assert_eq!(authenticate(&evidence, &endorsements, &ROOTS, NOW).unwrap_err().code, Code::RootUntrusted);
}

#[test]
fn test_hierarchy_under_amds_roots_refused() {
    let mut endorsements = Endorsements::new();
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    endorsements.add(&HIERARCHY.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    assert!(authenticate(&evidence, &endorsements, &ROOTS, NOW).is_ok());
    let amd = Roots::builtin().unwrap();
    assert_eq!(authenticate(&evidence, &endorsements, &amd, NOW).unwrap_err().code, Code::RootUntrusted);
}

#[test]
fn endorsement_key_as_intermediate_refused() {
    // An authority by name and signature, without the right to be one.
    let spec = VekSpec { subject: "SEV-Milan".into(), ..VekSpec::default() };
    let leaf = HIERARCHY.ark.issue(spec).unwrap();
    let code = refused(Case { intermediate: leaf.certificate, ..Case::sound() });
    assert_eq!(code, Code::CertificateSignatureInvalid);
}

#[test]
fn validity_holds_to_the_second() {
    let spec = VekSpec { validity: 1000..2000, ..VekSpec::default() };
    let ark = HIERARCHY.ark.reissue(&HIERARCHY.ark, 1, 0..4000).unwrap();
    let roots = Roots::test(&ark).unwrap();
    let ask = HIERARCHY.ask.reissue(&HIERARCHY.ark, 2, 500..3000).unwrap();
    let vek = HIERARCHY.issue(spec).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&vek.certificate).unwrap();
    endorsements.add(&ask).unwrap();
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    let at = |now| authenticate(&evidence, &endorsements, &roots, now).map(|_| ()).map_err(|refusal| refusal.code);
    assert_eq!(at(999), Err(Code::CertificateNotYetValid));
    assert_eq!((at(1000), at(2000)), (Ok(()), Ok(())));
    assert_eq!(at(2001), Err(Code::CertificateExpired));
}

#[test]
fn list_of_the_intermediate_revokes_endorsement_keys_and_bounds_what_is_kept() {
    let window = NOW - 10..NOW + 10;
    let with = |crl: Vec<u8>| Case { crls: vec![crl], ..Case::sound() }.run();
    // Endorsement keys carry serial 0.
    let authentic = with(HIERARCHY.ask.crl(&[1], window.clone()).unwrap()).unwrap();
    assert_eq!(authentic.endorsement_key().valid(), NOW - 10..=NOW + 10);
    assert!(!authentic.revocation_judged());
    assert_eq!(with(HIERARCHY.ask.crl(&[0], window).unwrap()).unwrap_err(), Code::CertificateRevoked);
}

#[test]
fn revocation_lists_judge_where_they_are_given() {
    let serial = 0x01_00_01;
    let window = NOW - 10..NOW + 10;
    let with = |crl: Vec<u8>| Case { crls: vec![crl], ..Case::sound() }.run().map(|report| report.revocation_judged());
    assert_eq!(Case::sound().run().map(|report| report.revocation_judged()), Ok(false));
    assert_eq!(with(HIERARCHY.ark.crl(&[], window.clone()).unwrap()), Ok(true));
    assert_eq!(with(HIERARCHY.ark.crl(&[serial + 1], window.clone()).unwrap()), Ok(true));
    assert_eq!(with(HIERARCHY.ark.crl(&[serial], window.clone()).unwrap()), Err(Code::CertificateRevoked));
    assert_eq!(with(HIERARCHY.ark.crl(&[], NOW - 10..NOW - 1).unwrap()), Err(Code::CrlExpired));
    assert_eq!(with(HIERARCHY.ark.crl(&[], NOW + 1..NOW + 10).unwrap()), Err(Code::CrlExpired));
    let mut forged = HIERARCHY.ark.crl(&[], window).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(with(forged), Err(Code::CrlSignatureInvalid));
}

#[test]
fn report_of_another_tcb_refused_in_each_component() {
    for changed in [
        [5, 0, 0, 0, 0, 0, 24, 219],
        [4, 1, 0, 0, 0, 0, 24, 219],
        [4, 0, 0, 0, 0, 0, 23, 219],
        [4, 0, 0, 0, 0, 0, 24, 218],
        [4, 0, 1, 0, 0, 0, 24, 219],
    ] {
        let report = ReportSpec { tcb: Some(changed), ..ReportSpec::default() };
        assert_eq!(refused(Case { report, ..Case::sound() }), Code::TcbMismatch, "{changed:?}");
    }
}

#[test]
fn report_of_another_chip_refused() {
    let mut chip: [u8; 64] = core::array::from_fn(|i| u8::try_from(i).unwrap());
    let same = ReportSpec { chip_id: Some(chip), ..ReportSpec::default() };
    assert!(Case { report: same, ..Case::sound() }.run().is_ok());
    chip[63] ^= 1;
    let other = ReportSpec { chip_id: Some(chip), ..ReportSpec::default() };
    assert_eq!(refused(Case { report: other, ..Case::sound() }), Code::ChipIdMismatch);
}

#[test]
fn turin_report_with_its_short_chip_id_authentic_and_with_more_of_it_refused() {
    let turin = |chip_id| {
        let report = ReportSpec { cpuid: [0x1a, 0x02, 0x01], version: 5, chip_id, ..ReportSpec::default() };
        Case { spec: VekSpec::turin(), report, ..Case::sound() }.run()
    };
    let mut chip = [0; 64];
    chip[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(turin(Some(chip)).unwrap().tcb().fmc, Some(1));
    chip[8] = 9;
    assert_eq!(turin(Some(chip)).unwrap_err(), Code::ChipIdMismatch);
}

#[test]
fn kept_endorsement_key_authenticates_its_own_reports_within_its_dates_and_nothing_else() {
    let vek = HIERARCHY.issue(VekSpec { validity: NOW - 100..NOW + 100, ..VekSpec::default() }).unwrap();
    let crl = HIERARCHY.ark.crl(&[], NOW - 50..NOW + 50).unwrap();
    let first = Case { crls: vec![crl], ..Case::sound() }.run_with(&vek).unwrap();
    let kept = first.endorsement_key();
    assert_eq!(kept.valid(), NOW - 50..=NOW + 50);
    let code = |report: &ReportSpec, vek: &Vek, now| {
        kept.authenticate(&report.sign(vek).unwrap(), now).map(|report| report.revocation_judged()).map_err(|e| e.code)
    };
    let report = ReportSpec::default();
    assert_eq!(code(&report, &vek, NOW), Ok(true));
    assert_eq!((code(&report, &vek, NOW - 50), code(&report, &vek, NOW + 50)), (Ok(true), Ok(true)));
    assert_eq!(code(&report, &vek, NOW - 51), Err(Code::CertificateNotYetValid));
    assert_eq!(code(&report, &vek, NOW + 51), Err(Code::CertificateExpired));
    let other = HIERARCHY.issue(VekSpec::default()).unwrap();
    assert_eq!(code(&report, &other, NOW), Err(Code::EvidenceSignatureInvalid));
    assert_eq!(
        code(&ReportSpec { key_info: 1 << 2, ..ReportSpec::default() }, &vek, NOW),
        Err(Code::SigningKeyUnsupported)
    );
    assert_eq!(
        code(&ReportSpec { chip_id: Some([1; 64]), ..ReportSpec::default() }, &vek, NOW),
        Err(Code::ChipIdMismatch)
    );
    let tcb = Some([4, 0, 0, 0, 0, 0, 24, 218]);
    assert_eq!(code(&ReportSpec { tcb, ..ReportSpec::default() }, &vek, NOW), Err(Code::TcbMismatch));
}

#[test]
fn sev_crate_verifies_the_same_chain_and_report() {
    use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
    use sev::firmware::guest::AttestationReport;
    use sev::parser::ByteParser;
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    let evidence = ReportSpec { version: 3, ..ReportSpec::default() }.sign(&vek).unwrap();
    let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
    let ca = ca::Chain { ark: certificate(HIERARCHY.ark.certificate()), ask: certificate(HIERARCHY.ask.certificate()) };
    let chain = Chain { ca, vek: certificate(&vek.certificate) };
    let report = AttestationReport::from_bytes(&evidence).unwrap();
    (&chain, &report).verify().unwrap();
    let mut other = evidence;
    other[0x90] ^= 1;
    let report = AttestationReport::from_bytes(&other).unwrap();
    assert!((&chain, &report).verify().is_err());
}

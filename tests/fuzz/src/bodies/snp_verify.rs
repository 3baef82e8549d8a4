//! Changed evidence of an SNP guest, bare or Azure's, before the whole verification: accepted is what its hardware signed, or
//! nothing.

use super::super::fixtures::{self, CRL_NUMBER, CRL_WINDOW, DEPLOYMENT, NONCE, NOW, REPORT_DATA, file};
use super::super::mutation::Script;
use std::sync::LazyLock;
use strongroom_appraisal::azure::authenticate_snp;
use strongroom_appraisal::{AuthenticReport, Endorsements, Expected, Policy, Roots, Verdict, appraise, authenticate};
use strongroom_devkit::amd::ALWAYS;
use strongroom_devkit::azure::hcl_report;
use strongroom_devkit::intel::pem_chain;
use strongroom_wire::azure::Evidence;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::{CertificateKind, CertificateTable, TableEntry};
use strongroom_wire::{Refusal, Result, Root, azure};

/// Parts of the evidence, in the order in which changes name them.
const REPORT: usize = 0;
const VEK: usize = 1;
const INTERMEDIATE: usize = 2;
const ARK: usize = 3;
const CRL: usize = 4;
const RUNTIME: usize = 5;
const MESSAGE: usize = 6;
const SIGNATURE: usize = 7;
const PCRS: usize = 8;

/// Moments at which it is judged: within all validity, beside the revocation list's, and beside everything's.
const MOMENTS: [u64; 6] = [NOW, NOW, CRL_WINDOW.start - 1, CRL_WINDOW.end + 1, ALWAYS.start - 1, ALWAYS.end + 1];

pub static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::test(file("ark")).unwrap());

pub static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let (measurement, deployment) = ("4d".repeat(48), "d0".repeat(32));
    let text = format!(
        "version = 1\n[snp]\nmeasurement = {{ exactly = '{measurement}' }}\ndeployment = {{ exactly = '{deployment}' }}\n\
         tcb = {{ at-least = {{ bootloader = 4, tee = 0, snp = 24, microcode = 219 }} }}\n\
         product = {{ exactly = 'Milan' }}\nchip = {{ any = {{ because = 'fuzzing' }} }}\n"
    );
    Policy::parse(text.as_bytes()).unwrap()
});

static OTHERS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| {
    let own = fixtures::SNP.iter().flat_map(|name| [file(&format!("{name}-report")), file(&format!("{name}-vek"))]);
    own.chain([file("ask"), file("asvk"), file("ark"), file("crl"), file("azure-runtime"), file("intel-root")])
        .collect()
});

/// The evidence of a guest, in parts.
pub fn parts(guest: &str) -> Vec<Vec<u8>> {
    let issuer = if guest == "vlek" { "asvk" } else { "ask" };
    let names = [&format!("{guest}-report"), &format!("{guest}-vek"), issuer, "ark", "crl"];
    let azure = ["azure-runtime", "azure-message", "azure-signature", "azure-pcrs"];
    names.iter().copied().chain(azure).map(|name| file(name).to_vec()).collect()
}

pub fn run(input: &[u8]) {
    let _ = is_authentic(input);
}

/// Which guest, how its endorsements are carried, when it is judged, changes of its parts, changes of the whole.
pub fn is_authentic(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let guest = fixtures::SNP[usize::from(script.byte()) % fixtures::SNP.len()];
    let carried = script.byte();
    let now = MOMENTS[usize::from(script.byte()) % MOMENTS.len()];
    let mut parts = parts(guest);
    script.change(&mut parts, &OTHERS);
    let Ok(endorsements) = endorsements(&mut script, &parts, carried) else { return false };
    if guest == "azure" {
        return is_authentic_azure(&parts, &endorsements, now);
    }
    let Ok(authentic) = authenticate(&parts[REPORT], &endorsements, &ROOTS, now) else { return false };
    assert_genuine(&authentic, now);
    assert_kept_key_agrees(&authentic, now);
    judge(&authentic);
    true
}

/// In a table, as PEM, or one by one.
fn endorsements(script: &mut Script<'_>, parts: &[Vec<u8>], carried: u8) -> Result<Endorsements> {
    let mut endorsements = Endorsements::new();
    let kinds = [(VEK, CertificateKind::Vcek), (INTERMEDIATE, CertificateKind::Ask), (ARK, CertificateKind::Ark)];
    match carried % 4 {
        0 => {
            let entry = |(part, kind): (usize, CertificateKind)| TableEntry { kind, data: parts[part].clone() };
            let entries = kinds.into_iter().chain([(CRL, CertificateKind::Crl)]).map(entry).collect();
            let mut table = [CertificateTable { entries }.encode()?];
            script.change(&mut table, &OTHERS);
            endorsements.add(&table[0])?;
        }
        1 => {
            let mut pem = [pem_chain(&[&parts[VEK], &parts[INTERMEDIATE], &parts[ARK]])?.into_bytes()];
            script.change(&mut pem, &OTHERS);
            endorsements.add(&pem[0])?;
            endorsements.add(&parts[CRL])?;
        }
        // With the revocation list, and without it.
        with_list => {
            let list = (with_list == 2).then_some(CRL);
            [VEK, INTERMEDIATE].into_iter().chain(list).try_for_each(|part| endorsements.add(&parts[part]))?;
        }
    }
    Ok(endorsements)
}

fn is_authentic_azure(parts: &[Vec<u8>], endorsements: &Endorsements, now: u64) -> bool {
    let Ok(evidence) = evidence(parts) else { return false };
    let Ok(authentic) = authenticate_snp(&evidence, NONCE, endorsements, &ROOTS, now) else { return false };
    assert_genuine(authentic.hardware(), now);
    assert_eq!(authentic.hardware().report().signed(), &file("azure-report")[..0x2a0]);
    assert_eq!(authentic.quote().raw(), file("azure-message"));
    assert_eq!(authentic.pcrs().as_flattened(), file("azure-pcrs"));
    assert_eq!(*authentic.runtime(), azure::HclReport::parse(&sound_hcl_report()).unwrap().runtime);
    true
}

fn evidence(parts: &[Vec<u8>]) -> Result<Evidence> {
    let runtime = core::str::from_utf8(&parts[RUNTIME]).map_err(|e| Refusal::malformed("runtime data", e))?;
    let (pcrs, _) = parts[PCRS].as_chunks();
    Ok(Evidence {
        hcl_report: hcl_report(strongroom_devkit::azure::SNP, &parts[REPORT], runtime)?,
        message: parts[MESSAGE].clone(),
        signature: parts[SIGNATURE].clone(),
        pcrs: pcrs.try_into().map_err(|e| Refusal::malformed("PCRs", e))?,
        td_quote: None,
        vcek: None,
    })
}

fn sound_hcl_report() -> Vec<u8> {
    let runtime = core::str::from_utf8(file("azure-runtime")).unwrap();
    hcl_report(strongroom_devkit::azure::SNP, file("azure-report"), runtime).unwrap()
}

/// What was signed, by the report's key, by the intermediate and by the root, is what it was when it was signed. Free are
/// only: the report's bytes behind its signature; the order and names of endorsements and what lies between them; the
/// values of signatures, as an ECDSA signature has a twin and DER in PEM has white space; and whether a list was given.
fn assert_genuine(authentic: &AuthenticReport, now: u64) {
    let genuine = |guest: &&&str| file(&format!("{guest}-report"))[..0x2a0] == *authentic.report().signed();
    let guest = *fixtures::SNP.iter().find(genuine).expect("a report that was signed");
    let tcb = |fmc, bootloader, tee, snp, microcode| (fmc, bootloader, tee, snp, microcode);
    let (product, provider, wanted) = match guest {
        "turin" => ("Turin", None, tcb(Some(1), 1, 1, 4, 81)),
        "vlek" => ("Milan", Some("devkit cloud"), tcb(None, 4, 0, 24, 219)),
        _ => ("Milan", None, tcb(None, 4, 0, 24, 219)),
    };
    let got = authentic.tcb();
    assert_eq!(tcb(got.fmc, got.bootloader, got.tee, got.snp, got.microcode), wanted);
    assert_eq!((authentic.product(), authentic.provider()), (product, provider));
    assert!(
        matches!((authentic.root(), ROOTS.realm()), (Root::Test(got), strongroom_wire::Realm::Test(want)) if got == want)
    );
    let valid = authentic.endorsement_key().valid();
    assert!(ALWAYS.contains(&now) && valid.contains(&now));
    let (wanted, number) = if authentic.revocation_judged() {
        (CRL_WINDOW.start..=CRL_WINDOW.end, Some(CRL_NUMBER))
    } else {
        (ALWAYS.start..=ALWAYS.end, None)
    };
    assert_eq!((valid, authentic.crl_number()), (wanted, number));
    assert!(authentic.checks().iter().all(|check| check.ok));
}

/// The kept key says of the same report what the whole verification said.
fn assert_kept_key_agrees(authentic: &AuthenticReport, now: u64) {
    let again = authentic.endorsement_key().authenticate(authentic.report().raw(), now).expect("authentic again");
    assert_eq!(again.report(), authentic.report());
}

fn judge(authentic: &AuthenticReport) {
    let expected = Expected { report_data: Some(REPORT_DATA), deployment: Some(Sha256(DEPLOYMENT)) };
    let appraisal = appraise(authentic, &POLICY, &expected);
    let genuine = authentic.report().signed() == &file("vcek-report")[..0x2a0] && authentic.revocation_judged();
    let accepted = appraisal.verdict() == Verdict::Accepted;
    // Not the other way round: bytes behind the signature that are not zero are refused by policy.
    assert!(genuine || !accepted);
    assert_eq!(appraisal.into_verified().is_ok(), accepted);
}

//! What a vendor, or a guest's hardware, might sign: content that no check stops before it is read and judged. Everything
//! here is signed by keys that the verification trusts, and says whatever the input says.

use super::super::mutation::Script;
use std::sync::{Arc, LazyLock};
use strongroom_appraisal::tdx::{self, TcbStatus};
use strongroom_appraisal::{Endorsements, Expected, Roots, Verdict, VerifiedVek, appraise, authenticate};
use strongroom_devkit::amd::{self, Vek, VekSpec};
use strongroom_devkit::intel::{self, CollateralSpec, Pck, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::{REPORT_LEN, SIGNED_LEN};

use super::super::fixtures::{DEPLOYMENT, NOW, REPORT_DATA};
use super::{snp_verify, tdx_verify};

const EXPECTED: Expected = Expected { report_data: Some(REPORT_DATA), deployment: Some(Sha256(DEPLOYMENT)) };

/// An endorsement key, and what was verified of it: with a revocation list, so that nothing stands against acceptance.
static CHIP: LazyLock<(Vek, Arc<VerifiedVek>)> = LazyLock::new(|| {
    let hierarchy = amd::Hierarchy::shared().unwrap();
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&hierarchy.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
    let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
    let report = ReportSpec::default().sign(&vek).unwrap();
    let kept = Arc::clone(authenticate(&report, &endorsements, &roots, NOW).unwrap().endorsement_key());
    (vek, kept)
});

struct Platform {
    hierarchy: intel::Hierarchy,
    pck: Pck,
    roots: Roots,
    quote: Vec<u8>,
}

static PLATFORM: LazyLock<Platform> = LazyLock::new(|| {
    let hierarchy = intel::Hierarchy::generate().unwrap();
    let pck = hierarchy.issue(PckSpec::default()).unwrap();
    let quote = QuoteSpec::default().sign(&pck).unwrap();
    let roots = Roots::test(hierarchy.root.certificate()).unwrap();
    Platform { hierarchy, pck, roots, quote }
});

pub fn run(input: &[u8]) {
    super::choose(input, &[report, quote, tcb_info, qe_identity, pck]);
}

/// The report of [`guest`], its signed part changed before it is signed.
fn report(input: &[u8]) {
    let (vek, kept) = &*CHIP;
    let sound = guest().sign(vek).unwrap();
    let mut changed = [sound[..SIGNED_LEN].to_vec()];
    Script::new(input).change(&mut changed, &[&sound]);
    let raw: Vec<(usize, u8)> = changed[0].iter().copied().enumerate().take(SIGNED_LEN).collect();
    let bytes = ReportSpec { raw, ..guest() }.sign(vek).unwrap();
    assert_eq!(bytes.len(), REPORT_LEN);
    let Ok(authentic) = kept.authenticate(&bytes, NOW) else { return };
    let (appraisal, report) = (appraise(&authentic, &snp_verify::POLICY, &EXPECTED), authentic.report());
    if appraisal.verdict() == Verdict::Accepted {
        assert_eq!((report.measurement, report.host_data, report.report_data), ([0x4d; 48], DEPLOYMENT, REPORT_DATA));
        assert!(report.vmpl == 0 && report.policy.0 & 1 << 19 == 0 && report.policy.0 & 1 << 18 == 0);
        assert!(report.reserved_not_zero.is_empty(), "{:x?}", report.reserved_not_zero);
        assert_eq!(authentic.tcb(), VekSpec::default().tcb);
    }
}

fn guest() -> ReportSpec {
    ReportSpec { report_data: REPORT_DATA, host_data: DEPLOYMENT, ..ReportSpec::default() }
}

/// A quote whose fields are the input's.
fn quote(input: &[u8]) {
    let mut script = Script::new(input);
    let mut sixteen = |sound: [u8; 16]| script.one_of(sound);
    let tee_tcb_svn = sixteen([5, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let qe_attributes = sixteen(QuoteSpec::default().qe_attributes);
    let mut mrconfigid = [0; 48];
    mrconfigid[..32].copy_from_slice(&DEPLOYMENT);
    let (version, body_type) = [(4, 2), (5, 2), (5, 3), (5, 4)][usize::from(script.byte() % 4)];
    let spec = QuoteSpec {
        version,
        body_type,
        tee_tcb_svn,
        qe_attributes,
        header_reserved: script.one_of([0; 4]),
        mrsignerseam: script.one_of([0; 48]),
        seam_attributes: script.one_of([0; 8]),
        td_attributes: u64::from_le_bytes(script.one_of((1_u64 << 28).to_le_bytes())),
        xfam: u64::from_le_bytes(script.one_of(0x0006_02e7_u64.to_le_bytes())),
        mrconfigid: script.one_of(mrconfigid),
        mrtd: script.one_of([0x4d; 48]),
        report_data: script.one_of(REPORT_DATA),
        mrservicetd: script.one_of([0; 48]),
        vmid: script.one_of([0])[0],
        qe_isv_svn: u16::from_le_bytes(script.one_of([4, 0])),
        qe_isv_prod_id: u16::from_le_bytes(script.one_of([2, 0])),
        qe_miscselect: script.one_of([0; 4]),
        ..QuoteSpec::default()
    };
    let bytes = spec.sign(&PLATFORM.pck).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&sound_collateral()).unwrap();
    let Ok(authentic) = tdx::authenticate(&bytes, &endorsements, &PLATFORM.roots, NOW) else { return };
    let appraisal = tdx::appraise(&authentic, &tdx_verify::POLICY, &EXPECTED);
    if appraisal.verdict() == Verdict::Accepted {
        assert_eq!((spec.mrtd, spec.mrconfigid, spec.report_data), ([0x4d; 48], mrconfigid, REPORT_DATA));
        assert!(spec.td_attributes & 1 == 0 && spec.td_attributes & 1 << 29 == 0 && spec.qe_isv_svn >= 4);
        assert_eq!((spec.mrsignerseam, authentic.tcb_status()), ([0; 48], TcbStatus::UpToDate));
        assert!(body_type == 2 || (spec.mrservicetd == [0; 48] && (body_type == 3 || spec.vmid == 0)));
    }
}

fn sound_collateral() -> Vec<u8> {
    PLATFORM.hierarchy.collateral(&CollateralSpec::default()).unwrap()
}

fn tcb_info(input: &[u8]) {
    with_signed("tcb_info", input);
}

fn qe_identity(input: &[u8]) {
    with_signed("qe_identity", input);
}

/// Collateral in which one of the two texts is the input, well signed: bare, or changes of the sound one.
fn with_signed(member: &str, input: &[u8]) {
    let mut document: serde_json::Value = serde_json::from_slice(&sound_collateral()).unwrap();
    let Some((bare, input)) = input.split_first() else { return };
    let mut text = [document[member].as_str().unwrap().as_bytes().to_vec()];
    if *bare == b'{' {
        text = [input.to_vec()];
    } else {
        let sound = text[0].clone();
        Script::new(input).change(&mut text, &[&sound]);
    }
    let Ok(text) = core::str::from_utf8(&text[0]) else { return };
    let signature = PLATFORM.hierarchy.tcb_signing.sign(text.as_bytes()).unwrap();
    document[member] = text.into();
    document[format!("{member}_signature")] = hex::encode(signature).into();
    let mut endorsements = Endorsements::new();
    endorsements.add(document.to_string().as_bytes()).unwrap();
    let Ok(authentic) = tdx::authenticate(&PLATFORM.quote, &endorsements, &PLATFORM.roots, NOW) else { return };
    let collateral = authentic.platform().collateral();
    assert_eq!(collateral.fmspc(), PckSpec::default().fmspc);
    assert!(authentic.platform().valid().contains(&NOW));
    let _ = tdx::appraise(&authentic, &tdx_verify::POLICY, &EXPECTED);
}

/// A platform's certificate whose SGX extensions are the input.
fn pck(input: &[u8]) {
    let hierarchy = &PLATFORM.hierarchy;
    let mut extensions = [PLATFORM.pck.spec.extensions().unwrap()];
    let sound = extensions[0].clone();
    match input.split_first() {
        Some((0x30, _)) => extensions = [input.to_vec()],
        _ => Script::new(input).change(&mut extensions, &[&sound]),
    }
    let [extensions] = extensions;
    let pck = hierarchy.issue(PckSpec { raw_extensions: Some(extensions), ..PckSpec::default() }).unwrap();
    let quote = QuoteSpec::default().sign(&pck).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&sound_collateral()).unwrap();
    if let Ok(authentic) = tdx::authenticate(&quote, &endorsements, &PLATFORM.roots, NOW) {
        assert_eq!(authentic.platform().facts().fmspc, PckSpec::default().fmspc);
    }
}

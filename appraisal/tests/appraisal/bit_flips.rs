//! x
use super::{snp_case, tdx_case};
use std::time::Instant;
use strongroom_appraisal::{Endorsements, authenticate, tdx};
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::intel::{CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;

#[test]
fn measure() {
    let h = &snp_case::HIERARCHY;
    let vek = h.issue(VekSpec::default()).unwrap();
    let report = ReportSpec::default().sign(&vek).unwrap();
    let crl = h.ark.crl(&[7], 1_799_000_000..1_801_000_000).unwrap();
    let run = || {
        let mut e = Endorsements::new();
        for d in [&vek.certificate[..], h.ask.certificate(), &crl] {
            e.add(d).unwrap();
        }
        let t = Instant::now();
        let a = authenticate(&report, &e, &snp_case::ROOTS, 1_800_000_000).unwrap();
        (t.elapsed(), a)
    };
    let t = Instant::now();
    for _ in 0..100 {
        run();
    }
    eprintln!(
        "snp full {:?}, auth {:?}; vek {} ask {} crl {}",
        t.elapsed() / 100,
        run().0,
        vek.certificate.len(),
        h.ask.certificate().len(),
        crl.len()
    );
    let k = run().1.endorsement_key().clone();
    let t = Instant::now();
    for _ in 0..100 {
        k.authenticate(&report, 1_800_000_000).unwrap();
    }
    eprintln!("snp kept {:?}", t.elapsed() / 100);
    let h = &tdx_case::HIERARCHY;
    let pck = h.issue(PckSpec::default()).unwrap();
    let quote = QuoteSpec::default().sign(&pck).unwrap();
    let coll = h.collateral(&CollateralSpec::default()).unwrap();
    let t = Instant::now();
    for _ in 0..50 {
        tdx::Collateral::parse(&coll).unwrap();
    }
    eprintln!("coll parse {:?} len {} quote {}", t.elapsed() / 50, coll.len(), quote.len());
    let c = tdx::Collateral::parse(&coll).unwrap();
    let t = Instant::now();
    for _ in 0..50 {
        tdx::VerifiedCollateral::verify(&c, &tdx_case::ROOTS, 1_800_000_000).unwrap();
    }
    eprintln!("coll verify {:?}", t.elapsed() / 50);
    let mut e = Endorsements::new();
    e.add(&coll).unwrap();
    let t = Instant::now();
    for _ in 0..50 {
        tdx::authenticate(&quote, &e, &tdx_case::ROOTS, 1_800_000_000).unwrap();
    }
    eprintln!("tdx full {:?}", t.elapsed() / 50);
    let p = tdx::authenticate(&quote, &e, &tdx_case::ROOTS, 1_800_000_000).unwrap().platform().clone();
    let t = Instant::now();
    for _ in 0..50 {
        p.authenticate(&quote, 1_800_000_000).unwrap();
    }
    eprintln!("tdx kept {:?}", t.elapsed() / 50);
    let d: serde_json::Value = serde_json::from_slice(&coll).unwrap();
    for (k, v) in d.as_object().unwrap() {
        eprintln!("{k} {}", v.as_str().unwrap().len());
    }
}

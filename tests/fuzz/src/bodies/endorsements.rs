//! Endorsements and roots as they come: certificates, lists, tables and collateral in DER, PEM and JSON. None of them signs
//! anything: they are given for a sound report and a sound quote, and change nothing but whether these are refused.

use super::super::fixtures::{NOW, file};
use super::super::mutation::Script;
use super::{snp_verify, tdx_verify};
use strongroom_appraisal::{Endorsements, Roots, authenticate, tdx};
use strongroom_wire::{Realm, limits};

pub fn run(input: &[u8]) {
    super::choose(input, &[raw, changed, roots, event_log]);
}

fn raw(input: &[u8]) {
    judge(input);
    if let Ok(collateral) = tdx::Collateral::parse(input) {
        let _ = tdx::VerifiedCollateral::verify(&collateral, &tdx_verify::ROOTS, NOW);
    }
}

/// One of the vendors' files, changed.
fn changed(input: &[u8]) {
    let mut script = Script::new(input);
    let names = ["ark", "ask", "vcek-vek", "turin-vek", "vlek-vek", "crl", "intel-root", "pck", "collateral"];
    let files = names.map(file);
    let mut changed = [files[usize::from(script.byte()) % files.len()].to_vec()];
    script.change(&mut changed, &files);
    judge(&changed[0]);
}

/// Beside a stranger's endorsements, a sound report is what it is.
fn judge(endorsement: &[u8]) {
    let mut endorsements = Endorsements::new();
    let added = endorsements.add(endorsement);
    assert!(added.is_err() || endorsement.len() <= limits::ENDORSEMENT);
    for sound in ["vcek-vek", "ask"] {
        if endorsements.add(file(sound)).is_err() {
            return;
        }
    }
    if let Ok(authentic) = authenticate(file("vcek-report"), &endorsements, &snp_verify::ROOTS, NOW) {
        assert_eq!((authentic.product(), authentic.report().raw().as_slice()), ("Milan", file("vcek-report")));
    }
    if let Ok(authentic) = tdx::authenticate(file("v4-quote"), &endorsements, &tdx_verify::ROOTS, NOW) {
        assert_eq!(authentic.tcb_status(), tdx::TcbStatus::UpToDate);
    }
}

/// A root that is nobody's vouches for no evidence of another root.
fn roots(input: &[u8]) {
    let Ok(roots) = Roots::named(&[input]) else { return };
    let mut endorsements = Endorsements::new();
    ["vcek-vek", "ask"].into_iter().for_each(|name| endorsements.add(file(name)).unwrap());
    if authenticate(file("vcek-report"), &endorsements, &roots, NOW).is_ok() {
        assert_eq!(roots.realm(), snp_verify::ROOTS.realm());
    }
    assert!(matches!(roots.realm(), Realm::Test(_)) || Roots::test(input).is_err());
}

/// A log that is held against an authentic quote.
fn event_log(input: &[u8]) {
    let mut endorsements = Endorsements::new();
    endorsements.add(file("collateral")).unwrap();
    let authentic = tdx::authenticate(file("v4-quote"), &endorsements, &tdx_verify::ROOTS, NOW).unwrap();
    // Its registers are none that any log leads to: 48 bytes repeated.
    assert!(authentic.with_event_log(input).is_err());
}

//! Captured evidence of real machines, read from `../shared/vectors` beside the workspace.

use serde_json::Value;
use std::path::Path;
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, appraise, authenticate};
use strongroom_devkit::vectors::{entries, folder, midnight};
use strongroom_wire::Code;
use strongroom_wire::snp::{Report, SigningKey};

fn endorsements(folder: &Path, entry: &Value) -> Endorsements {
    let mut endorsements = Endorsements::new();
    for name in ["vek", "ask", "ark"] {
        if let Some(file) = entry[name].as_str() {
            endorsements.add(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        }
    }
    endorsements
}

#[test]
fn every_captured_report_has_the_stated_verdict() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let mut seen = 0;
    for entry in entries(&folder, "snp-report").unwrap() {
        let file = entry["file"].as_str().unwrap();
        let evidence = std::fs::read(folder.join(file)).unwrap();
        let begins = entry["vek_validity"][0].as_str().map_or(1_750_000_000, midnight) + 129_600;
        let result = authenticate(&evidence, &endorsements(&folder, &entry), &roots, begins);
        match entry["verdict"].as_str().unwrap() {
            "VALID" => {
                let authentic = result.unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
                assert_eq!(authentic.product(), entry["product"].as_str().unwrap(), "{file}");
                let defaults = appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND);
                let debug = entry["debug"].as_bool().unwrap();
                let vmpl = entry["vmpl"].as_u64().unwrap();
                let want = [(debug, Code::DebugEnabled), (vmpl != 0, Code::VmplMismatch)];
                let want: Vec<Code> = want.into_iter().filter(|(is, _)| *is).map(|(_, code)| code).collect();
                let got: Vec<Code> = defaults.checks().iter().filter_map(|check| check.code).collect();
                assert_eq!(got, want, "{file}");
            }
            "NO-VEK" => assert_eq!(result.unwrap_err().code, Code::EndorsementMissing, "{file}"),
            // Copies of real reports that somebody changed: their endorsement is not at hand, or no longer fits.
            verdict => {
                let code = result.map(|_| verdict).unwrap_err().code;
                let fake = matches!(code, Code::VersionUnsupported | Code::SigningKeyUnsupported);
                assert!(code == Code::EndorsementMissing || (verdict == "FAKE" && fake), "{file}: {verdict} {code}");
            }
        }
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn every_parsed_field_equals_the_index() {
    let Some(folder) = folder() else { return };
    for entry in entries(&folder, "snp-report").unwrap() {
        let file = entry["file"].as_str().unwrap();
        let parsed = Report::parse(&std::fs::read(folder.join(file)).unwrap());
        if entry["version"] == 1 {
            // Of a firmware that nobody may run any more.
            assert_eq!(parsed.unwrap_err().code, Code::VersionUnsupported, "{file}");
            continue;
        }
        let report = parsed.unwrap();
        let tcb = report.tcb_layout().read(report.reported_tcb);
        let key = if report.key_info.signing_key() == SigningKey::Vlek { "VLEK" } else { "VCEK" };
        assert_eq!(entry["version"], report.version, "{file}");
        assert_eq!(entry["debug"], report.policy.debug(), "{file}");
        assert_eq!(entry["vmpl"], report.vmpl, "{file}");
        assert_eq!(entry["measurement"], hex::encode(report.measurement), "{file}");
        assert_eq!(entry["host_data"], hex::encode(report.host_data), "{file}");
        assert_eq!(entry["report_data"], hex::encode(report.report_data), "{file}");
        let got = [tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode];
        let names = ["bl", "tee", "snp", "ucode"];
        assert_eq!(names.map(|name| entry["reported_tcb"][name].as_u64().unwrap()), got.map(u64::from), "{file}");
        if entry["verdict"] == "VALID" {
            assert_eq!(entry["signing_key"], key, "{file}");
        }
    }
}

#[test]
fn list_that_names_an_older_ask_of_genoa_passes_the_present_one_and_nothing_outside_its_window() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let read = |file: &str| std::fs::read(folder.join("snp/_amd").join(file)).unwrap();
    let genoa = entries(&folder, "snp-report")
        .unwrap()
        .into_iter()
        .find(|entry| entry["product"] == "Genoa" && entry["verdict"] == "VALID")
        .unwrap();
    let evidence = std::fs::read(folder.join(genoa["file"].as_str().unwrap())).unwrap();
    let mut given = endorsements(&folder, &genoa);
    given.add(&read("crl-genoa-20241023.der")).unwrap();
    let now = midnight("2025-07-01");
    let authentic = authenticate(&evidence, &given, &roots, now).unwrap();
    let this_update = 1_729_658_184; // 2024-10-23T04:36:24Z
    assert_eq!((authentic.crl_number(), authentic.crl_age()), (Some(4), Some(now - this_update)));
    // AMD withdrew the first ASK before it signed any of the captured keys; under it the chain does not hold at all.
    let mut revoked = Endorsements::new();
    revoked.add(&std::fs::read(folder.join(genoa["vek"].as_str().unwrap())).unwrap()).unwrap();
    revoked.add(&read("ask-genoa-REVOKED-serial-20001.der")).unwrap();
    revoked.add(&read("crl-genoa-20241023.der")).unwrap();
    // The built-in ASK takes its place; the list is of the same issuer and names only the old one.
    assert!(authenticate(&evidence, &revoked, &roots, now).is_ok());
    // One second outside the list's window it is no list at all.
    let end = 1_762_131_600; // 2025-11-03T01:00:00Z
    assert!(authenticate(&evidence, &given, &roots, end).is_ok());
    assert_eq!(authenticate(&evidence, &given, &roots, end + 1).unwrap_err().code, Code::CrlExpired);
}

//! `evidence`: every captured report of `../shared/vectors` has its stated verdict.

use crate::run::strongroom;
use serde_json::Value;
use std::path::Path;
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::report::ReportSpec;
use strongroom_devkit::vectors::{entries, folder, midnight};
use strongroom_wire::snp::{CertificateKind, CertificateTable};

fn reports(folder: &Path) -> Vec<Value> {
    entries(folder, "snp-report").unwrap()
}

/// A day after the first day of validity.
fn at(entry: &Value) -> String {
    entry["vek_validity"][0].as_str().map_or(1_750_000_000, |date| midnight(date) + 129_600).to_string()
}

fn verify(folder: &Path, entry: &Value, more: &[&str]) -> crate::run::Run {
    let path = |file: &Value| folder.join(file.as_str().unwrap()).to_str().unwrap().to_owned();
    let mut arguments = vec!["evidence".to_owned(), "verify".to_owned(), path(&entry["file"]), "--json".to_owned()];
    for name in ["vek", "ask", "ark"].iter().filter(|name| entry[**name].is_string()) {
        arguments.extend(["--endorsement".to_owned(), path(&entry[*name])]);
    }
    arguments.extend(["--at".to_owned(), at(entry)]);
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    strongroom(arguments)
}

#[test]
fn every_captured_report_has_its_stated_verdict() {
    let Some(folder) = folder() else { return };
    let (mut valid, mut seen) = (0, 0);
    for entry in reports(&folder) {
        let file = entry["file"].as_str().unwrap();
        let run = verify(&folder, &entry, &["--authenticate-only"]);
        let json = run.json();
        seen += 1;
        if entry["verdict"] == "VALID" {
            valid += 1;
            assert_eq!((run.code, json["verdict"].as_str()), (0, Some("authentic")), "{file}: {}", run.stdout);
            assert_eq!((&json["product"], &json["measurement"]), (&entry["product"], &entry["measurement"]), "{file}");
            assert_eq!((json["root"].as_str(), &json["debug"]), (Some("amd"), &entry["debug"]), "{file}");
            continue;
        }
        assert_eq!(run.code, 1, "{file}: {}", run.stdout);
        let code = &json["code"];
        assert!(code.is_string() && json["verdict"] == "refused", "{file}: {}", run.stdout);
        if entry["verdict"] == "NO-VEK" {
            assert_eq!(code, "endorsement-missing", "{file}");
        }
    }
    assert!(valid >= 5 && seen >= 30, "{valid} of {seen}");
}

#[test]
fn debugged_guest_refused_by_the_platform_defaults_and_authentic_without_them() {
    let Some(folder) = folder() else { return };
    let is = |entry: &&Value, debug: bool| entry["verdict"] == "VALID" && entry["debug"] == debug && entry["vmpl"] == 0;
    let reports = reports(&folder);
    let debugged = reports.iter().find(|entry| is(entry, true)).unwrap();
    let run = verify(&folder, debugged, &[]);
    assert_eq!((run.code, run.json()["code"].as_str()), (1, Some("debug-enabled")));
    assert_eq!(verify(&folder, debugged, &["--authenticate-only"]).done().json()["verdict"], "authentic");

    let other = reports.iter().find(|entry| is(entry, false)).unwrap();
    assert_eq!(verify(&folder, other, &[]).done().json()["verdict"], "authentic");
}

#[test]
fn report_accepted_by_a_policy_that_fixes_its_software_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let hierarchy = Hierarchy::shared().unwrap();
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let spec = ReportSpec { host_data: [0x44; 32], ..ReportSpec::default() };
    std::fs::write(path("report"), spec.sign(&vek).unwrap()).unwrap();
    std::fs::write(path("table"), hierarchy.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
    std::fs::write(path("root"), hierarchy.ark.certificate()).unwrap();
    // A moment at which everything that the fake hierarchy issues is valid: 2026-01-01.
    let verify_with = |measurement: &str, release: &str| {
        let policy = format!(
            "version = 1\n[snp]\nmeasurement = {measurement}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n{release}",
            "44".repeat(32)
        );
        std::fs::write(path("policy"), policy).unwrap();
        let (report, table, root, policy) = (path("report"), path("table"), path("root"), path("policy"));
        let files = ["--endorsement", &table, "--root", &root, "--policy", &policy, "--at", "1767225600", "--json"];
        strongroom(["evidence", "verify", &report].into_iter().chain(files))
    };
    let verify = |measurement: &str| verify_with(measurement, "");
    let approved = format!("{{ one-of = [\"{}\"] }}", hex::encode(spec.measurement));
    assert_eq!(verify(&approved).done().json()["verdict"], "accepted");
    // A release policy judges as the verifier does with it.
    let release = "[[release.trust.rule]]\nrepository = \"r:1/*\"\n\
                   [[release.trust.rule.signer]]\nname = \"a\"\nkey = \"k\"\n";
    assert_eq!(verify_with(&approved, release).done().json()["verdict"], "accepted");
    let other = format!("{{ one-of = [\"{}\"] }}", "00".repeat(48));
    assert_eq!(verify_with(&other, release).json()["code"], "measurement-not-approved");
    let other = verify(&format!("{{ one-of = [\"{}\"] }}", "00".repeat(48)));
    let json = other.json();
    assert_eq!((other.code, json["verdict"].as_str()), (1, Some("refused")));
    assert_eq!(json["code"], "measurement-not-approved");
    let open = verify("{ any = { because = \"test\" } }").done();
    assert_eq!(open.json()["verdict"], "authentic");
}

#[test]
fn inspection_shows_fields_and_vouches_for_nothing() {
    let Some(folder) = folder() else { return };
    let reports = reports(&folder);
    let entry = reports.iter().find(|entry| entry["verdict"] == "NO-VEK").unwrap();
    let file = folder.join(entry["file"].as_str().unwrap());
    let run = strongroom(["evidence", "inspect", file.to_str().unwrap()]).done();
    assert!(run.stdout.contains(entry["measurement"].as_str().unwrap()));
    assert!(run.stdout.contains("nothing was verified"));
    strongroom(["evidence", "inspect", "Cargo.toml", "--json"]).refused(1, "malformed");
}

#[test]
fn inspection_names_the_bits_that_are_set_and_what_a_report_version_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let vek = Hierarchy::shared().unwrap().issue(VekSpec::default()).unwrap();
    let inspect = |spec: ReportSpec, json: bool| {
        let file = folder.path().join("report.bin");
        std::fs::write(&file, spec.sign(&vek).unwrap()).unwrap();
        let arguments = ["evidence", "inspect", file.to_str().unwrap(), "--json"];
        strongroom(arguments.iter().take(if json { 4 } else { 3 })).done()
    };
    let debugged = ReportSpec { policy: 0xb_0000, platform_info: 0x41, ..ReportSpec::default() };
    let run = inspect(debugged.clone(), false);
    assert!(
        run.stdout.contains("0xb0000 (SMT, DEBUG)") && run.stdout.contains("0x41 (SMT_EN, bit 6)"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("1.55.12") && run.stdout.contains("not in this report version"), "{}", run.stdout);
    assert_eq!(inspect(debugged, true).json()["guest_policy_bits"], serde_json::json!(["SMT", "DEBUG"]));
    let plain = ReportSpec { policy: 0x2_0000, version: 5, current_mit_vector: 0xb, ..ReportSpec::default() };
    let json = inspect(plain.clone(), true).json();
    assert_eq!(json["current_mit_vector"], "0xb");
    assert!(json["author_key_digest"].is_null() && !inspect(plain, false).stdout.contains("0x20000 ("));
}

#[test]
fn broken_revocation_list_in_a_folder_refused_by_name_and_other_files_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let hierarchy = Hierarchy::shared().unwrap();
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("given")).unwrap();
    std::fs::write(path("given/report.bin"), ReportSpec::default().sign(&vek).unwrap()).unwrap();
    let mut table = hierarchy.certificate_table(&vek).unwrap();
    let (lists, certificates): (Vec<_>, Vec<_>) =
        table.entries.into_iter().partition(|entry| entry.kind == CertificateKind::Crl);
    table = CertificateTable { entries: certificates };
    std::fs::write(path("given/auxblob"), table.encode().unwrap()).unwrap();
    std::fs::write(path("given/index.json"), "{}").unwrap();
    std::fs::write(path("given/README"), "0 files").unwrap();
    std::fs::write(path("root"), hierarchy.ark.certificate()).unwrap();
    let verify = || {
        let (report, given, root) = (path("given/report.bin"), path("given"), path("root"));
        let files = ["--endorsement", &given, "--root", &root, "--at", "1767225600", "--authenticate-only", "--json"];
        strongroom(["evidence", "verify", &report].into_iter().chain(files))
    };
    let revocation = |json: &Value| {
        let checks = json["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "revocation").unwrap()["got"].clone()
    };
    assert_eq!(revocation(&verify().done().json()), "no list given");

    let current = "a current list of number 1, thisUpdate 1767000000";
    let crl = hierarchy.ark.crl(&[], 1_767_000_000..1_768_000_000).unwrap();
    std::fs::write(path("given/root.crl"), &crl).unwrap();
    assert_eq!(revocation(&verify().done().json()), current);

    for broken in [&crl[..crl.len() - 1], &crl[1..], b"", &[0; 4096]] {
        std::fs::write(path("given/root.crl"), broken).unwrap();
        let refused = verify().refused(1, "malformed").json();
        assert!(refused["refused"]["what"].as_str().unwrap().contains("given/root.crl"), "{refused}");
    }
    // Without its name, by its content.
    std::fs::remove_file(path("given/root.crl")).unwrap();
    std::fs::write(path("given/list"), &crl[..crl.len() - 1]).unwrap();
    verify().refused(1, "malformed");
    std::fs::write(path("given/list"), &crl).unwrap();
    assert_eq!(revocation(&verify().done().json()), current);
    std::fs::remove_file(path("given/list")).unwrap();

    // Within a certificate table.
    table.entries.extend(lists);
    std::fs::write(path("given/auxblob"), table.encode().unwrap()).unwrap();
    assert_eq!(revocation(&verify().done().json()), "a current list of number 1, thisUpdate 1577836800");
    table.entries.last_mut().unwrap().data.pop();
    std::fs::write(path("given/auxblob"), table.encode().unwrap()).unwrap();
    verify().refused(1, "malformed");
    // Where Linux has no table, it is empty, and what is missing is said.
    std::fs::write(path("given/auxblob"), "").unwrap();
    assert_eq!(verify().json()["code"], "endorsement-missing");
}

#[test]
fn revocation_list_older_than_one_seen_refused_where_a_memory_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hierarchy = Hierarchy::shared().unwrap();
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let list = |number| hierarchy.ark.numbered_crl(&[], 1_799_999_000..1_800_001_000, Some(number)).unwrap();
    let (old, new) = (write("old.crl", &list(5)), write("new.crl", &list(6)));
    let report = write("report", &ReportSpec::default().sign(&vek).unwrap());
    let (vcek, ask) = (write("vcek", &vek.certificate), write("ask", hierarchy.ask.certificate()));
    let (ark, state) = (write("ark", hierarchy.ark.certificate()), folder.path().join("seen.json"));
    let state = state.to_str().unwrap();
    let run = |crl: &str, more: &[&str]| {
        let given = ["--root", &ark, "--endorsement", &vcek, "--endorsement", &ask, "--endorsement", crl];
        let all = ["evidence", "verify", &report, "--at", "1800000000", "--json"].into_iter().chain(given);
        strongroom(all.chain(more.iter().copied()))
    };
    let code = |run: crate::run::Run| (run.code, run.json()["code"].as_str().map(str::to_owned));
    assert_eq!(code(run(&old, &["--state", state])), (0, None));
    assert_eq!(code(run(&new, &["--state", state])), (0, None));
    assert_eq!(code(run(&old, &["--state", state])), (1, Some("collateral-rolled-back".to_owned())));
    assert_eq!(code(run(&old, &["--state", state, "--authenticate-only"])).0, 1, "whatever else is judged");
    assert_eq!(code(run(&old, &[])), (0, None), "without a memory only its dates count");
    std::fs::write(state, "{}").unwrap();
    let damaged = run(&new, &["--state", state]);
    assert_eq!((damaged.code, damaged.json()["refused"]["code"].as_str()), (2, Some("state-invalid")));
}

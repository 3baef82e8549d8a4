//! `evidence verify-azure` with captured evidence.

use crate::run::{Run, strongroom};
use serde_json::json;
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::azure::{SNP, Vtpm, hcl_report, report_data};
use strongroom_devkit::report::ReportSpec;
use strongroom_devkit::vectors::folder;
use strongroom_wire::bytes::to_base64url;
use strongroom_wire::digest::Sha256;

/// "challenge".
const NONCE: &str = "6368616c6c656e6765";
const AT: &str = "1782893539";

fn verify(file: &str, platform: &str, nonce: &str) -> Option<Run> {
    let folder = folder()?;
    let file = folder.join("azure-vtpm").join(file).to_str().unwrap().to_owned();
    let collateral = folder.join("tdx/_collateral/00806f050000-20260630-ev19-6a6788.json");
    let collateral = collateral.to_str().unwrap().to_owned();
    let given = ["--platform", platform, "--nonce", nonce, "--endorsement", &collateral, "--at", AT, "--json"];
    Some(strongroom(["evidence", "verify-azure", &file].into_iter().chain(given)))
}

#[test]
fn captured_guest_of_each_platform_is_authentic_for_its_nonce_alone() {
    for (file, platform, root) in
        [("snp-evidence-v1.json", "azure-snp-vtpm", "amd"), ("tdx-evidence-v1.json", "azure-tdx-vtpm", "intel")]
    {
        let Some(run) = verify(file, platform, NONCE) else { return };
        let json = run.done().json();
        let told = [&json["verdict"], &json["platform"], &json["root"]].map(|value| value.as_str());
        assert_eq!(told, [Some("authentic"), Some(platform), Some(root)]);
        assert_eq!(json["vtpm"]["pcrs"].as_array().unwrap().len(), 24);
        let other = verify(file, platform, "00").unwrap();
        assert_eq!((other.code, other.json()["code"].as_str()), (1, Some("nonce-mismatch")));
        assert!(other.json().get("vtpm").is_none());
    }
}

#[test]
fn guest_under_the_name_of_another_platform_refused() {
    let Some(run) = verify("tdx-evidence-v1.json", "azure-snp-vtpm", NONCE) else { return };
    assert_eq!(run.code, 1, "{}", run.stdout);
    let run = verify("snp-evidence-v1.json", "azure-tdx-vtpm", NONCE).unwrap();
    assert_eq!(run.code, 1, "{}", run.stdout);
}

const ANY: &str = "{ any = { because = \"test\" } }";

/// A policy with that measurement, these PCRs and that document.
fn policy(measurement: &str, pcr: impl Fn(usize) -> String, deployment: &str) -> String {
    let pcrs = [2, 4, 9, 11, 12, 13].map(|number| format!("{number} = {{ exactly = \"{}\" }}\n", pcr(number)));
    format!(
        "version = 1\n[azure-snp-vtpm]\ndeployment = {deployment}\n[azure-snp-vtpm.hardware]\n\
         measurement = {{ exactly = \"{measurement}\" }}\ntcb = {ANY}\nchip = {ANY}\nrevocation-list = {ANY}\n\
         [azure-snp-vtpm.pcr]\n{}",
        pcrs.concat()
    )
}

#[test]
fn guest_under_a_policy_that_fixes_paravisor_pcrs_and_document_accepted_and_with_another_pcr_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (hierarchy, vtpm) = (Hierarchy::shared().unwrap(), Vtpm::generate().unwrap());
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let runtime = vtpm.runtime_data().unwrap();
    let report = ReportSpec { report_data: report_data(&runtime), ..ReportSpec::default() }.sign(&vek).unwrap();
    let mut pcrs: [[u8; 32]; 24] = core::array::from_fn(|number| [0xa0 + u8::try_from(number).unwrap(); 32]);
    pcrs[8] = Sha256::of(&[[0; 32], [0xd0; 32]].concat()).0;
    let (message, signature) = vtpm.quote(b"challenge", &pcrs).unwrap();
    let padded = |bytes: &[u8]| {
        let text = to_base64url(bytes);
        format!("{text}{}", "=".repeat(text.len().next_multiple_of(4) - text.len()))
    };
    let evidence = json!({
        "version": 1, "hcl_report": padded(&hcl_report(SNP, &report, &runtime).unwrap()), "vcek": padded(&vek.certificate),
        "tpm_quote": { "message": hex::encode(message), "signature": hex::encode(signature), "pcrs": pcrs.map(hex::encode) },
    });
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write("evidence.json", evidence.to_string().as_bytes());
    let (ark, ask) = (write("ark", hierarchy.ark.certificate()), write("ask", hierarchy.ask.certificate()));
    let run = |policy: &str| {
        let policy = write("policy.toml", policy.as_bytes());
        let given = ["--platform", "azure-snp-vtpm", "--nonce", NONCE, "--endorsement", &ask, "--root", &ark];
        let all = ["evidence", "verify-azure", &file].into_iter().chain(given);
        strongroom(all.chain(["--policy", &policy, "--at", "1800000000", "--json"]))
    };
    let sound = policy(
        &"4d".repeat(48),
        |number| hex::encode(pcrs[number]),
        &format!("{{ exactly = \"{}\" }}", "d0".repeat(32)),
    );
    assert_eq!(run(&sound).done().json()["verdict"], "accepted");
    let refused = run(&sound.replace(&"a4".repeat(32), &"a5".repeat(32)));
    assert_eq!((refused.code, &refused.json()["code"]), (1, &json!("measurement-not-approved")));
    let failed: Vec<_> =
        refused.json()["checks"].as_array().unwrap().iter().filter(|c| c["ok"] == false).cloned().collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["name"], &failed[0]["got"]), (&json!("pcr-4"), &json!("a4".repeat(32))));
}

#[test]
fn captured_guest_under_its_own_values_is_authentic_and_bound_to_no_document() {
    let Some(folder) = folder() else { return };
    let file = folder.join("azure-vtpm/snp-evidence-v1.json");
    let evidence: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let pcr = |number: usize| evidence["tpm_quote"]["pcrs"][number].as_str().unwrap().to_owned();
    let measurement =
        "6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6c79b75a5eb77fc769959f4aeb2f9401e";
    let directory = tempfile::tempdir().unwrap();
    let run = |deployment: &str| {
        let path = directory.path().join("policy.toml");
        std::fs::write(&path, policy(measurement, pcr, deployment)).unwrap();
        let given = ["--platform", "azure-snp-vtpm", "--nonce", NONCE, "--at", AT, "--json", "--policy"];
        let all = ["evidence", "verify-azure", file.to_str().unwrap()].into_iter().chain(given);
        strongroom(all.chain([path.to_str().unwrap()]))
    };
    assert_eq!(run(ANY).done().json()["verdict"], "authentic");
    let demanded = run(&format!("{{ exactly = \"{}\" }}", "d0".repeat(32)));
    // Nothing was extended into its PCR 8.
    assert_eq!((demanded.code, &demanded.json()["code"]), (1, &json!("deployment-missing")));
}

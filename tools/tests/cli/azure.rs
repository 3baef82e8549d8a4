//! `evidence verify-azure` with captured evidence.

use crate::run::{Run, strongroom};
use strongroom_devkit::vectors::folder;

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

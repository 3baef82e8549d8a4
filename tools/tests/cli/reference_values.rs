//! `reference-values`: what is signed verifies, what is older or of somebody else is refused, and a policy takes from it.

use crate::run::{Run, strongroom};
use serde_json::{Value, json};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::report::ReportSpec;
use tempfile::TempDir;

/// A moment at which everything that the fake hierarchy issues is valid: 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;

/// A folder with two signers' keys.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for signer in ["one", "two"] {
            desk.run(&["model", "keygen", &desk.path(signer)]).done();
        }
        desk
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        strongroom(arguments)
    }

    /// Writes a document of that version and measurement, and gives where.
    pub(crate) fn document(&self, version: u64, measurement: &str) -> String {
        let guest = json!({ "label": { "image": "guest", "version": "1" }, "measurement": measurement });
        let document = json!({
            "format": 1, "name": "image", "version": version, "issued": NOW - 10, "expires": NOW + 10,
            "snp": { "guests": [guest] },
        });
        let path = self.path(&format!("{version}.json"));
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }

    pub(crate) fn sign(&self, file: &str, signer: &str) -> String {
        let (key, out) = (self.path(&format!("{signer}.key")), format!("{file}.{signer}"));
        self.run(&["reference-values", "sign", file, "--key", &key, "--out", &out]).done();
        out
    }

    fn verify(&self, bundle: &str, more: &[&str]) -> (i32, Value) {
        let (one, two) = (self.path("one.pub"), self.path("two.pub"));
        let mut arguments =
            vec!["reference-values", "verify", bundle, "--json", "--public-key", &one, "--public-key", &two];
        if !more.contains(&"--at") {
            arguments.extend(["--at", "1767225600"]);
        }
        arguments.extend(more);
        let run = self.run(&arguments);
        (run.code, run.json())
    }
}

pub(crate) fn code(answer: &(i32, Value)) -> (i32, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[test]
fn signed_values_verify_and_wrong_moments_names_and_too_few_signers_are_refused() {
    let desk = Desk::new();
    let document = desk.document(7, &"11".repeat(48));
    let bundle = desk.sign(&document, "one");
    let good = desk.verify(&bundle, &[]);
    assert_eq!((good.0, &good.1["verdict"], &good.1["values"]["version"]), (0, &json!("verified"), &json!(7)));
    assert_eq!(code(&desk.verify(&bundle, &["--at", "1767225611"])), (1, "reference-values-expired"));
    assert_eq!(code(&desk.verify(&bundle, &["--at", "1767225589"])), (1, "reference-values-not-yet-valid"));
    assert_eq!(code(&desk.verify(&bundle, &["--name", "other"])), (1, "reference-values-invalid"));
    assert_eq!(code(&desk.verify(&bundle, &["--threshold", "2"])), (1, "signature-invalid"));
    assert_eq!(code(&desk.verify(&bundle, &["--threshold", "3"])), (2, "usage"));
    assert_eq!(code(&desk.verify(&document, &[])), (1, "malformed"));
    let both = desk.sign(&bundle, "two");
    assert_eq!(desk.verify(&both, &["--threshold", "2"]).0, 0);
    let shown = desk.run(&["reference-values", "show", &both, "--json"]).done().json();
    assert_eq!((&shown["signatures"], &shown["values"]["name"]), (&json!(2), &json!("image")));
}

#[test]
fn corim_that_was_exported_imports_as_the_same_document() {
    let desk = Desk::new();
    let document = desk.document(7, &"11".repeat(48));
    let (corim, again) = (desk.path("guest.corim"), desk.path("again.json"));
    desk.run(&["reference-values", "export", &document, "--platform", "snp", "--out", &corim]).done();
    let arguments = ["reference-values", "import", &corim, "--name", "image", "--version", "7", "--out", &again];
    desk.run(&arguments).done();
    let read = |path: &str| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(read(&document), read(&again));
    let tdx = ["reference-values", "export", &document, "--platform", "tdx", "--out", &corim];
    desk.run(&tdx).refused(1, "reference-values-invalid");
}

#[test]
fn signed_corim_imports_under_its_signer_s_key_alone_and_within_its_validity() {
    let desk = Desk::new();
    let document = desk.document(7, &"11".repeat(48));
    let (corim, plain, again) = (desk.path("signed.corim"), desk.path("plain.corim"), desk.path("again.json"));
    let export = ["reference-values", "export", &document, "--platform", "snp", "--out"];
    let key = desk.path("one.key");
    desk.run(&[&export[..], &[&corim, "--sign-key", &key, "--signer", "Example"]].concat()).done();
    desk.run(&[&export[..], &[&plain]].concat()).done();
    let import = |corim: &str, more: &[&str]| {
        let given =
            ["reference-values", "import", corim, "--json", "--name", "image", "--version", "7", "--out", &again];
        desk.run(&[&given[..], more].concat())
    };
    let [one, two] = ["one.pub", "two.pub"].map(|name| desk.path(name));
    let good = import(&corim, &["--public-key", &two, "--public-key", &one, "--at", "1767225610"]).done().json();
    assert_eq!((&good["signer"]["name"], &good["values"]["version"]), (&json!("Example"), &json!(7)));
    let read = |path: &str| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(read(&document), read(&again));
    import(&corim, &["--public-key", &two, "--at", "1767225600"]).refused(1, "signature-invalid");
    import(&corim, &["--public-key", &one, "--at", "1767225611"]).refused(1, "reference-values-expired");
    import(&corim, &[]).refused(2, "usage");
    import(&plain, &["--public-key", &one]).refused(1, "malformed");
    assert_eq!(import(&plain, &[]).done().json()["signer"], Value::Null);
}

#[test]
fn older_version_than_one_seen_refused() {
    let desk = Desk::new();
    let [old, new] = [7, 8].map(|version| desk.sign(&desk.document(version, &"11".repeat(48)), "one"));
    let state = desk.path("seen.json");
    let remembered = ["--name", "image", "--state", state.as_str()];
    assert_eq!(desk.verify(&old, &remembered).0, 0);
    assert_eq!(desk.verify(&new, &remembered).0, 0);
    assert_eq!(code(&desk.verify(&old, &remembered)), (1, "reference-values-rolled-back"));
    assert_eq!(desk.verify(&old, &[]).0, 0);
    let nameless = desk.verify(&old, &["--state", state.as_str()]);
    assert_eq!(code(&nameless), (2, "usage"), "whatever a bundle calls itself is not what it is remembered by");
}

#[test]
fn report_is_judged_by_values_that_the_policy_takes_from_a_bundle() {
    let desk = Desk::new();
    let (hierarchy, spec) =
        (Hierarchy::shared().unwrap(), ReportSpec { host_data: [0x44; 32], ..ReportSpec::default() });
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let (report, table, root, policy) =
        (desk.path("report"), desk.path("table"), desk.path("root"), desk.path("policy"));
    std::fs::write(&report, spec.sign(&vek).unwrap()).unwrap();
    std::fs::write(&table, hierarchy.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
    std::fs::write(&root, hierarchy.ark.certificate()).unwrap();
    let key = std::fs::read_to_string(desk.path("one.pub")).unwrap();
    let text = format!(
        "version = 1\n[[reference-values]]\nname = \"image\"\nsigners = {{ keys = [\"\"\"{key}\"\"\"] }}\n\
         [snp]\nmeasurement = {{ reference-values = \"image\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
         tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n",
        "44".repeat(32)
    );
    std::fs::write(&policy, text).unwrap();
    let at = NOW.to_string();
    let verify = |bundles: &[&str]| {
        let files = ["--endorsement", &table, "--root", &root, "--policy", &policy, "--at", &at, "--json"];
        let bundles = bundles.iter().flat_map(|bundle| ["--reference-values", bundle]);
        strongroom(["evidence", "verify", &report].into_iter().chain(files).chain(bundles))
    };
    let good = desk.sign(&desk.document(1, &hex::encode(spec.measurement)), "one");
    let foreign = desk.sign(&desk.document(2, &hex::encode(spec.measurement)), "two");
    let other = desk.sign(&desk.document(3, &"11".repeat(48)), "one");
    assert_eq!(verify(&[&good]).done().json()["verdict"], "accepted");
    verify(&[&foreign]).refused(1, "signature-invalid");
    verify(&[]).refused(2, "reference-values-missing");
    let refused = verify(&[&other]);
    assert_eq!((refused.code, &refused.json()["code"]), (1, &json!("measurement-not-approved")));

    // What held is remembered, whatever else of the run does not.
    let state = desk.path("seen.json");
    let remembering = |bundle: &str, table: &str| {
        let files = ["--endorsement", table, "--root", &root, "--policy", &policy, "--at", &at, "--json"];
        let given = ["--reference-values", bundle, "--state", &state];
        strongroom(["evidence", "verify", &report].into_iter().chain(files).chain(given))
    };
    remembering(&good, &table).done();
    remembering(&other, &desk.path("nothing")).refused(3, "io");
    remembering(&good, &table).refused(1, "reference-values-rolled-back");
}

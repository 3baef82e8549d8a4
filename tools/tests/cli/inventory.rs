//! `inventory`: what is signed is what `evidence verify` takes, and a machine that is not in it is refused.

use crate::reference_values::{Desk, NOW, code};
use crate::run::Run;
use serde_json::{Value, json};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::report::ReportSpec;

/// A desk with a report, what it is verified with, and a policy that names its machine by the inventory of key `one`.
struct Fleet {
    desk: Desk,
    chip: String,
}

impl Fleet {
    fn new() -> Self {
        let desk = Desk::new();
        let (hierarchy, spec) =
            (Hierarchy::shared().unwrap(), ReportSpec { host_data: [0x44; 32], ..ReportSpec::default() });
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(desk.path(name), bytes).unwrap();
        write("report", &spec.sign(&vek).unwrap());
        write("table", &hierarchy.certificate_table(&vek).unwrap().encode().unwrap());
        write("root", hierarchy.ark.certificate());
        let key = std::fs::read_to_string(desk.path("one.pub")).unwrap();
        let policy = format!(
            "version = 1\n[[inventory]]\nname = \"fleet\"\nsigners = {{ keys = [\"\"\"{key}\"\"\"] }}\n\
             [snp]\nmeasurement = {{ exactly = \"{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ inventory = \"fleet\" }}\n",
            hex::encode(spec.measurement),
            "44".repeat(32)
        );
        write("policy", policy.as_bytes());
        // The default report's.
        Self { desk, chip: (0..64).map(|byte| format!("{byte:02x}")).collect() }
    }

    /// Writes an inventory of that version and machine, signs it, and gives where.
    fn signed(&self, version: u64, chip: &str, signer: &str) -> String {
        let document = json!({
            "v": 1, "name": "fleet", "version": version, "issued": NOW - 10, "expires": NOW + 10,
            "machines": [{ "label": "rack 7", "chip": chip, "until": NOW + 5 }],
        });
        let (path, key) = (self.desk.path("fleet.json"), self.desk.path(&format!("{signer}.key")));
        let out = self.desk.path(&format!("{version}.{signer}.dsse"));
        std::fs::write(&path, document.to_string()).unwrap();
        let signed = self.desk.run(&["inventory", "sign", &path, "--key", &key, "--out", &out, "--json"]).done().json();
        assert_eq!(
            (&signed["name"], &signed["version"], &signed["signatures"]),
            (&json!("fleet"), &json!(version), &json!(1))
        );
        out
    }

    fn judge(&self, inventory: &str, at: u64, more: &[&str]) -> Run {
        let [report, table, root, policy] = ["report", "table", "root", "policy"].map(|name| self.desk.path(name));
        let at = at.to_string();
        let given = [
            "evidence",
            "verify",
            &report,
            "--endorsement",
            &table,
            "--root",
            &root,
            "--policy",
            &policy,
            "--at",
            &at,
            "--inventory",
            inventory,
            "--json",
        ];
        self.desk.run(&[&given[..], more].concat())
    }
}

#[test]
fn machine_of_a_signed_inventory_accepted_and_any_other_refused() {
    let fleet = Fleet::new();
    let good = fleet.signed(7, &fleet.chip, "one");
    assert_eq!(fleet.judge(&good, NOW, &[]).done().json()["verdict"], "accepted");
    fleet.judge(&fleet.signed(7, &fleet.chip, "two"), NOW, &[]).refused(1, "signature-invalid");
    fleet.judge(&good, NOW + 11, &[]).refused(1, "inventory-expired");
    fleet.judge(&good, NOW - 11, &[]).refused(1, "inventory-not-yet-valid");
    let other = fleet.signed(8, &"0a".repeat(64), "one");
    for run in [fleet.judge(&other, NOW, &[]), fleet.judge(&good, NOW + 6, &[])] {
        assert_eq!((run.code, &run.json()["code"]), (1, &json!("platform-not-approved")));
    }
}

#[test]
fn inventory_older_than_one_seen_refused_and_what_it_says_shown() {
    let fleet = Fleet::new();
    let [old, new] = [7, 8].map(|version| fleet.signed(version, &fleet.chip, "one"));
    let state = fleet.desk.path("seen.json");
    let key = fleet.desk.path("one.pub");
    let verify = |file: &str, more: &[&str]| {
        let given = ["inventory", "verify", file, "--json", "--public-key", &key, "--name", "fleet"];
        let run = fleet.desk.run(&[&given[..], more].concat());
        (run.code, run.json())
    };
    let now = ["--at", "1767225600"];
    let remembered = [&now[..], &["--state", &state]].concat();
    let good: (i32, Value) = verify(&new, &remembered);
    assert_eq!((good.0, &good.1["verdict"], &good.1["inventory"]["version"]), (0, &json!("verified"), &json!(8)));
    assert_eq!(code(&verify(&old, &remembered)), (1, "inventory-rolled-back"));
    assert_eq!(code(&verify(&old, &now)), (0, ""));
    fleet.judge(&old, NOW, &["--state", &state]).refused(1, "inventory-rolled-back");
    let shown = fleet.desk.run(&["inventory", "show", &old]).done().stdout;
    assert!(shown.contains("rack 7") && shown.contains(&fleet.chip) && shown.contains("none of which was verified"));
    // What is of another kind is neither shown nor signed as one.
    let bundle = fleet.desk.sign(&fleet.desk.document(1, &"11".repeat(48)), "one");
    fleet.desk.run(&["inventory", "show", &bundle]).refused(1, "inventory-invalid");
    fleet.desk.run(&["reference-values", "show", &old]).refused(1, "reference-values-invalid");
}

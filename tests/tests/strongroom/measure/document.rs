//! From a measurement to an accepted policy's values: the document, its signature, and what it refuses. The firmware is
//! `devkit`'s, so that no peer is needed.

use crate::system::process::Finished;
use crate::system::{strongroom, text};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use strongroom_devkit::firmware;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;
use tempfile::TempDir;

struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(desk.path("OVMF.fd"), firmware::IMAGE.as_slice()).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn snp(&self, vcpus: &str, more: &[&str]) -> Finished {
        let firmware = self.path("OVMF.fd");
        let arguments =
            ["measure", "snp", "--json", "--ovmf", text(&firmware), "--vcpu-type", "EPYC-Milan", "--vcpus", vcpus];
        strongroom(&[&arguments, more].concat())
    }

    fn tdx(&self, more: &[&str]) -> Finished {
        strongroom(&[&["measure", "tdx", "--json", "--firmware", text(&self.path("OVMF.fd"))], more].concat())
    }

    /// The document, as `reference-values show` reads it.
    fn values(&self, name: &str) -> Value {
        let shown = strongroom(&["reference-values", "show", "--json", text(&self.path(name))]).ok().json();
        shown["values"].clone()
    }
}

#[test]
fn guests_are_gathered_in_one_document_that_can_be_signed() {
    let desk = Desk::new();
    let out = desk.path("values.json");
    let out = text(&out);
    let new = ["--reference-values", out, "--name", "guest", "--version", "7", "--image-version", "1.4.0"];
    let one = desk.snp("1", &new).ok().json();
    let two = desk.snp("2", &["--reference-values", out]).ok().json();
    let tdx = desk.tdx(&["--reference-values", out, "--version", "8", "--image", "td"]).ok().json();
    let values = desk.values("values.json");
    let [first, second] = values["snp"]["guests"].as_array().unwrap().as_slice() else { panic!("{values}") };
    assert_eq!([&first["measurement"], &second["measurement"]], [&one["measurement"], &two["measurement"]]);
    assert_eq!(first["label"], serde_json::json!({ "image": "guest", "version": "1.4.0" }));
    assert_eq!(first["inputs"]["ovmf"], Sha256::of(&firmware::IMAGE).to_string());
    let domain = &values["tdx"]["guests"][0];
    assert_eq!((&domain["mrtd"], &domain["label"]["image"]), (&tdx["mrtd"], &Value::from("td")));
    // What nobody can state beforehand is absent, not zero.
    assert!(domain.get("rtmr0").is_none() && domain.get("rtmr1").is_none());
    assert_eq!((&values["name"], &values["version"]), (&Value::from("guest"), &Value::from(8)));
    let (key, public, bundle) = (desk.path("release.key"), desk.path("release.pub"), desk.path("values.dsse"));
    strongroom(&["model", "keygen", text(&desk.path("release"))]).ok();
    strongroom(&["reference-values", "sign", out, "--key", text(&key), "--out", text(&bundle)]).ok();
    strongroom(&["reference-values", "verify", text(&bundle), "--public-key", text(&public)]).ok();
}

#[test]
fn guest_that_is_in_the_document_is_not_listed_twice() {
    let desk = Desk::new();
    let out = desk.path("values.json");
    let new = ["--reference-values", text(&out), "--name", "guest", "--version", "7"];
    for _ in 0..2 {
        desk.snp("1", &new).ok();
    }
    assert_eq!(desk.values("values.json")["snp"]["guests"].as_array().unwrap().len(), 1);
}

#[test]
fn new_document_without_name_or_version_refused_and_not_written() {
    let desk = Desk::new();
    let out = desk.path("values.json");
    for more in [&["--name", "guest"][..], &["--version", "7"], &[]] {
        assert_eq!(desk.snp("1", &[&["--reference-values", text(&out)], more].concat()).refused(), Code::Usage);
        assert!(!out.exists());
    }
}

#[test]
fn file_that_is_no_document_refused_and_left_as_it_is() {
    let desk = Desk::new();
    let out = desk.path("values.json");
    fs::write(&out, "{}").unwrap();
    let finished = desk.snp("1", &["--reference-values", text(&out), "--name", "guest", "--version", "7"]);
    assert_eq!(finished.refused(), Code::ReferenceValuesInvalid);
    assert_eq!(fs::read(&out).unwrap(), b"{}");
}

#[test]
fn machine_that_qemu_would_not_launch_is_wrong_usage() {
    let desk = Desk::new();
    desk.snp("1", &[]).ok();
    assert_eq!(desk.snp("0", &[]).refused(), Code::Usage);
    assert_eq!(desk.snp("1", &["--guest-features", "0x20"]).refused(), Code::Usage);
    let firmware = desk.path("OVMF.fd");
    let arguments = ["measure", "snp", "--json", "--ovmf", text(&firmware), "--vcpus", "1"];
    assert_eq!(strongroom(&arguments).refused(), Code::Usage);
    strongroom(&[&arguments[..], &["--vmm", "ec2"]].concat()).ok();
    assert_eq!(strongroom(&[&arguments[..], &["--vcpu-type", "Milan"]].concat()).refused(), Code::Usage);
    assert_eq!(desk.tdx(&["--append", "quiet"]).refused(), Code::Usage);
}

#[test]
fn ways_of_a_launch_without_the_file_that_they_are_of_are_wrong_usage() {
    let desk = Desk::new();
    let kernel = desk.path("vmlinuz");
    fs::write(&kernel, firmware::KERNEL.as_slice()).unwrap();
    let (form, place) = (["--kernel-form", "as-given"], ["--initrd-argument", "first"]);
    let (kernel, initrd) = (["--kernel", text(&kernel)], ["--initrd", text(&kernel)]);
    desk.tdx(&[kernel, form].concat()).ok();
    desk.tdx(&[kernel, initrd, place].concat()).ok();
    for arguments in [form.to_vec(), place.to_vec(), [kernel, place].concat()] {
        assert_eq!(desk.tdx(&arguments).refused(), Code::Usage, "{arguments:?}");
    }
}

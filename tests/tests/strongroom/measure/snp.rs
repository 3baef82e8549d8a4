//! MEASUREMENT, compared with `sev-snp-measure` and the crate `sev`.

use super::firmware;
use crate::peers;
use crate::system::process::Finished;
use crate::system::{program, strongroom, text};
use serde_json::{Value, json};
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use strongroom_wire::Code;

const KINDS: [&str; 4] = ["EPYC-Milan", "EPYC-Genoa", "EPYC-Turin", "EPYC-v4"];
const COUNTS: [u32; 8] = [1, 2, 3, 4, 8, 16, 32, 64];

/// A guest and how it is launched.
#[derive(Debug, Clone)]
struct Case {
    ovmf: PathBuf,
    vcpus: u32,
    kind: &'static str,
    vmm: &'static str,
    features: u64,
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    append: Option<String>,
}

impl Case {
    fn new(ovmf: &Path) -> Self {
        let (kernel, initrd, append) = (None, None, None);
        Self { ovmf: ovmf.to_owned(), vcpus: 1, kind: KINDS[0], vmm: "qemu", features: 1, kernel, initrd, append }
    }

    fn to_json(&self) -> Value {
        json!({
            "ovmf": self.ovmf, "vcpus": self.vcpus, "vcpu_type": self.kind, "vmm": self.vmm, "features": self.features,
            "kernel": self.kernel, "initrd": self.initrd, "append": self.append,
        })
    }

    fn ours(&self) -> Finished {
        let (vcpus, features) = (self.vcpus.to_string(), format!("{:#x}", self.features));
        let mut arguments = vec!["measure", "snp", "--json", "--ovmf", text(&self.ovmf), "--vcpus", &vcpus];
        arguments.extend(["--vcpu-type", self.kind, "--vmm", self.vmm, "--guest-features", &features]);
        for (flag, path) in [("--kernel", &self.kernel), ("--initrd", &self.initrd)] {
            arguments.extend(path.iter().flat_map(|path| [flag, text(path)]));
        }
        arguments.extend(self.append.iter().flat_map(|append| ["--append", append.as_str()]));
        strongroom(&arguments)
    }

    fn measured(&self) -> String {
        self.ours().ok().json()["measurement"].as_str().unwrap().to_owned()
    }

    /// What the crate `sev` computes of a case of Milan without a kernel.
    fn of_sev(&self) -> Option<String> {
        let vmm_type = Some(if self.vmm == "ec2" { VMMType::EC2 } else { VMMType::QEMU });
        let arguments = SnpMeasurementArgs {
            vcpus: self.vcpus,
            vcpu_type: CpuType::EpycMilan,
            ovmf_file: self.ovmf.clone(),
            guest_features: GuestFeatures(self.features),
            kernel_file: None,
            initrd_file: None,
            append: None,
            ovmf_hash_str: None,
            vmm_type,
        };
        Some(format!("{:x}", snp_calc_launch_digest(arguments).ok()?))
    }
}

/// The digests that `sev-snp-measure` computes, in the order of the cases.
fn peer(cases: &[Case]) -> Option<Vec<Option<String>>> {
    let mut child = peers::script("sev_snp.py")?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let list: Vec<_> = cases.iter().map(Case::to_json).collect();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(&list).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[track_caller]
fn assert_equal(cases: &[Case]) {
    let Some(theirs) = peer(cases) else { return };
    for (case, theirs) in cases.iter().zip(theirs) {
        assert_eq!(Some(case.measured()), theirs, "{case:?}");
    }
}

/// The firmware images that an SNP guest can be launched with.
fn images() -> Option<[PathBuf; 4]> {
    Some([
        firmware("OVMF_BOOKWORM", "ovmf/OVMF.fd")?,
        firmware("OVMF_TRIXIE", "ovmf/OVMF.fd")?,
        firmware("OVMF_AMDSEV", "ovmf/OVMF.amdsev.fd")?,
        firmware("OVMF_INTELTDX", "ovmf/OVMF.inteltdx.ms.fd")?,
    ])
}

#[test]
fn measurements_of_every_firmware_equal_those_of_sev_snp_measure() {
    let Some(images) = images() else { return };
    let mut counts = COUNTS.iter().cycle();
    let mut cases = Vec::new();
    for ovmf in &images {
        for kind in KINDS {
            for features in [0x1, 0x21] {
                for vmm in ["qemu", "ec2"] {
                    cases.push(Case { vcpus: *counts.next().unwrap(), kind, features, vmm, ..Case::new(ovmf) });
                }
            }
        }
        cases.push(Case { vcpus: 2, vmm: "gce", ..Case::new(ovmf) });
        // The sequence of counts meets the other sequences anew.
        counts.next();
    }
    assert!(cases.len() >= 60, "{}", cases.len());
    assert_equal(&cases);
}

#[test]
fn measurements_of_kernels_equal_those_of_sev_snp_measure() {
    let Some((ovmf, debian)) = firmware("OVMF_AMDSEV", "ovmf/OVMF.amdsev.fd").zip(peers::find("GUEST_KERNEL")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (small, initrd) = (file("kernel", b"a kernel"), file("initrd", &crate::system::bytes(100_000)));
    let mut cases = Vec::new();
    for (vcpus, vmm) in [(1, "qemu"), (5, "qemu"), (2, "ec2"), (1, "gce")] {
        for kernel in [&small, &debian] {
            for initrd in [None, Some(initrd.clone())] {
                for append in [None, Some(""), Some("console=ttyS0 quiet — ½")] {
                    let (kernel, initrd, append) = (Some(kernel.clone()), initrd.clone(), append.map(str::to_owned));
                    cases.push(Case { vcpus, vmm, kernel, initrd, append, ..Case::new(&ovmf) });
                }
            }
        }
    }
    assert_equal(&cases);
}

/// The image that is built here, as each of the machines that its reference values are of, and larger and older ones.
#[test]
fn measurements_of_the_guest_image_equal_those_of_sev_snp_measure_and_are_its_reference_values() {
    let Some(image) = peers::find("GUEST_IMAGE") else { return };
    let file = |name: &str| image.join(name);
    let line = fs::read_to_string(file("command-line")).unwrap().trim_end().to_owned();
    let mut cases = Vec::new();
    for kind in KINDS {
        for vcpus in COUNTS {
            let (kernel, initrd) = (Some(file("vmlinuz")), Some(file("initramfs.cpio")));
            let append = Some(line.clone());
            cases.push(Case { vcpus, kind, kernel, initrd, append, ..Case::new(&file("OVMF.amdsev.fd")) });
        }
    }
    let Some(theirs) = peer(&cases) else { return };
    let published = fs::read_to_string(file("reference-values.json")).unwrap();
    for (case, theirs) in cases.iter().zip(theirs) {
        let theirs = theirs.unwrap();
        // Ours are computed one by one, each over a hundred megabytes: those that were published when the image was built, and one more.
        match matches!(case.vcpus, 1 | 2 | 4 | 8 | 16 | 32) && case.kind != "EPYC-v4" {
            true => assert!(published.contains(&theirs), "{case:?}"),
            false if case.vcpus == 64 => assert_eq!(case.measured(), theirs, "{case:?}"),
            false => assert!(!published.contains(&theirs), "{case:?}"),
        }
    }
}

#[test]
fn versions_of_processors_share_their_signature_as_with_sev_snp_measure() {
    let Some(ovmf) = firmware("OVMF_AMDSEV", "ovmf/OVMF.amdsev.fd") else { return };
    let kinds = ["EPYC", "EPYC-v1", "EPYC-IBPB", "EPYC-Rome-v3", "EPYC-Milan-v2", "EPYC-Genoa-v1", "EPYC-Turin"];
    assert_equal(&kinds.map(|kind| Case { kind, ..Case::new(&ovmf) }));
}

#[test]
fn firmware_without_snp_metadata_refused_where_sev_snp_measure_prints_a_digest() {
    let Some(ovmf) = firmware("OVMF_BOOKWORM", "OVMF/OVMF_CODE_4M.fd") else { return };
    let case = Case::new(&ovmf);
    let Some(theirs) = peer(std::slice::from_ref(&case)) else { return };
    assert!(theirs[0].is_some());
    assert_eq!(case.of_sev(), None);
    assert_eq!(case.ours().refused(), Code::FirmwareNotMeasurable);
}

#[test]
fn kernel_refused_where_the_firmware_keeps_no_hashes_of_it() {
    let Some([_, trixie, amdsev, _]) = images() else { return };
    let with_kernel = |ovmf: &Path| Case { kernel: Some(program("strongroom")), ..Case::new(ovmf) };
    assert_eq!(with_kernel(&trixie).ours().refused(), Code::KernelNotMeasurable);
    with_kernel(&amdsev).ours().ok();
    let Some(theirs) = peer(&[with_kernel(&trixie), with_kernel(&amdsev)]) else { return };
    assert_eq!(theirs.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn crate_sev_agrees_on_qemu_and_has_the_older_state_of_ec2() {
    // One small image: without optimisation that crate hashes 1 MiB in seconds.
    let Some(ovmf) = firmware("OVMF_BOOKWORM", "ovmf/OVMF.fd") else { return };
    let qemu = Case { vcpus: 3, features: 0x21, ..Case::new(&ovmf) };
    assert_eq!(Some(qemu.measured()), qemu.of_sev());
    let ec2 = Case { vmm: "ec2", ..qemu };
    assert_ne!(Some(ec2.measured()), ec2.of_sev());
}

//! MRTD and RTMRs, compared with a second implementation, with a published value, and with a boot that ran on hardware.

use super::firmware;
use crate::peers;
use crate::system::process::run;
use crate::system::{bytes, strongroom, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_devkit::vectors;
use strongroom_measurement::tdx::{rtmr1, rtmr2};
use strongroom_wire::Code;
use strongroom_wire::event_log::EventLog;
use strongroom_wire::tdx::Quote;

/// SHA-256 of `OVMF.fd` of Ubuntu's ovmf 2025.02-3ubuntu2, and the MRTD that github.com/virtee/tdx-measure publishes for it
/// (tests/fixtures/canonical-defaults/expected.json).
const UBUNTU: [&str; 2] = [
    "9e807cb2cd4313406a3aa4becc0836671a5c64ca7bdc08a45e15260184b446bf",
    "7357a10d2e2724dffe68813e3cc4cfcde6814d749f2fb62e3953e54f6e0b50a219786afe2cd478f684b52c61837e1114",
];

fn measure(firmware: &Path, more: &[&str]) -> Value {
    strongroom(&[&["measure", "tdx", "--json", "--firmware", text(firmware)], more].concat()).ok().json()
}

fn independent(firmware: &Path, more: &[&str]) -> Option<Value> {
    let mut command = peers::script("tdx_measure.py")?;
    Some(run(command.args(["--firmware", text(firmware)]).args(more)).ok().json())
}

fn inteltdx() -> Option<PathBuf> {
    firmware("OVMF_INTELTDX", "ovmf/OVMF.inteltdx.ms.fd")
}

#[test]
fn mrtd_of_every_firmware_is_that_of_a_second_implementation_in_either_order() {
    for (variable, file) in [
        ("OVMF_BOOKWORM", "ovmf/OVMF.fd"),
        ("OVMF_TRIXIE", "ovmf/OVMF.fd"),
        ("OVMF_AMDSEV", "ovmf/OVMF.amdsev.fd"),
        ("OVMF_INTELTDX", "ovmf/OVMF.inteltdx.ms.fd"),
    ] {
        let Some(path) = firmware(variable, file) else { return };
        let Some(theirs) = independent(&path, &[]) else { return };
        for order in ["page", "section"] {
            assert_eq!(measure(&path, &["--page-order", order])["mrtd"], theirs[order], "{variable} {order}");
        }
        assert_ne!(theirs["page"], theirs["section"]);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that was skipped says so")]
fn mrtd_is_the_one_that_was_published_for_an_image_of_ubuntu() {
    // Not demanded, as Debian's are: the release has ended, and its files move.
    let Some(folder) = std::env::var_os("OVMF_UBUNTU") else { return println!("skipped: OVMF_UBUNTU names nothing") };
    let ours = measure(&Path::new(&folder).join("ovmf/OVMF.fd"), &[]);
    assert_eq!([&ours["inputs"]["firmware"], &ours["mrtd"]], UBUNTU);
}

#[test]
fn firmware_without_tdx_metadata_refused() {
    let Some(path) = firmware("OVMF_BOOKWORM", "OVMF/OVMF_CODE_4M.fd") else { return };
    let finished = strongroom(&["measure", "tdx", "--json", "--firmware", text(&path)]);
    assert_eq!(finished.refused(), Code::FirmwareNotMeasurable);
}

#[test]
fn registers_of_a_signed_kernel_are_those_of_a_second_implementation() {
    let Some((firmware, debian)) = inteltdx().zip(peers::find("GUEST_KERNEL")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (initrd, older) = (folder.path().join("initrd"), folder.path().join("older"));
    fs::write(&initrd, bytes(100_000)).unwrap();
    // A kernel that takes its initrd no higher than its header says.
    let mut kernel = fs::read(&debian).unwrap();
    kernel[0x236] &= !2;
    fs::write(&older, kernel).unwrap();
    let with_initrd = ["--append", "console=ttyS0", "--initrd", text(&initrd)];
    for (kernel, signed, memory, more) in [
        (&debian, true, "512", &[][..]),
        (&debian, true, "512", &with_initrd[..2]),
        (&debian, true, "512", &with_initrd[2..]),
        (&debian, true, "2815", &with_initrd),
        (&debian, true, "2816", &with_initrd),
        (&older, false, "2815", &with_initrd),
    ] {
        let more = [&["--kernel", text(kernel), "--memory", memory], more].concat();
        let Some(theirs) = independent(&firmware, &more) else { return };
        // The digest is the one that Debian signed, which nobody here computed.
        assert_eq!(theirs["signed"], signed);
        for (form, place) in [("patched", "first"), ("as-given", "last")] {
            let named = ["--kernel-form", form, "--initrd-argument", place];
            let named = if more.contains(&"--initrd") { &named[..] } else { &named[..2] };
            let ours = measure(&firmware, &[&more[..], named].concat());
            assert_eq!([&ours["rtmr1"], &ours["rtmr2"]], [&theirs[form], &theirs[place]], "{more:?} {form} {place}");
        }
        // Where there is no initrd, its place makes no difference.
        assert_eq!(theirs["first"] != theirs["last"], more.contains(&"--initrd"));
    }
}

#[test]
fn where_a_firmware_names_the_initrd_and_whether_it_takes_the_kernels_file_is_what_the_documents_say() {
    for (variable, file, place, takes_file) in [
        ("OVMF_BOOKWORM", "ovmf/OVMF.fd", "last", false),
        ("OVMF_TRIXIE", "ovmf/OVMF.fd", "last", true),
        ("OVMF_AMDSEV", "ovmf/OVMF.amdsev.fd", "first", true),
        ("OVMF_INTELTDX", "ovmf/OVMF.inteltdx.ms.fd", "first", true),
    ] {
        let Some(path) = firmware(variable, file) else { return };
        let Some(theirs) = independent(&path, &["--habits"]) else { return };
        let want = serde_json::json!({ "initrd": place, "takes_file": takes_file });
        assert_eq!(theirs["habits"], want, "{variable}");
    }
}

#[test]
fn what_cannot_be_known_is_null_with_its_reason() {
    let Some((firmware, kernel)) = inteltdx().zip(peers::find("GUEST_KERNEL")) else { return };
    let unknown = |more: &[&str]| {
        let answer = measure(&firmware, more);
        let unknown = answer["unknown"].as_object().unwrap();
        let registers = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter();
        let null: Vec<_> = registers.filter(|register| answer[register].is_null()).collect();
        assert_eq!(null, unknown.keys().collect::<Vec<_>>());
        assert!(unknown.values().all(|because| because.as_str().is_some_and(|because| !because.is_empty())));
        null
    };
    let (kernel, any) = (text(&kernel), text(&firmware));
    assert_eq!(unknown(&[]), ["rtmr0", "rtmr1", "rtmr2", "rtmr3"]);
    let with = |more: &[&str]| unknown(&[&["--kernel", kernel][..], more].concat());
    let (given, patched) = (["--kernel-form", "as-given"], ["--kernel-form", "patched"]);
    let (initrd, last) = (["--initrd", any], ["--initrd-argument", "last"]);
    assert_eq!(with(&[]), ["rtmr0", "rtmr1", "rtmr3"]);
    assert_eq!(with(&given), ["rtmr0", "rtmr3"]);
    assert_eq!(with(&patched), ["rtmr0", "rtmr3"]);
    assert_eq!(with(&[given, initrd].concat()), ["rtmr0", "rtmr2", "rtmr3"]);
    assert_eq!(with(&[given, initrd, last].concat()), ["rtmr0", "rtmr3"]);
    assert_eq!(with(&[patched, initrd, last].concat()), ["rtmr0", "rtmr1", "rtmr3"]);
    assert_eq!(with(&[patched, initrd, last, ["--memory", "4096"]].concat()), ["rtmr0", "rtmr3"]);
}

#[test]
fn registers_of_a_boot_on_hardware_follow_from_its_kernel_command_line_and_initrd() {
    let Some(folder) = vectors::folder() else { return };
    let read = |name: &str| fs::read(folder.join("tdx-event-logs").join(name)).unwrap();
    let (log, quote) =
        (EventLog::parse(&read("live.ccel.bin")).unwrap(), Quote::parse(&read("live.quote.bin")).unwrap());
    let digests = |rtmr| log.events.iter().filter(move |event| event.rtmr() == Some(rtmr)).map(|event| event.digest);
    let kernel = digests(1).next().unwrap();
    let arguments: Vec<_> = digests(2).collect();
    assert_eq!(arguments.len(), 2);
    assert_eq!(rtmr1(&kernel), quote.body.rtmr[1]);
    assert_eq!(rtmr2(Some(&arguments[0]), Some(&arguments[1])), quote.body.rtmr[2]);
}

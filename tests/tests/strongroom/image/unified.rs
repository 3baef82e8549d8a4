//! The unified kernel image against readers of others: LIEF for the program, systemd-measure for what systemd-stub measures of it.

use super::built;
use crate::peers;
use crate::system::process::run;
use crate::system::{program, strongroom, text};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use strongroom_appraisal::Policy;
use strongroom_wire::digest::Sha256;

/// The sections that systemd-stub measures, in the words of systemd-measure.
const MEASURED: [&str; 6] = ["linux", "osrel", "cmdline", "initrd", "uname", "sbat"];

/// The image of a folder with a kernel and a stub of Debian's, and with this archive; and what `strongroom-image` writes beside it.
fn unify(folder: &Path, archive: &[u8], more: &str) -> Option<()> {
    let (systemd, kernel) = (peers::find("SYSTEMD")?, peers::find("GUEST_KERNEL")?);
    fs::copy(systemd.join("usr/lib/systemd/boot/efi/linuxx64.efi.stub"), folder.join("linuxx64.efi.stub")).unwrap();
    fs::copy(kernel, folder.join("vmlinuz")).unwrap();
    fs::write(folder.join("initramfs.cpio"), archive).unwrap();
    fs::write(folder.join("command-line"), "console=ttyS0 quiet\n").unwrap();
    let mut command = Command::new(program("strongroom-image"));
    command.args(["uki", "--image", text(folder), "--append", more, "--out"]).arg(folder.join("guest.efi"));
    run(&mut command).ok();
    Some(())
}

/// PCR 11, as systemd-measure computes it from the sections that another wrote into `folder`.
fn measured_by_systemd(folder: &Path) -> Option<Value> {
    let systemd = peers::find("SYSTEMD")?;
    let libraries = systemd.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    let path = format!("{0}:{0}/systemd", text(&libraries));
    command.args(["--inhibit-cache", "--library-path", &path]).arg(systemd.join("usr/lib/systemd/systemd-measure"));
    command.args(["calculate", "--bank=sha256", "--phase=", "--json=short"]);
    command.args(MEASURED.map(|name| format!("--{name}={}", text(&folder.join(format!(".{name}"))))));
    Some(run(&mut command).ok().json())
}

#[test]
fn image_is_read_by_another_and_its_digest_and_pcr_11_are_those_that_others_compute() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(()) = unify(folder, b"archive, not of a multiple of the borders", "strongroom.network=dhcp") else {
        return;
    };
    let image = folder.join("guest.efi");
    let Some((mut read, lief)) = peers::script("uki.py").zip(peers::find("LIEF")) else { return };
    let theirs = run(read.arg(&image).arg(folder).env("LIEF", lief)).ok().json();
    let ours = strongroom(&["measure", "uki", "--json", "--uki", text(&image)]).ok().json();
    assert_eq!(ours["authenticode"], theirs["authenticode"]);
    assert_eq!(ours["inputs"]["uki"], Sha256::of(&fs::read(&image).unwrap()).to_string());

    // What another finds in it is what was put in.
    let section = |name: &str| fs::read(folder.join(name)).unwrap();
    for (name, file) in [(".linux", "vmlinuz"), (".initrd", "initramfs.cpio")] {
        assert!(section(name) == section(file), "{name}");
    }
    assert_eq!(section(".cmdline"), b"console=ttyS0 quiet strongroom.network=dhcp");
    let release = String::from_utf8(section(".uname")).unwrap();
    assert!(release.ends_with("-cloud-amd64"), "{release}");

    let Some(systemd) = measured_by_systemd(folder) else { return };
    assert_eq!(systemd["sha256"][0]["pcr"], 11, "{systemd}");
    assert_eq!(ours["pcr"]["11"], systemd["sha256"][0]["hash"]);
}

#[test]
fn same_parts_give_the_same_image_and_a_byte_of_the_archive_or_a_word_more_another_in_each_pcr_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let image = folder.join("guest.efi");
    let measured = |archive: &[u8], more: &str| {
        unify(folder, archive, more)?;
        let measured = strongroom(&["measure", "uki", "--json", "--uki", text(&image)]).ok().json();
        Some(["4", "9", "11", "12", "13"].map(|number| measured["pcr"][number].clone()))
    };
    let Some(first) = measured(b"archive", "") else { return };
    assert_eq!(measured(b"archive", "").unwrap(), first);
    for other in [measured(b"archivf", "").unwrap(), measured(b"archive", "panic=-1").unwrap()] {
        let changed: Vec<_> = first.iter().zip(&other).map(|(one, other)| one != other).collect();
        assert_eq!(changed, [true, true, true, false, false]);
    }
}

#[test]
fn lines_beside_the_image_are_those_of_a_policy_for_azure() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = unify(folder.path(), b"archive", "") else { return };
    let lines = fs::read_to_string(folder.path().join("guest.pcrs.toml")).unwrap();
    let [zero, text] = ["00", "ab"].map(|byte| byte.repeat(48));
    let policy = |pcrs: &str| {
        let document = format!(
            "version = 1\n[azure-snp-vtpm]\ndeployment = {{ exactly = \"{}\" }}\n[azure-snp-vtpm.hardware]\n\
             measurement = {{ exactly = \"{text}\" }}\nproduct = {{ exactly = \"Milan\" }}\n\
             tcb = {{ at-least = {{ bootloader = 3, tee = 0, snp = 8, microcode = 115 }} }}\n\
             chip = {{ any = {{ because = \"any machine of Azure's\" }} }}\n[azure-snp-vtpm.pcr]\n\
             2 = {{ exactly = \"{}\" }}\n{pcrs}",
            text.get(..64).unwrap(),
            zero.get(..64).unwrap(),
        );
        Policy::parse(document.as_bytes()).map(drop).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(policy(&lines), Ok(()));
    let without_9: String =
        lines.lines().filter(|line| !line.starts_with("9 ")).map(|line| format!("{line}\n")).collect();
    assert!(policy(&without_9).is_err());
}

#[test]
fn unified_image_of_the_guest_image_is_of_its_parts() {
    let Some(built) = built() else { return };
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("again.efi");
    let mut command = Command::new(program("strongroom-image"));
    run(command.args(["uki", "--image", text(&built), "--out"]).arg(&again)).ok();
    assert!(fs::read(&again).unwrap() == fs::read(built.join("strongroom.efi")).unwrap());
    let lines = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let pcrs = lines(&built.join("strongroom.pcrs.toml"));
    assert_eq!((pcrs.len(), lines(&folder.path().join("again.pcrs.toml"))), (5, pcrs));
}

//! What is in the image, and what is not.

use super::archive::{File, read};
use super::built;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use strongroom_wire::digest::Sha256;

/// Every file of it that can be run. There is no other.
const PROGRAMS: [&str; 10] = [
    "usr/bin/strongroom-enclave",
    "usr/bin/strongroom-init",
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/lib/x86_64-linux-gnu/libc.so.6",
    "usr/lib/x86_64-linux-gnu/libdl.so.2",
    "usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "usr/lib/x86_64-linux-gnu/libm.so.6",
    "usr/lib/x86_64-linux-gnu/libpthread.so.0",
    "usr/lib/x86_64-linux-gnu/librt.so.1",
    "usr/lib/x86_64-linux-gnu/libstdc++.so.6",
];
/// Names of shells, of package managers, and of what lets somebody in or makes somebody root.
const UNWANTED: [&str; 24] = [
    "sh", "bash", "dash", "ash", "busybox", "toybox", "zsh", "ksh", "apt", "apt-get", "dpkg", "rpm", "apk", "pip",
    "python3", "perl", "sshd", "login", "getty", "agetty", "su", "sudo", "passwd", "shadow",
];

fn is_file(file: &&File) -> bool {
    file.mode & 0o170_000 == 0o100_000
}

#[test]
fn image_has_its_two_programs_and_their_libraries_and_nothing_else_that_runs() {
    let Some(image) = built() else { return };
    let files = read(&image.join("initramfs.cpio"));
    let runnable = files.iter().filter(is_file).filter(|file| file.mode & 0o111 != 0);
    assert_eq!(runnable.map(|file| file.path.as_str()).collect::<Vec<_>>(), PROGRAMS);
    for file in &files {
        let name = file.path.rsplit('/').next().unwrap();
        assert!(!UNWANTED.contains(&name), "{}", file.path);
        assert!(!file.content.starts_with(b"#!"), "{} is a script", file.path);
    }
}

#[test]
fn nothing_in_the_image_is_setuid_writable_by_others_a_device_or_of_another_owner_than_root() {
    let Some(image) = built() else { return };
    for File { path, mode, owner, .. } in read(&image.join("initramfs.cpio")) {
        assert_eq!((mode & 0o6000, owner), (0, (0, 0)), "{path}");
        let kind = mode & 0o170_000;
        assert!([0o040_000, 0o100_000, 0o120_000].contains(&kind), "{path}: {mode:o}");
        assert!(kind == 0o120_000 || mode & 0o022 == 0, "{path}: {mode:o}");
    }
}

#[test]
fn image_has_no_private_key_and_no_word_of_the_played_security_processor() {
    let Some(image) = built() else { return };
    for File { path, content, .. } in read(&image.join("initramfs.cpio")) {
        let has = |wanted: &[u8]| content.windows(wanted.len()).any(|bytes| bytes == wanted);
        // Of PEM and OpenSSH; whoever reads keys has the words without a line of base64 behind them.
        for key in [&b"PRIVATE KEY-----\nM"[..], b"PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE"] {
            assert!(!has(key), "{path}");
        }
        assert!(!path.ends_with(".key") && !path.ends_with(".der") && !path.ends_with(".pem"), "{path}");
        assert!(!has(b"/emulated/processor.sock") && !has(b"/emulated/dev"), "{path}");
    }
    // They would be found where they are.
    let bridge = fs::read(image.join("strongroom-bridge")).unwrap();
    assert!(bridge.windows(24).any(|bytes| bytes == b"/emulated/processor.sock"));
}

#[test]
fn lists_of_the_image_name_every_file_by_its_digest() {
    let Some(image) = built() else { return };
    let files = read(&image.join("initramfs.cpio"));
    let listed = fs::read_to_string(image.join("files.txt")).unwrap();
    let row = |File { path, mode, content, .. }: &File| {
        format!("{mode:06o} {} {:>9} /{path}", Sha256::of(content), content.len())
    };
    assert_eq!(listed.lines().collect::<Vec<_>>(), files.iter().map(row).collect::<Vec<_>>());
    for line in fs::read_to_string(image.join("SHA256SUMS")).unwrap().lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        assert_eq!(Sha256::of(&fs::read(image.join(name)).unwrap()).to_string(), digest, "{name}");
    }
    let materials: Value = serde_json::from_slice(&fs::read(image.join("sbom.cdx.json")).unwrap()).unwrap();
    let components = materials["components"].as_array().unwrap();
    let named = |kind: &str| -> BTreeSet<(String, String)> {
        let of_kind = components.iter().filter(|component| component["type"] == kind);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of_kind.map(|component| (text(&component["name"]), text(&component["hashes"][0]["content"]))).collect()
    };
    let want =
        files.iter().filter(is_file).map(|file| (format!("/{}", file.path), Sha256::of(&file.content).to_string()));
    assert_eq!(named("file"), want.collect());
    let libraries: BTreeSet<_> = named("library").into_iter().map(|(name, _)| name).collect();
    for name in ["libc6", "onnxruntime", "rustls", "aws-lc-rs", "strongroom-wire", "std"] {
        assert!(libraries.contains(name), "{name}");
    }
    assert!(!libraries.contains("serde_derive"), "it makes programs, and is in none");
}

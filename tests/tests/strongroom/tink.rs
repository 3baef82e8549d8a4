//! Sealed files and Google's Tink: `AES256_GCM_HKDF_1MB`, each opens what the other sealed.

use crate::peers;
use crate::system::process::{Finished, run};
use crate::system::{bytes, strongroom, text};
use serde_json::Value;
use std::fs;
use std::path::Path;
use strongroom_wire::Code;
use tempfile::TempDir;

/// Plaintext lengths at which a stream has its first, one more, or its last full segment.
const SIZES: [usize; 6] = [0, 1, 1_048_520, 1_048_521, 2_097_080, 2_097_081];
const KEY: [u8; 32] = [0x42; 32];

/// A directory of files of all sizes, sealed by the tools.
struct Sealed {
    folder: TempDir,
    index: Value,
}

impl Sealed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::create_dir_all(plain.join("sub")).unwrap();
        for size in SIZES {
            fs::write(plain.join(format!("sub/{size}")), bytes(size)).unwrap();
        }
        fs::write(folder.path().join("key"), KEY).unwrap();
        let sealed = folder.path().join("sealed");
        strongroom(&["model", "seal", text(&plain), text(&sealed), "--key-file", text(&folder.path().join("key"))])
            .ok();
        let index = serde_json::from_slice(&fs::read(sealed.join("strongroom-seal.json")).unwrap()).unwrap();
        Self { folder, index }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The sealed file of a plaintext of `size` bytes, relative to the index, and its associated data.
    fn part(&self, size: usize) -> (&str, &str) {
        let files = self.index["files"].as_array().unwrap().iter();
        let file = files.clone().find(|file| file["size"].as_u64() == Some(size as u64)).unwrap();
        let part = &file["parts"][0];
        (part["file"].as_str().unwrap(), part["associated_data"].as_str().unwrap())
    }

    /// `strongroom model open`, whose exit and code are the outcome.
    fn open(&self, out: &str) -> Finished {
        let [sealed, out, key] = ["sealed", out, "key"].map(|name| self.path().join(name));
        strongroom(&["model", "open", text(&sealed), text(&out), "--key-file", text(&key), "--json"])
    }
}

fn tink(verb: &str, associated_data: &str, from: &Path, to: &Path) -> Option<Finished> {
    let mut command = peers::script("tink_stream.py")?;
    command.args([verb, "--key", &hex::encode(KEY), "--aad-hex", associated_data]).args([from, to]);
    Some(run(&mut command))
}

#[test]
fn tink_opens_what_we_sealed() {
    let sealed = Sealed::new();
    for size in SIZES {
        let (file, associated_data) = sealed.part(size);
        let (from, to) = (sealed.path().join("sealed").join(file), sealed.path().join(format!("{size}.opened")));
        let Some(finished) = tink("open", associated_data, &from, &to) else { return };
        finished.ok();
        assert!(fs::read(to).unwrap() == bytes(size), "{size} bytes differ");
    }
}

#[test]
fn tink_refuses_what_we_sealed_for_another_place() {
    let sealed = Sealed::new();
    let ((file, _), (_, of_another)) = (sealed.part(SIZES[1]), sealed.part(SIZES[0]));
    let (from, to) = (sealed.path().join("sealed").join(file), sealed.path().join("opened"));
    let Some(finished) = tink("open", of_another, &from, &to) else { return };
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert!(!to.exists());
}

#[test]
fn we_open_what_tink_sealed_in_the_place_of_ours() {
    let sealed = Sealed::new();
    for size in SIZES {
        let (file, associated_data) = sealed.part(size);
        let (plain, place) = (sealed.path().join(format!("plain/sub/{size}")), sealed.path().join("sealed").join(file));
        let ours = fs::read(&place).unwrap();
        let Some(finished) = tink("seal", associated_data, &plain, &place) else { return };
        finished.ok();
        let theirs = fs::read(&place).unwrap();
        assert!(theirs != ours && theirs.len() == ours.len(), "{} bytes for {}", theirs.len(), ours.len());
    }
    sealed.open("opened").ok();
    for size in SIZES {
        let opened = fs::read(sealed.path().join(format!("opened/sub/{size}"))).unwrap();
        assert!(opened == bytes(size), "{size} bytes differ");
    }
}

#[test]
fn we_refuse_what_tink_sealed_for_another_place() {
    let sealed = Sealed::new();
    let ((file, _), (_, of_another)) = (sealed.part(SIZES[1]), sealed.part(SIZES[0]));
    let (plain, place) = (sealed.path().join("plain/sub/1"), sealed.path().join("sealed").join(file));
    let Some(finished) = tink("seal", of_another, &plain, &place) else { return };
    finished.ok();
    assert_eq!(sealed.open("opened").refused(), Code::SealInvalid);
    assert!(!sealed.path().join("opened").exists());
}

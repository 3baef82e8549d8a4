use super::seal::seal_in_parts;
use super::*;
use crate::data_key::DataKey;
use crate::seal::{SEGMENT, associated_data};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Result, limits};
use tempfile::TempDir;

const KEY: [u8; 32] = [9; 32];

fn key() -> DataKey {
    DataKey::from_file_bytes(&KEY).unwrap()
}

/// A model of several sizes, sealed into `sealed` with parts of two segments and a bit.
struct Sealed {
    root: TempDir,
    index: Index,
}

impl Sealed {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        fs::create_dir_all(model.join("sub")).unwrap();
        let big: Vec<u8> = (0..5 * SEGMENT).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for (path, content) in [("big.bin", &big[..]), ("empty", b""), ("model.sig", b"{}"), (".gitignore", b"x")] {
            fs::write(model.join(path), content).unwrap();
        }
        fs::write(model.join("sub/a.json"), "{}").unwrap();
        fs::write(model.join("sub/b.json"), "[]").unwrap();
        let part_len = |_| u64::try_from(2 * SEGMENT + 5).unwrap();
        let index = seal_in_parts(&model, &root.path().join("sealed"), key(), part_len).unwrap();
        Self { root, index }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("sealed").join(name)
    }

    fn open(&self) -> Result<Index> {
        open_directory(&self.root.path().join("sealed"), &self.root.path().join("opened"), key())
    }

    /// Refused, and nothing is left of it.
    fn refused(&self) -> Code {
        let code = self.open().unwrap_err().code;
        let mut left: Vec<_> = fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["model", "sealed"]);
        code
    }

    fn change_file(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }

    fn change_index(&self, change: impl FnOnce(&mut Value)) {
        self.change_file(INDEX, |bytes| {
            let mut json = serde_json::from_slice(bytes).unwrap();
            change(&mut json);
            *bytes = json.to_string().into_bytes();
        });
    }
}

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = crate::directory::list_files(root, crate::directory::Selection::Everything).unwrap();
    files.into_iter().map(|file| (file.path.clone(), fs::read(root.join(&file.path)).unwrap())).collect()
}

#[test]
fn opened_directory_is_the_one_that_was_sealed() {
    let sealed = Sealed::new();
    assert_eq!(sealed.open().unwrap(), sealed.index);
    assert!(tree(&sealed.root.path().join("model")) == tree(&sealed.root.path().join("opened")));
    let names: Vec<_> = tree(&sealed.root.path().join("sealed")).into_keys().collect();
    assert_eq!(
        names,
        [
            ".gitignore.sealed",
            "big.bin.sealed.1",
            "big.bin.sealed.2",
            "big.bin.sealed.3",
            "empty.sealed",
            "model.sig.sealed",
            "strongroom-seal.json",
            "sub/a.json.sealed",
            "sub/b.json.sealed",
        ]
    );
}

#[test]
fn index_says_what_another_implementation_needs() {
    let sealed = Sealed::new();
    let id = sealed.index.id().unwrap();
    assert_eq!(sealed.index.scheme, "tink-aes256-gcm-hkdf-1mb");
    assert_eq!(sealed.index.commitment().unwrap(), key().commitment(&id));
    let part = &sealed.index.files[1].parts[1];
    assert_eq!(part.file, "big.bin.sealed.2");
    assert_eq!(part.associated_data, hex::encode(associated_data(&id, "big.bin", 2, 3)));
    assert_eq!(part.sealed_size, fs::metadata(sealed.path(&part.file)).unwrap().len());
    assert_eq!(Index::parse(&fs::read(sealed.path(INDEX)).unwrap()).unwrap(), sealed.index);
}

#[test]
fn every_sealed_part_opens_as_a_stream_too() {
    let sealed = Sealed::new();
    for part in sealed.index.files.iter().flat_map(|file| &file.parts) {
        let bytes = fs::read(sealed.path(&part.file)).unwrap();
        let ad = hex::decode(&part.associated_data).unwrap();
        let mut stream = crate::seal::OpenStream::new(&key(), &ad, part.sealed_size).unwrap();
        let mut length = 0;
        let mut sink = |plain: &[u8]| {
            length += u64::try_from(plain.len()).unwrap();
            Ok(())
        };
        stream.push(&bytes, &mut sink).unwrap();
        stream.finish().unwrap();
        assert_eq!(length, part.size);
    }
}

#[test]
fn another_key_refused_before_anything_is_opened() {
    let sealed = Sealed::new();
    let out = sealed.root.path().join("opened");
    let refused = open_directory(&sealed.root.path().join("sealed"), &out, DataKey::generate().unwrap());
    assert_eq!(refused.unwrap_err().code, Code::KeyCommitmentMismatch);
    assert!(!out.exists());
}

#[test]
fn changed_swapped_cut_and_missing_parts_refused_and_nothing_left() {
    let sealed = Sealed::new();
    sealed.change_file("big.bin.sealed.2", |bytes| bytes[SEGMENT + 3] ^= 1);
    assert_eq!(sealed.refused(), Code::SealInvalid);
    let sealed = Sealed::new();
    fs::rename(sealed.path("sub/a.json.sealed"), sealed.path("x")).unwrap();
    fs::rename(sealed.path("sub/b.json.sealed"), sealed.path("sub/a.json.sealed")).unwrap();
    fs::rename(sealed.path("x"), sealed.path("sub/b.json.sealed")).unwrap();
    assert_eq!(sealed.refused(), Code::SealInvalid);
    let sealed = Sealed::new();
    fs::copy(sealed.path("big.bin.sealed.1"), sealed.path("big.bin.sealed.2")).unwrap();
    assert_eq!(sealed.refused(), Code::SealInvalid);
    let sealed = Sealed::new();
    sealed.change_file("big.bin.sealed.1", |bytes| bytes.truncate(SEGMENT));
    assert_eq!(sealed.refused(), Code::LayerSizeMismatch);
    let sealed = Sealed::new();
    fs::remove_file(sealed.path("empty.sealed")).unwrap();
    assert_eq!(sealed.refused(), Code::Io);
    let sealed = Sealed::new();
    fs::remove_file(sealed.path(INDEX)).unwrap();
    assert_eq!(sealed.refused(), Code::Io);
}

#[test]
fn index_that_contradicts_itself_or_leaves_its_directory_refused() {
    let refused = |change: fn(&mut Value)| {
        let sealed = Sealed::new();
        sealed.change_index(change);
        sealed.refused()
    };
    assert_eq!(refused(|v| v["version"] = json!(2)), Code::VersionUnsupported);
    assert_eq!(refused(|v| v["scheme"] = json!("rot13")), Code::ModelUnsupported);
    assert_eq!(refused(|v| v["extra"] = json!(1)), Code::UnknownField);
    assert_eq!(refused(|v| v["files"] = json!([])), Code::Malformed);
    assert_eq!(refused(|v| v["files"][0]["path"] = json!("../out")), Code::PathUnsafe);
    assert_eq!(refused(|v| v["files"][0]["path"] = json!("empty")), Code::PathUnsafe);
    assert_eq!(refused(|v| v["files"][0]["parts"][0]["file"] = json!("../../x")), Code::Malformed);
    assert_eq!(refused(|v| v["files"][0]["parts"][0]["associated_data"] = json!("00")), Code::Malformed);
    assert_eq!(refused(|v| v["files"][0]["parts"][0]["sealed_size"] = json!(1)), Code::SealInvalid);
    assert_eq!(refused(|v| v["files"][0]["parts"][0]["size"] = json!(2)), Code::Malformed);
    assert_eq!(refused(|v| v["files"][0]["size"] = json!(2)), Code::Malformed);
    assert_eq!(refused(|v| v["files"][0]["parts"] = json!([])), Code::Malformed);
    assert_eq!(refused(|v| v["key_commitment"] = json!("00".repeat(32))), Code::KeyCommitmentMismatch);
    // Another artifact's id contradicts the associated data; a file that is left out of the index is simply not there.
    assert_eq!(refused(|v| v["artifact_id"] = json!("00".repeat(16))), Code::Malformed);
}

#[test]
fn full_output_directory_refused_and_left_alone() {
    let sealed = Sealed::new();
    let out = sealed.root.path().join("opened");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "x").unwrap();
    assert_eq!(sealed.open().unwrap_err().code, Code::Usage);
    assert_eq!(fs::read(out.join("mine")).unwrap(), b"x");
}

#[test]
fn index_over_its_limit_refused() {
    assert_eq!(Index::parse(&vec![b' '; limits::SEAL_INDEX + 1]).unwrap_err().code, Code::TooLarge);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(Index::parse(&bytes).is_err());
    }
}

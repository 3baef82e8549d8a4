//! What the reference client of OpenSSF Model Signing wrote (PyPI `model-signing` 1.1.1, key `keys/p256.pkcs8.pem`, over
//! `oms/model`), read by this crate.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use strongroom_artifact::directory::hash_directory;
use strongroom_artifact::oms::{SignedStatement, verify_statement};
use strongroom_artifact::{FileDigest, HashAlgorithm, PublicKey};
use strongroom_wire::{Code, Result};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn statement(name: &str) -> Result<SignedStatement> {
    let key = PublicKey::from_pem(&std::fs::read(file("keys/p256.pub.pem")).unwrap()).unwrap();
    verify_statement(&std::fs::read(file("oms").join(name)).unwrap(), &[key])
}

fn hashed(algorithm: HashAlgorithm) -> Vec<FileDigest> {
    hash_directory(&file("oms/model"), algorithm).unwrap()
}

#[test]
fn statements_of_the_reference_client_accepted_under_each_hash() {
    for (name, algorithm) in [
        ("reference.sig", HashAlgorithm::Sha256),
        ("reference-blake2.sig", HashAlgorithm::Blake2b),
        ("reference-blake3.sig", HashAlgorithm::Blake3),
    ] {
        let statement = statement(name).unwrap();
        assert_eq!(statement.hash_type(), algorithm);
        assert_eq!(statement.name(), "model");
        statement.compare(&hashed(algorithm)).unwrap();
    }
}

#[test]
fn its_order_of_files_is_by_component_and_ours_by_code_point() {
    let statement = statement("reference.sig").unwrap();
    let theirs: Vec<_> = statement.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(theirs, ["config.json", "sub/tok.txt", "sub-dash.txt", "weights.bin"]);
    let ours: Vec<_> = hashed(HashAlgorithm::Sha256).into_iter().map(|file| file.path).collect();
    assert_eq!(ours, ["config.json", "sub-dash.txt", "sub/tok.txt", "weights.bin"]);
}

#[test]
fn changed_directory_refused() {
    let statement = statement("reference.sig").unwrap();
    let mut files = hashed(HashAlgorithm::Sha256);
    statement.compare(&files).unwrap();
    files[3].digest[0] ^= 1;
    assert_eq!(statement.compare(&files).unwrap_err().code, Code::StatementMismatch);
}

#[test]
fn statement_over_shards_refused_as_not_supported() {
    assert_eq!(statement("reference-shards.sig").unwrap_err().code, Code::ModelUnsupported);
}

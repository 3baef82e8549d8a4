//! What the reference client of OpenSSF Model Signing wrote (PyPI `model-signing` 1.1.1, key `keys/p256.pkcs8.pem`, over
//! `oms/model`), read by this crate.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use strongroom_artifact::directory::{Selection, hash_directory, hash_shards, list_files};
use strongroom_artifact::oms::{Shape, SignedStatement, sign_payload, statement_of, verify_statement};
use strongroom_artifact::{FileDigest, HashAlgorithm, PublicKey, SigningKey};
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
fn statement_of_the_reference_client_over_shards_accepted_and_over_a_changed_file_refused() {
    let statement = statement("reference-shards.sig").unwrap();
    let length = statement.shard_len().unwrap();
    let directory = file("oms/model");
    let files = list_files(&directory, Selection::Signed).unwrap();
    let mut shards = hash_shards(&directory, &files, statement.hash_type(), length).unwrap();
    statement.compare(&shards).unwrap();
    assert_eq!(statement.compare(&hashed(HashAlgorithm::Sha256)).unwrap_err().code, Code::StatementMismatch);
    shards[1].digest[0] ^= 1;
    assert_eq!(statement.compare(&shards).unwrap_err().code, Code::StatementMismatch);
}

#[test]
fn statement_over_shards_of_several_reads_back_and_covers_every_byte() {
    let directory = file("oms/model");
    let files = list_files(&directory, Selection::Signed).unwrap();
    let shards = hash_shards(&directory, &files, HashAlgorithm::Blake3, 4).unwrap();
    assert!(shards.len() > files.len());
    let key = SigningKey::generate().unwrap();
    let payload = statement_of("model", &shards, &Shape { shard_len: Some(4), ..Shape::default() }).unwrap();
    let bundle = sign_payload(&payload, &key).unwrap();
    let statement = verify_statement(&bundle, &[key.public()]).unwrap();
    statement.compare(&shards).unwrap();
    // A file that grew by a byte, and one whose last range is missing.
    let mut grown = files.clone();
    grown[0].size -= 1;
    let shorter = hash_shards(&directory, &grown, HashAlgorithm::Blake3, 4).unwrap();
    assert_eq!(statement.compare(&shorter).unwrap_err().code, Code::StatementMismatch);
    assert_eq!(statement.compare(&shards[1..]).unwrap_err().code, Code::StatementMismatch);
}

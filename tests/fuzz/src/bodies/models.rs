//! What registries, files and operators say of models: manifests, bundles, sealed streams, keys, references.

use super::super::mutation::Script;
use super::choose;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use strongroom_artifact::local::Index;
use strongroom_artifact::seal::{OpenStream, Sealer, plain_len, sealed_len};
use strongroom_artifact::{
    ArtifactId, BUNDLE_V0_3, DataKey, FileDigest, HashAlgorithm, Manifest, PublicKey, SigningKey, cosign, oms, path,
};
use strongroom_registry_client::{Credentials, Reference};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::digest::Sha256;
use strongroom_wire::limits;

/// The parser of `WWW-Authenticate` has no public door.
#[path = "../../../../registry-client/src/challenge.rs"]
mod challenge;

const MANIFEST: Sha256 = Sha256([7; 32]);
const PLACE: &[u8] = b"strongroom/seal/v1\0place";
/// scrypt's N above which a key file is not opened here: the limit's own costs 128 MiB and most of a second.
const CHEAP: u64 = 1024;

pub static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static DATA_KEY: LazyLock<DataKey> = LazyLock::new(|| DataKey::generate().unwrap());

pub fn run(input: &[u8]) {
    let all = [manifest, index, bundle, statement, changed_bundle, changed_statement, simple, stream, keys, texts];
    choose(input, &all);
}

fn manifest(input: &[u8]) {
    let Ok(manifest) = Manifest::parse(input) else { return };
    assert_eq!((manifest.raw(), manifest.digest()), (input, Sha256::of(input)));
    assert!(!manifest.layers().is_empty() && manifest.layers().len() <= limits::LAYERS);
    for layer in manifest.layers() {
        assert_eq!(path::parse_path(&layer.path).unwrap(), layer.path);
        assert_eq!(layer.sealed, manifest.sealing().is_some());
        assert!(!layer.sealed || plain_len(layer.size).unwrap() == layer.plain_size);
    }
}

fn index(input: &[u8]) {
    let Ok(index) = Index::parse(input) else { return };
    let written = serde_json::to_vec(&index).unwrap();
    assert_eq!(Index::parse(&written).unwrap(), index);
    assert!(index.files.iter().all(|file| path::parse_path(&file.path).is_ok()));
}

/// Any bundle before a key that signed none, and the input well signed as a statement.
fn bundle(input: &[u8]) {
    assert!(cosign::verify_bundle(input, &MANIFEST, &STRANGER.public()).is_err(), "a signature of nobody's");
    if cosign::verify_bundle(&well_signed(input), &MANIFEST, &SIGNER.public()).is_ok() {
        let statement: Value = serde_json::from_slice(input).unwrap();
        let named = |subject: &Value| subject["digest"]["sha256"] == MANIFEST.to_string();
        assert!(statement["subject"].as_array().unwrap().iter().any(named), "signs another manifest");
    }
}

fn statement(input: &[u8]) {
    assert!(oms::verify_statement(input, &[STRANGER.public()]).is_err(), "a statement of nobody's");
    let Ok(statement) = oms::verify_statement(&well_signed(input), &[SIGNER.public()]) else { return };
    assert_eq!(statement.payload(), input);
    assert!(statement.files().iter().all(|file| path::parse_path(&file.path).is_ok()));
    statement.compare(statement.files()).unwrap();
}

/// A bundle in which [`SIGNER`] signed `payload` as an in-toto statement, and which names no key.
fn well_signed(payload: &[u8]) -> Vec<u8> {
    let kind = "application/vnd.in-toto+json";
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend(payload);
    let signature = to_base64(&SIGNER.sign(&signed).unwrap());
    let envelope = json!({"payload": to_base64(payload), "payloadType": kind, "signatures": [{"sig": signature}]});
    let material = json!({"publicKey": {}});
    json!({"mediaType": BUNDLE_V0_3, "verificationMaterial": material, "dsseEnvelope": envelope})
        .to_string()
        .into_bytes()
}

/// The payload of a bundle.
pub fn payload(bundle: &[u8]) -> Vec<u8> {
    let bundle: Value = serde_json::from_slice(bundle).unwrap();
    from_base64(bundle["dsseEnvelope"]["payload"].as_str().unwrap(), "payload").unwrap()
}

/// A bundle that signs [`MANIFEST`].
pub fn sound_bundle() -> Vec<u8> {
    cosign::sign_manifest(&MANIFEST, &*SIGNER, &BTreeMap::new()).unwrap()
}

fn changed_bundle(input: &[u8]) {
    let sound = sound_bundle();
    let mut changed = [sound.clone()];
    Script::new(input).change(&mut changed, &[&sound]);
    let other = Sha256([8; 32]);
    assert!(cosign::verify_bundle(&changed[0], &other, &SIGNER.public()).is_err(), "signs another manifest");
    assert!(cosign::verify_bundle(&changed[0], &MANIFEST, &STRANGER.public()).is_err(), "verifies with another key");
}

/// A statement over two files.
pub fn sound_statement() -> Vec<u8> {
    let file = |(path, fill): (&str, u8)| FileDigest {
        path: path.to_owned(),
        algorithm: HashAlgorithm::Sha256,
        digest: vec![fill; 32],
    };
    oms::sign_statement("model", &[("config.json", 1), ("onnx/model.onnx", 2)].map(file), &*SIGNER).unwrap()
}

fn changed_statement(input: &[u8]) {
    let sound = sound_statement();
    let mut changed = [sound.clone()];
    Script::new(input).change(&mut changed, &[&sound]);
    let keys = [SIGNER.public()];
    let Ok(statement) = oms::verify_statement(&changed[0], &keys) else { return };
    assert_eq!(statement.payload(), oms::verify_statement(&sound, &keys).unwrap().payload());
}

fn simple(input: &[u8]) {
    let mut script = Script::new(input);
    let payload = br#"{"critical":{"type":"cosign container image signature"}}"#;
    let mut parts = [payload.to_vec(), SIGNER.sign(payload).unwrap()];
    script.change(&mut parts, &[payload, input]);
    // It is well signed where it is unchanged, and names no manifest.
    assert!(cosign::verify_simple(&parts[0], &parts[1], &MANIFEST, &SIGNER.public()).is_err());
}

/// What comes out of a changed stream is its plaintext from the front, and all of it only where nothing was changed.
fn stream(input: &[u8]) {
    let plain = input;
    let mut sealer = Sealer::new(&DATA_KEY, PLACE, Vec::new()).unwrap();
    sealer.write(plain).unwrap();
    let sound = sealer.finish().unwrap().out;
    assert_eq!(u64::try_from(sound.len()).unwrap(), sealed_len(u64::try_from(plain.len()).unwrap()));
    let mut changed = [sound.clone()];
    Script::new(input).change(&mut changed, &[&sound]);
    let [changed] = changed;
    let Ok(mut stream) = OpenStream::new(&DATA_KEY, PLACE, u64::try_from(changed.len()).unwrap()) else { return };
    let mut opened = Vec::new();
    let mut sink = |segment: &[u8]| {
        opened.extend_from_slice(segment);
        Ok(())
    };
    let pushed = changed.chunks(97).try_for_each(|chunk| stream.push(chunk, &mut sink));
    let whole = pushed.and_then(|()| stream.finish()).is_ok();
    assert!(plain.starts_with(&opened));
    assert_eq!(whole, changed == sound);
}

fn keys(input: &[u8]) {
    let cheap = || {
        let text = String::from_utf8_lossy(input);
        let (_, begun) = text.split_once("-----\n")?;
        let (base64, _) = begun.split_once("\n-----")?;
        let json = from_base64(&base64.replace(['\n', '\r'], ""), "key").ok()?;
        let file: Value = serde_json::from_slice(&json).ok()?;
        Some(file.pointer("/kdf/params/N")?.as_u64()? <= CHEAP)
    };
    let encrypted = input.windows(9).any(|window| window == b"ENCRYPTED");
    if (!encrypted || cheap() == Some(true))
        && let Ok(key) = SigningKey::from_pem(input, Some(b"password"))
    {
        let signature = key.sign(b"message").unwrap();
        key.public().verify(b"message", &signature).unwrap();
        let written = key.to_pkcs8_pem().unwrap();
        assert_eq!(SigningKey::from_pem(written.expose().as_bytes(), None).unwrap().public(), key.public());
    }
    for key in [PublicKey::from_pem(input), PublicKey::from_der(input)].into_iter().flatten() {
        assert_eq!(PublicKey::from_der(key.spki_der()).unwrap(), key);
        assert_eq!(PublicKey::from_pem(key.pem().as_bytes()).unwrap(), key);
    }
    if let Ok(key) = DataKey::from_file_bytes(input) {
        assert!(input == key.expose() || input.len() >= 64);
    }
}

fn texts(input: &[u8]) {
    let _ = Credentials::from_config_json(input, "registry.example");
    let Ok(text) = core::str::from_utf8(input) else { return };
    for challenge in challenge::Challenge::parse(text) {
        if let challenge::Challenge::Bearer { realm, service } = challenge {
            assert!(realm.len() + service.unwrap_or_default().len() <= text.len());
        }
    }
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        assert!(text.starts_with(&reference.name()) && !reference.repository().contains(".."));
    }
    if let Ok(safe) = path::parse_path(text) {
        assert!(!safe.starts_with('/') && safe.split('/').all(|part| !part.is_empty() && part != ".." && part != "."));
    }
    if let Ok(id) = ArtifactId::from_hex(text) {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(algorithm) = HashAlgorithm::parse(text) {
        assert_eq!(algorithm.as_str(), text);
    }
}

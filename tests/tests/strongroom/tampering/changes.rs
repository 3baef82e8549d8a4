//! How a model is changed.

use super::stage::{Model, SEQUENCE, Stage, WEIGHTS, layer, point};
use crate::system::{bytes, strongroom, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use strongroom_artifact::SigningKey;
use strongroom_artifact::cosign::sign_manifest;
use strongroom_artifact::promotion::Statement;
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_wire::bytes::{from_base64, to_base64};

/// A segment of a sealed stream, as it is stored.
pub(super) const SEGMENT: usize = 1 << 20;

pub(super) fn serve(stage: &Stage, target: Target, lie: Fault) {
    stage.registry().faults().set(target, Times::Always, lie);
}

/// Exchanges the blobs of two files.
pub(super) fn exchange(manifest: &mut Value, before: &Value) {
    for (path, other) in [("a.bin", "b.bin"), ("b.bin", "a.bin")] {
        let digest = layer(&mut before.clone(), other)["digest"].clone();
        layer(manifest, path)["digest"] = digest;
    }
}

/// The model with other bytes in the place of a file's, under a signature by who is trusted.
pub(super) fn replaced(stage: &Stage, model: &Model, change: fn(&mut Vec<u8>)) -> String {
    let mut content = stage.fetch(model, "a.bin");
    change(&mut content);
    let size = content.len();
    let digest = stage.store(model, content);
    stage.signed(model, &model.with(|manifest| point(manifest, "a.bin", digest, size)))
}

/// The model with its signature changed.
pub(super) fn signature(stage: &Stage, change: impl FnOnce(&mut Value)) -> String {
    let mut bundle: Value = serde_json::from_slice(&stage.sealed.bundle).unwrap();
    change(&mut bundle);
    stage.present(&stage.sealed, stage.sealed.digest, &[bundle.to_string().into_bytes()])
}

pub(super) fn present_by(stage: &Stage, signer: &SigningKey) -> String {
    let bundle = sign_manifest(&stage.sealed.digest, signer, &BTreeMap::new()).unwrap();
    stage.present(&stage.sealed, stage.sealed.digest, &[bundle])
}

/// The model with an identity's signature alone, of which the material was changed.
pub(super) fn identity(stage: &Stage, change: impl FnOnce(&mut Value)) -> String {
    let mut bundle = stage.identity_bundle();
    change(&mut bundle["verificationMaterial"]);
    stage.present(&stage.sealed, stage.sealed.digest, &[bundle.to_string().into_bytes()])
}

/// The plain model with its statement changed, whose parts are the bundle and the payload in it.
pub(super) fn statement(stage: &Stage, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let mut bundle: Value = serde_json::from_slice(&stage.fetch(&stage.plain, "model.sig")).unwrap();
    let payload = from_base64(bundle["dsseEnvelope"]["payload"].as_str().unwrap(), "payload").unwrap();
    change(&mut bundle, &mut serde_json::from_slice(&payload).unwrap());
    let content = bundle.to_string().into_bytes();
    let size = content.len();
    let digest = stage.store(&stage.plain, content);
    stage.signed(&stage.plain, &stage.plain.with(|manifest| point(manifest, "model.sig", digest, size)))
}

/// The model that must be promoted, with a promotion that was changed before it was signed, or after.
pub(super) fn promotion(stage: &Stage, before: impl FnOnce(&mut Statement), after: impl FnOnce(&mut Value)) -> String {
    let mut statement = stage.promotion(&stage.promoted, SEQUENCE);
    before(&mut statement);
    let mut bundle = serde_json::from_slice(&statement.sign(&stage.promoter).unwrap()).unwrap();
    after(&mut bundle);
    stage.stated(&[bundle.to_string().into_bytes()])
}

/// A directory that was sealed and then changed.
pub(super) fn sealed(stage: &Stage, change: fn(&Path)) -> String {
    let [plain, whole, changed, key] = ["three", "three.sealed", "changed", "data.key"].map(|name| stage.path(name));
    if !plain.exists() {
        fs::create_dir(&plain).unwrap();
        for (name, content) in [("a.bin", &bytes(WEIGHTS)), ("b.bin", &bytes(WEIGHTS + 4)[4..].to_vec())] {
            fs::write(plain.join(name), content).unwrap();
        }
        fs::write(plain.join("long.bin"), bytes(4 * SEGMENT)).unwrap();
        strongroom(&["model", "seal", text(&plain), text(&whole), "--key-file", text(&key)]).ok();
        fs::create_dir(&changed).unwrap();
    }
    for file in fs::read_dir(whole).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), changed.join(file.file_name())).unwrap();
    }
    change(&changed);
    text(&changed).to_owned()
}

pub(super) fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
}

pub(super) fn index(folder: &Path, change: impl FnOnce(&mut Value)) {
    rewrite(&folder.join("strongroom-seal.json"), |content| {
        let mut index = serde_json::from_slice(content).unwrap();
        change(&mut index);
        *content = index.to_string().into_bytes();
    });
}

/// One bit of what a text in base64 says, near its end: where signatures keep theirs.
pub(super) fn flip(value: &mut Value) {
    let mut content = from_base64(value.as_str().unwrap(), "text").unwrap();
    let at = content.len() - 5;
    content[at] ^= 1;
    *value = to_base64(&content).into();
}

/// The same of a text in hexadecimal digits.
pub(super) fn flip_hex(value: &mut Value) {
    let mut content = hex::decode(value.as_str().unwrap()).unwrap();
    content[0] ^= 1;
    *value = hex::encode(content).into();
}

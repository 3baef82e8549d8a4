//! Those who offer something else than the model.

use super::Stage;
use crate::demo::publish;
use crate::guest::Launch;
use crate::world::{World, read, text};
use http::{Method, Request};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_transport::{HttpClient, ServerTrust, http as body, read_body};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

pub(super) fn flipped_bit(stage: &Stage<'_>) -> Result<Refusal> {
    let manifest = get(stage, &format!("models/tiny/manifests/{}", stage.model.manifest.oci()))?;
    let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
    let largest = layers.max_by_key(|layer| layer.get("size").and_then(Value::as_u64));
    let digest = largest.and_then(|layer| layer.get("digest")).and_then(Value::as_str).unwrap_or_default();
    let digest = Sha256::from_oci(digest)?;
    // The registry keeps content in files; its operator changes one bit in the middle of one.
    let file = find(&stage.world.path().join("registry"), &digest.to_string())?;
    let sound = read(&file)?;
    let mut changed = sound.clone();
    let middle = changed.len() / 2;
    changed.get_mut(middle).map(|byte| *byte ^= 1).ok_or_else(|| Refusal::new(Code::Internal, "empty layer"))?;
    let store = |content: &[u8]| std::fs::write(&file, content).map_err(|e| Refusal::io(file.display(), &e));
    let launch = Launch::honest(stage.world, &stage.document);
    store(&changed)?;
    let refusal = stage.does_not_serve(&launch, "flipped-bit");
    store(&sound)?;
    stage.serves(&launch, "flipped-back")?;
    refusal
}

pub(super) fn unsigned(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    let model = publish(world, &world.inputs.small_model, "models/unsigned", "models/unsigned/v1", "release")?;
    let document = world.document(&model.name, &model.reference, &world.verifier)?;
    world.allow(&world.verifier, "models/unsigned/v1", &[&document])?;
    world.promote(&model.reference)?;
    let launch = Launch::honest(world, &document);
    stage.serves(&launch, "signed")?;
    let referrers = get(stage, &format!("models/unsigned/referrers/{}", model.manifest.oci()))?;
    for referrer in referrers.get("manifests").and_then(Value::as_array).into_iter().flatten() {
        let digest = referrer.get("digest").and_then(Value::as_str).unwrap_or_default();
        request(stage, Method::DELETE, &format!("models/unsigned/manifests/{digest}"))?;
    }
    // The older form is beside it, under a tag made of the digest.
    request(stage, Method::DELETE, &format!("models/unsigned/manifests/sha256-{}.sig", model.manifest))?;
    stage.refuses_itself(&launch, "unsigned")
}

pub(super) fn stranger(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    world.signer("stranger")?;
    let launch = |signer: &str, key: &str| {
        let model = publish(world, &world.inputs.small_model, "models/contested", key, signer)?;
        let document = world.document(&model.name, &model.reference, &world.verifier)?;
        world.allow(&world.verifier, key, &[&document])?;
        world.promote(&model.reference)?;
        Ok(Launch::honest(world, &document))
    };
    stage.serves(&launch("release", "models/contested/v1")?, "signed-by-release")?;
    stage.refuses_itself(&launch("stranger", "models/contested/v2")?, "signed-by-stranger")
}

/// A file sealed with one key is replaced by a ciphertext that authenticates under that key and under another one.
pub(super) fn two_keys(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    let folder = |name: &str| {
        let path = world.path().join(name);
        std::fs::create_dir_all(&path).map(|()| path.clone()).map_err(|e| Refusal::io(path.display(), &e))
    };
    let plain = folder("two-keys")?;
    let file = plain.join("notice");
    std::fs::write(&file, [0; strongroom_devkit::two_key::PLAINTEXT_LEN])
        .map_err(|e| Refusal::io(file.display(), &e))?;
    let (first, second) = ([0x11; 32], [0x22; 32]);
    let first_file = world.file("first.key", first)?;
    let second_file = world.file("second.key", second)?;
    let sealed = world.path().join("two-keys.sealed");
    world.strongroom(&["model", "seal", text(&plain)?, text(&sealed)?, "--key-file", text(&first_file)?])?;
    let description = read(&sealed.join("strongroom-seal.json"))?;
    let description: Value = serde_json::from_slice(&description).map_err(|e| Refusal::malformed("seal", e))?;
    let associated_data = associated_data(&description)?;
    let forged = strongroom_devkit::two_key::sealed_under_both([&first, &second], &associated_data, &[0x55; 32])?;
    opens(&forged, &first, &associated_data)?;
    opens(&forged, &second, &associated_data)?;
    let target = find(&sealed, "notice.sealed")?;
    std::fs::write(&target, &forged).map_err(|e| Refusal::io(target.display(), &e))?;
    let open = |key: &Path, out: &str| {
        let out = world.path().join(out);
        world.strongroom_ends(&["model", "open", text(&sealed)?, text(&out)?, "--key-file", text(key)?])
    };
    let committed = open(&first_file, "two-keys.first")?;
    if committed.code != 0 {
        return Err(Refusal::new(Code::Internal, "twin").got(committed.stderr));
    }
    let other = open(&second_file, "two-keys.second")?;
    match (other.code, other.stderr.contains(Code::KeyCommitmentMismatch.as_str())) {
        (1, true) => Ok(Refusal::new(Code::KeyCommitmentMismatch, "strongroom model open")),
        (exit, _) => Err(Refusal::new(Code::Internal, "second key").got(format!("exit {exit}: {}", other.stderr))),
    }
}

/// As the description of the sealed folder states it for its only file, in hex.
fn associated_data(description: &Value) -> Result<Vec<u8>> {
    let stated = description.pointer("/files/0/parts/0/associated_data").and_then(Value::as_str);
    let stated = stated.ok_or_else(|| Refusal::malformed("seal", "no associated data").got(description))?;
    hex::decode(stated).map_err(|e| Refusal::malformed("associated data", e))
}

/// Without the commitment either key opens it: plain AES-GCM is content.
fn opens(stream: &[u8], key: &[u8; 32], associated_data: &[u8]) -> Result<()> {
    let key = strongroom_artifact::DataKey::from_file_bytes(key)?;
    let length = u64::try_from(stream.len()).unwrap_or(u64::MAX);
    let mut opener = strongroom_artifact::seal::OpenStream::new(&key, associated_data, length)?;
    opener.push(stream, &mut |_| Ok(()))?;
    opener.finish()
}

/// A file by its name, anywhere below a folder.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| Refusal::io(folder.display(), &e))?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|found| found.to_string_lossy().contains(name)) {
                return Ok(path);
            }
        }
    }
    Err(Refusal::new(Code::Internal, "registry storage").got("no such file").want(name))
}

fn get(stage: &Stage<'_>, path: &str) -> Result<Value> {
    let body = request(stage, Method::GET, path)?;
    serde_json::from_slice(&body).map_err(|e| Refusal::malformed("registry", e))
}

pub(super) fn request(stage: &Stage<'_>, method: Method, path: &str) -> Result<Vec<u8>> {
    let World { registry, .. } = stage.world;
    let request = Request::builder().method(method).uri(format!("http://{registry}/v2/{path}")).body(body::empty());
    let request = request.map_err(|e| Refusal::malformed("request", e))?;
    stage.runtime.block_on(async {
        let client = HttpClient::new(&ServerTrust::WebPki, true)?;
        let response = client.send(request, Duration::from_secs(10)).await?;
        let status = response.status();
        let body = read_body(response.into_body(), limits::MANIFEST, "registry").await?;
        match status.is_success() {
            true => Ok(body.to_vec()),
            false => Err(Refusal::new(Code::RegistryFailed, path).got(status)),
        }
    })
}

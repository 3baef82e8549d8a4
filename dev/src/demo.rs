//! The demo's recipe.

mod calls;
pub(crate) mod print;
mod refusals;

use crate::guest::{Guest, Launch};
use crate::process;
use crate::world::{Inputs, PRODUCTION, World, random_hex, text};
use print::Steps;
use serde_json::Value;
use std::path::Path;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// A published model.
pub(crate) struct Published {
    /// The name that requests use.
    pub(crate) name: String,
    /// `host/repo@sha256:…`.
    pub(crate) reference: String,
    /// Digest of its manifest.
    pub(crate) manifest: Sha256,
}

/// 1. Surroundings: a fresh test root, a registry, a verifier.
/// 2. Publish: sign and seal the model, push it; its key goes to the verifier alone.
/// 3. Approve: which measurement and which deployment document the key's own policy accepts, and by Cedar policies which of
///    those that are accepted may have which key.
/// 4. Promote: operations say that the model is for production, to the registry and the verifier.
/// 5. Boot: the guest verifies signatures and promotion, attests, gets the key, opens and serves. Its host gives it no
///    certificates: the verifier asks the vendor's service for them.
/// 6. Verify: a client checks the evidence itself.
/// 7. Call: three sentences through the local proxy.
/// 8. Audit: the release stands in the verifier's log.
/// 9. Every refusal, beside its accepted twin.
/// 10. With `keep`, everything stays up until somebody stops it.
pub(crate) fn run(inputs: Inputs, keep: bool) -> Result<()> {
    let mut steps = Steps::start();
    let world = World::start(inputs)?;
    process::clean_up_on_signal(world.path().to_owned())?;
    world.signer("release")?;
    world.signer("operations")?;
    steps.done(
        "surroundings",
        &format!("test root {}, registry {}, verifier {}", world.root()?, world.registry, world.verifier.url),
    );

    let model =
        publish(&world, &world.inputs.model, "models/all-minilm-l6-v2", "models/all-minilm-l6-v2/v1", "release")?;
    steps.done("publish", &format!("{} signed, sealed and pushed as {}", model.name, model.manifest.oci()));

    let document = world.document(&model.name, &model.reference, &world.verifier)?;
    world.allow(&world.verifier, "models/all-minilm-l6-v2/v1", &[&document])?;
    world.authorize(&world.verifier)?;
    let approved = format!("measurement {}…, deployment {}", short(&world.measurement), Sha256::of(&document));
    steps.done("approve", &format!("{approved}; Cedar policies permit keys under `models/`"));

    let sequence = world.promote(&model.reference)?;
    steps.done("promote", &format!("{} to {PRODUCTION} with sequence {sequence}, for 30 days", model.name));

    let launch = Launch { certificates: false, ..Launch::honest(&world, &document) };
    let guest = launch.boot(&world, "enclave")?;
    asked_once(&world)?;
    steps.done(
        "boot",
        "HOST_DATA names the document; signatures and promotion held; attested, the chip's certificate asked for once; key released; \
         opened in memory; serving",
    );

    let policy = client_policy(&world, &document, &model)?;
    let verified = calls::verify(&world, &guest.url(), &policy)?;
    steps.done("verify", &format!("{} checks held over {}", verified, guest.url()));

    let proxy = calls::Proxy::start(&world, &guest.url(), &policy, None)?;
    let similarities = proxy.similarities(&model.name)?;
    steps.done("call", &similarities);

    let released = released(&world)?;
    steps.done("audit", &format!("{released} release of the key, recorded before it left"));
    logs_are_silent(&world, &guest, &proxy)?;

    let refused = refusals::run(&world, &mut steps)?;
    steps.end(refused);
    if keep {
        print::kept(&world, &proxy, &model, &guest);
        loop {
            std::thread::park(); // until the signal that stops everything
        }
    }
    drop(proxy);
    guest.stop()?;
    world.stop()
}

/// `strongroom model push`: the data key is made there and delivered to the verifier, and is nowhere else.
pub(crate) fn publish(world: &World, folder: &Path, repository: &str, key: &str, signer: &str) -> Result<Published> {
    let sign_key = world.path().join(signer).with_extension("key");
    let reference = format!("{}/{repository}:{}", world.registry, random_hex()?.get(..8).unwrap_or("v1"));
    let mut arguments = vec!["model", "push", text(folder)?, &reference, "--sign-key", text(&sign_key)?];
    arguments.extend(["--seal", "--key-id", key, "--plain-http", "--json"]);
    let admin = world.verifier.admin()?;
    arguments.extend(admin.iter().map(String::as_str));
    let pushed = world.strongroom(&arguments)?;
    let manifest = pushed.get("manifest").and_then(Value::as_str).unwrap_or_default();
    let manifest = Sha256::from_oci(manifest)?;
    let name = repository.rsplit('/').next().unwrap_or(repository).to_owned();
    Ok(Published { name, reference: format!("{}/{repository}@{}", world.registry, manifest.oci()), manifest })
}

/// The client's policy: measurement, deployment document and manifest.
pub(crate) fn client_policy(world: &World, document: &[u8], model: &Published) -> Result<std::path::PathBuf> {
    let snp = world.snp_policy(&[document]);
    world.file(
        &format!("{}.client-policy.toml", model.name),
        format!("{snp}[model]\nmanifest = {{ exactly = \"{}\" }}\n", model.manifest.oci()),
    )
}

fn asked_once(world: &World) -> Result<()> {
    match world.kds.chips_asked() {
        1 => Ok(()),
        count => Err(Refusal::new(Code::Internal, "requests to the vendor's service for a chip").got(count).want(1)),
    }
}

fn released(world: &World) -> Result<usize> {
    let rows = world.audit(&world.verifier, 0)?;
    let member = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let given =
        |row: &&Value| (member(row, "kind"), member(row, "code")) == (Some("release".into()), Some(String::new()));
    let releases = rows.iter().filter(given);
    match releases.count() {
        0 => Err(Refusal::new(Code::Internal, "audit log").got("no release").want("the one that just happened")),
        count => Ok(count),
    }
}

/// Neither prompts nor the bearer key stand in anybody's log.
fn logs_are_silent(world: &World, guest: &Guest, proxy: &calls::Proxy) -> Result<()> {
    let logs = [guest.log(), world.verifier.log(), proxy.log()].concat();
    for secret in calls::SENTENCES.iter().chain(&[crate::world::API_KEY]) {
        if logs.contains(secret) {
            return Err(Refusal::new(Code::Internal, "a log holds a prompt or a key"));
        }
    }
    Ok(())
}

fn short(bytes: &[u8]) -> String {
    hex::encode(bytes.get(..8).unwrap_or(bytes))
}

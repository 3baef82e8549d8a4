//! Hosts that launch something else than they say, and peers that speak the key release protocol falsely.

use super::{KEY, Stage, refused};
use crate::adversary::patched_enclave::Session;
use crate::guest::Launch;
use serde_json::Value;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// POLICY.DEBUG.
const DEBUG: u64 = 1 << 19;

pub(super) fn other_measurement(stage: &Stage<'_>) -> Result<Refusal> {
    let mut launch = Launch::honest(stage.world, &stage.document);
    stage.serves(&launch, "approved")?;
    let [first, ..] = &mut launch.hardware.measurement;
    *first ^= 1;
    refused_by_the_verifier(stage, || stage.does_not_serve(&launch, "other-measurement"))
}

pub(super) fn debug_guest(stage: &Stage<'_>) -> Result<Refusal> {
    let mut launch = Launch::honest(stage.world, &stage.document);
    stage.serves(&launch, "not-debugged")?;
    launch.hardware.policy |= DEBUG;
    refused_by_the_verifier(stage, || stage.does_not_serve(&launch, "debugged"))
}

/// Who forbids it stands in the log, beside the whole question.
pub(super) fn other_zone(stage: &Stage<'_>) -> Result<Refusal> {
    let (world, label) = (stage.world, "eu-only");
    let launch = Launch::honest(world, &stage.document);
    stage.serves(&launch, "not-labelled")?;
    world.label(KEY, &[label])?;
    let refusal = refused_by_the_verifier(stage, || stage.does_not_serve(&launch, "other-zone"))?;
    world.label(KEY, &[])?;
    let rows = world.audit(&world.verifier, 0)?;
    let by = rows.last().and_then(|row| row.pointer("/detail/authorization/by")).cloned().unwrap_or_default();
    match by == serde_json::json!([label]) {
        true => Ok(refusal),
        false => Err(Refusal::new(Code::Internal, "policies that forbid it").got(by).want(label)),
    }
}

pub(super) fn other_document(stage: &Stage<'_>) -> Result<Refusal> {
    let mut launch = Launch::honest(stage.world, &stage.document);
    stage.serves(&launch, "named-document")?;
    launch.document = doctored(&stage.document);
    stage.refuses_itself(&launch, "other-document")
}

pub(super) fn patched_enclave(stage: &Stage<'_>) -> Result<Refusal> {
    let hardware = &stage.guest.hardware;
    let attempt = |document: Vec<u8>| {
        stage.runtime.block_on(async {
            let session = Session::open(&stage.world.verifier).await?;
            let evidence = session.evidence(hardware).await?;
            session.attest(&evidence, &document).await?;
            session.fetch(KEY).await
        })
    };
    match attempt(stage.document.clone())? {
        32 => refused_by_the_verifier(stage, || refused(attempt(doctored(&stage.document)))),
        other => Err(Refusal::new(Code::Internal, "key length").got(other).want(32)),
    }
}

pub(super) fn replayed_evidence(stage: &Stage<'_>) -> Result<Refusal> {
    let attempt = |replay: bool| {
        stage.runtime.block_on(async {
            let first = Session::open(&stage.world.verifier).await?;
            let old = first.evidence(&stage.guest.hardware).await?;
            let second = Session::open(&stage.world.verifier).await?;
            let fresh = second.evidence(&stage.guest.hardware).await?;
            second.attest(if replay { &old } else { &fresh }, &stage.document).await
        })
    };
    attempt(false)?;
    refused_by_the_verifier(stage, || refused(attempt(true)))
}

pub(super) fn vendor_roots(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    // Both verifiers have a key of that name and the same policy for the same two documents: only the root differs.
    let vendors = world.verifier_of_vendors()?;
    let theirs = world.document(&stage.model.name, &stage.model.reference, &vendors)?;
    let key = world.file("some.key", crate::world::random_hex()?)?;
    world.put_key(&vendors, KEY, &key)?;
    world.allow(&vendors, KEY, &[&theirs])?;
    stage.serves(&Launch::honest(world, &stage.document), "test-root")?;
    let refusal = stage.does_not_serve(&Launch::honest(world, &theirs), "vendor-roots")?;
    match world.audit(&vendors, 0)?.iter().any(|row| names(row, refusal.code)) {
        true => Ok(refusal),
        false => Err(Refusal::new(Code::Internal, "the verifier's log does not name the refusal").got(refusal)),
    }
}

/// The document with one more caller allowed, which is what a host would want.
fn doctored(document: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(document);
    let ours = Sha256::of(crate::world::API_KEY.as_bytes()).to_string();
    text.replace(&ours, &Sha256::of(b"the host's own key").to_string()).into_bytes()
}

/// Does it, and makes sure that the verifier's audit log has a new row with the code.
fn refused_by_the_verifier(stage: &Stage<'_>, act: impl FnOnce() -> Result<Refusal>) -> Result<Refusal> {
    let before = stage.decisions()?;
    let refusal = act()?;
    let rows = stage.world.audit(&stage.world.verifier, 0)?;
    if rows.iter().skip(before).any(|row| names(row, refusal.code)) {
        return Ok(refusal);
    }
    Err(Refusal::new(Code::Internal, "the verifier's log does not name the refusal").got(refusal))
}

fn names(row: &Value, code: Code) -> bool {
    row.get("code").and_then(Value::as_str) == Some(code.as_str())
}

//! Those who stand between a client and an enclave.

use super::Stage;
use crate::adversary::relay::{Manner, Relay};
use crate::adversary::thief;
use crate::demo::calls::{self, Proxy};
use crate::world::text;
use serde_json::Value;
use strongroom_wire::{Code, Refusal, Result};

pub(super) fn relay(stage: &Stage<'_>) -> Result<Refusal> {
    through_relay(stage, Manner::Untouched)
}

pub(super) fn own_key(stage: &Stage<'_>) -> Result<Refusal> {
    through_relay(stage, Manner::OwnKey)
}

pub(super) fn thief(stage: &Stage<'_>) -> Result<Refusal> {
    calls::verify(stage.world, &stage.guest.url(), &stage.policy)?;
    let address = thief::start(stage.runtime.handle(), &stage.guest.address)?;
    calls::verify_refused(stage.world, &format!("https://{address}"), &stage.policy)
}

/// Neither `verify` nor the proxy accepts it, and no request ever reaches it.
fn through_relay(stage: &Stage<'_>, manner: Manner) -> Result<Refusal> {
    calls::verify(stage.world, &stage.guest.url(), &stage.policy)?;
    let relay = Relay::start(stage.runtime.handle(), &stage.guest.address, manner)?;
    let url = format!("https://{}", relay.address);
    let refusal = calls::verify_refused(stage.world, &url, &stage.policy)?;
    let proxy = Proxy::start(stage.world, &url, &stage.policy, None)?;
    let (status, answer) = proxy.embed(&stage.model.name, &["a prompt that must not leave"])?;
    let code = answer.pointer("/error/code").and_then(Value::as_str);
    if status != 502 || code != Some(refusal.code.as_str()) || relay.others() != 0 {
        return Err(Refusal::new(Code::Internal, "proxy in front of a relay")
            .got(format!("{status} {answer}, and {} requests reached the relay", relay.others()))
            .want(format!("502 {}, and none", refusal.code)));
    }
    Ok(refusal)
}

pub(super) fn no_reference_values(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    let sound = String::from_utf8_lossy(&crate::world::read(&stage.policy)?).into_owned();
    let proxy = Proxy::start(world, &stage.guest.url(), &stage.policy, None)?;
    match proxy.embed(&stage.model.name, &["accepted"])? {
        (200, _) => {}
        (status, answer) => return Err(Refusal::new(Code::Internal, "twin").got(format!("{status} {answer}"))),
    }
    let open = sound.lines().map(|line| match line.starts_with("measurement") {
        true => "measurement = { any = { because = \"nobody asked for it\" } }",
        false => line,
    });
    let policy = world.file("open-policy.toml", open.collect::<Vec<_>>().join("\n"))?;
    let root = world.path().join("ark.pem");
    let url = stage.guest.url();
    let arguments =
        ["proxy", "--to", &url, "--listen", "127.0.0.1:0", "--policy", text(&policy)?, "--root", text(&root)?];
    let finished = world.strongroom_ends(&arguments)?;
    match (finished.code, finished.stderr.contains(Code::NoReferenceValues.as_str())) {
        (2, true) => Ok(Refusal::new(Code::NoReferenceValues, "strongroom proxy")),
        (exit, _) => {
            Err(Refusal::new(Code::Internal, "strongroom proxy").got(format!("exit {exit}: {}", finished.stderr)))
        }
    }
}

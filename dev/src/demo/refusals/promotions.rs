//! Those who would have a model served that is not meant for the environment, or not any more.

use super::Stage;
use super::models::request;
use crate::demo::publish;
use crate::guest::Launch;
use http::Method;
use strongroom_wire::{Code, Refusal, Result};

pub(super) fn not_promoted(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    let model = publish(world, &world.inputs.small_model, "models/candidate", "models/candidate/v1", "release")?;
    let document = world.document(&model.name, &model.reference, &world.verifier)?;
    world.allow(&world.verifier, "models/candidate/v1", &[&document])?;
    let launch = Launch::honest(world, &document);
    let refusal = stage.refuses_itself(&launch, "not-promoted")?;
    world.promote(&model.reference)?;
    stage.serves(&launch, "promoted")?;
    Ok(refusal)
}

/// The statement is deleted from the registry: what is left there is a promotion that holds.
pub(super) fn hidden_demotion(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    let demotion = world.demote(&stage.model.reference)?;
    request(stage, Method::DELETE, &format!("models/tiny/manifests/{demotion}"))?;
    let launch = Launch::honest(world, &stage.document);
    let refusal = refused_by_the_verifier(stage, &launch, "demoted")?;
    world.promote(&stage.model.reference)?;
    stage.serves(&launch, "promoted-again")?;
    Ok(refusal)
}

/// Its promotion is genuine, and has not ended.
pub(super) fn older_model(stage: &Stage<'_>) -> Result<Refusal> {
    let world = stage.world;
    let newer = publish(world, &world.inputs.small_model, "models/tiny", "models/tiny/v2", "release")?;
    world.promote(&newer.reference)?;
    let launch = Launch::honest(world, &stage.document);
    let refusal = refused_by_the_verifier(stage, &launch, "superseded")?;
    world.promote(&stage.model.reference)?;
    stage.serves(&launch, "promoted-back")?;
    Ok(refusal)
}

fn refused_by_the_verifier(stage: &Stage<'_>, launch: &Launch, name: &str) -> Result<Refusal> {
    let seen = stage.decisions()?;
    let refusal = stage.does_not_serve(launch, name)?;
    if stage.decisions()? > seen {
        return Ok(refusal);
    }
    Err(Refusal::new(Code::Internal, "the verifier was not asked").got(refusal).want("its refusal"))
}

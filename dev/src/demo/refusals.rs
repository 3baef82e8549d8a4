//! Every expected refusal: each caused by an adversary, each beside its accepted twin that differs in one thing.

mod channel;
mod hosts;
mod models;
mod promotions;

use super::print::Steps;
use super::{Published, client_policy, publish};
use crate::guest::{Guest, Launch};
use crate::world::World;
use std::path::PathBuf;
use strongroom_wire::{Code, Refusal, Result};
use tokio::runtime::Runtime;

/// One adversary.
struct Adversary {
    /// What it does.
    title: &'static str,
    /// The code it is refused with.
    code: Code,
    /// Who defends.
    by: &'static str,
    /// What is accepted in its place, differing in one thing.
    twin: &'static str,
    /// Makes sure that the twin is accepted, then does it, and gives the refusal it met.
    act: fn(&Stage<'_>) -> Result<Refusal>,
}

const ADVERSARIES: &[Adversary] = &[
    Adversary {
        title: "a registry that flips one bit in a sealed layer",
        code: Code::LayerDigestMismatch,
        by: "enclave",
        twin: "the same layer with the bit flipped back",
        act: models::flipped_bit,
    },
    Adversary {
        title: "a registry that serves a model without its signature",
        code: Code::ModelUnsigned,
        by: "enclave",
        twin: "the same manifest before the signature was removed",
        act: models::unsigned,
    },
    Adversary {
        title: "a stranger who signs a model",
        code: Code::SignerUntrusted,
        by: "enclave",
        twin: "the same files in the same repository, signed by the release key",
        act: models::stranger,
    },
    Adversary {
        title: "a ciphertext that opens under two keys, with the second one",
        code: Code::KeyCommitmentMismatch,
        by: "opener",
        twin: "the same ciphertext with the key that its publisher committed to",
        act: models::two_keys,
    },
    Adversary {
        title: "a host that boots a model which nobody promoted",
        code: Code::PromotionMissing,
        by: "enclave",
        twin: "the same model, promoted",
        act: promotions::not_promoted,
    },
    Adversary {
        title: "a registry that hides a demotion",
        code: Code::PromotionDemoted,
        by: "verifier",
        twin: "the same model, promoted again since",
        act: promotions::hidden_demotion,
    },
    Adversary {
        title: "a host that goes on with the older of two promoted models",
        code: Code::PromotionSuperseded,
        by: "verifier",
        twin: "the same model, promoted again since",
        act: promotions::older_model,
    },
    Adversary {
        title: "a host that boots other software",
        code: Code::MeasurementNotApproved,
        by: "verifier",
        twin: "the approved measurement",
        act: hosts::other_measurement,
    },
    Adversary {
        title: "a host that can debug the guest",
        code: Code::DebugEnabled,
        by: "verifier",
        twin: "the same guest without the debug bit",
        act: hosts::debug_guest,
    },
    Adversary {
        title: "a host outside the zone that the label of the key demands",
        code: Code::PolicyDenied,
        by: "verifier",
        twin: "the same guest before its owner labelled the key",
        act: hosts::other_zone,
    },
    Adversary {
        title: "a host that hands over another deployment document",
        code: Code::DeploymentMismatch,
        by: "enclave",
        twin: "the document that HOST_DATA names",
        act: hosts::other_document,
    },
    Adversary {
        title: "a patched enclave that skips its own check of that document",
        code: Code::DeploymentMismatch,
        by: "verifier",
        twin: "the same patched enclave with the document that HOST_DATA names",
        act: hosts::patched_enclave,
    },
    Adversary {
        title: "evidence replayed in another session",
        code: Code::ReportDataMismatch,
        by: "verifier",
        twin: "fresh evidence in that session",
        act: hosts::replayed_evidence,
    },
    Adversary {
        title: "a relay that forwards genuine evidence",
        code: Code::ChannelKeyMismatch,
        by: "client",
        twin: "the enclave itself",
        act: channel::relay,
    },
    Adversary {
        title: "a server that shows the enclave's certificate without its key",
        code: Code::HandshakeSignatureInvalid,
        by: "client",
        twin: "the enclave itself",
        act: channel::thief,
    },
    Adversary {
        title: "a TLS key other than the attested one, written into the evidence answer",
        code: Code::ReportDataMismatch,
        by: "client",
        twin: "the enclave itself",
        act: channel::own_key,
    },
    Adversary {
        title: "test evidence before a verifier that knows only AMD's roots",
        code: Code::RootUntrusted,
        by: "verifier",
        twin: "the same guest before the verifier that trusts the test root",
        act: hosts::vendor_roots,
    },
    Adversary {
        title: "a proxy without reference values",
        code: Code::NoReferenceValues,
        by: "client",
        twin: "the same policy with its measurement fixed",
        act: channel::no_reference_values,
    },
];

/// What the adversaries find: a small model, published and approved, and a guest that serves it.
struct Stage<'a> {
    world: &'a World,
    runtime: Runtime,
    model: Published,
    document: Vec<u8>,
    guest: Guest,
    policy: PathBuf,
}

const KEY: &str = "models/tiny/v1";

/// Runs them all; fails where one is not refused, or not with its code.
pub(super) fn run(world: &World, steps: &mut Steps) -> Result<usize> {
    let stage = Stage::set(world)?;
    steps.heading("adversaries, each beside what is accepted in its place:");
    for adversary in ADVERSARIES {
        let refusal = (adversary.act)(&stage).map_err(|refusal| refusal.within(adversary.title))?;
        if refusal.code != adversary.code {
            return Err(Refusal::new(Code::Internal, adversary.title).got(refusal).want(adversary.code));
        }
        steps.refused(adversary.title, adversary.code, adversary.by, adversary.twin);
    }
    stage.guest.stop()?;
    Ok(ADVERSARIES.len())
}

impl<'a> Stage<'a> {
    fn set(world: &'a World) -> Result<Self> {
        let runtime = Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
        let model = publish(world, &world.inputs.small_model, "models/tiny", KEY, "release")?;
        let document = world.document(&model.name, &model.reference, &world.verifier)?;
        world.allow(&world.verifier, KEY, &[&document])?;
        world.promote(&model.reference)?;
        let guest = Launch::honest(world, &document).boot(world, "tiny")?;
        let policy = client_policy(world, &document, &model)?;
        Ok(Self { world, runtime, model, document, guest, policy })
    }

    /// Boots, and stops again: an accepted twin.
    fn serves(&self, launch: &Launch, name: &str) -> Result<()> {
        launch.boot(self.world, name)?.stop()
    }

    /// Boots, and must be refused by the enclave itself: its verifier is not asked for anything.
    fn refuses_itself(&self, launch: &Launch, name: &str) -> Result<Refusal> {
        let seen = self.decisions()?;
        let refusal = self.does_not_serve(launch, name)?;
        if self.decisions()? == seen {
            return Ok(refusal);
        }
        Err(Refusal::new(Code::Internal, "the verifier was asked").want("a refusal before that"))
    }

    /// How many decisions the verifier has recorded.
    fn decisions(&self) -> Result<usize> {
        self.world.audit(&self.world.verifier, 0).map(|rows| rows.len())
    }

    /// Boots, and must not serve.
    fn does_not_serve(&self, launch: &Launch, name: &str) -> Result<Refusal> {
        match launch.boot(self.world, name) {
            Err(refusal) => Ok(refusal),
            Ok(_) => Err(Refusal::new(Code::Internal, "the guest serves").want("a refusal")),
        }
    }
}

/// What must be refused.
fn refused<T>(outcome: Result<T>) -> Result<Refusal> {
    match outcome {
        Err(refusal) => Ok(refusal),
        Ok(_) => Err(Refusal::new(Code::Internal, "accepted").want("a refusal")),
    }
}

//! The recipe of changes: a model of the document is loaded, replaced or unloaded while it and others are served.
//!
//! A person or program whom the document's policies let manage the model asks for it. Then, for a load:
//!
//! 1. the document says that the model is replaceable, no other change is under way, and what is asked for is in the model's own repository;
//! 2. it is trusted as at the boot: signed and promoted as the trust file demands, and promoted with a sequence that is above all that was
//!    served under this name since the boot; only what was unloaded comes back with its own. A sealed model gives way to a sealed one alone:
//!    of a plain one no verifier would be asked;
//! 3. there is room for it beside all that is in memory ([`Room`]);
//! 4. it is attested for, opened and loaded as at the boot, by the same steps, and is of the kind that it replaces. What it replaces is served
//!    meanwhile;
//! 5. it is still trusted, which may be long after step 2, and the verifier gives a lease for what would be served then, where it gives leases
//!    to this enclave;
//! 6. all of that is served from one moment on: requests that come get the new model, evidence names it, and leases are held for it anew, so
//!    that nothing that is still said about the old one counts. Requests that came before end with the old one, whose memory is given back after
//!    the last of them.
//!
//! An unload makes steps 1, 5 and 6, and has a load that is under way given up: steps 2 to 5 wait for others, [`LONGEST`] at most. Until step 6
//! nothing that is served is changed, and that step cannot fail: a refusal at any other leaves it as it was, under the lease that it had.
//! The verifier remembers all the same that it released a key, and that it gave a lease.
//!
//! What was served is not remembered over a restart: the trust file's `minimum-sequence` and, for sealed models, the verifier's memory of
//! promotions hold then.

mod room;

pub use room::Room;

use crate::api::{App, Authorized, Serving};
use crate::boot::{Attested, Loaded, Measured, Opened, Pulled, trust};
use crate::evidence::{Bound, Desk};
use crate::inference::{Model, Models};
use crate::lease::{self, Source as _, Tenure};
use crate::runtime::Runtime;
use crate::staple::Staple;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use strongroom_artifact::ladder::TrustedModel;
use strongroom_policy::CallAction;
use strongroom_registry_client::{Reference, RegistryClient};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::WorkloadModel;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a load may take: a registry that gives a model bit by bit holds up no other change for longer.
pub const LONGEST: Duration = Duration::from_mins(30);

/// What changes the models of an enclave, one at a time.
#[derive(Debug)]
pub struct Changes {
    parts: Parts,
    places: BTreeMap<String, Place>,
    turn: tokio::sync::Mutex<()>,
    /// Has a load that is under way given up.
    unloading: Notify,
    state: Mutex<State>,
}

/// What a change is made with: what the boot was made with.
#[derive(Debug)]
pub struct Parts {
    /// Whose document says what may change.
    pub measured: Measured,
    /// What models are loaded into.
    pub runtime: Runtime,
    /// What evidence is stapled with.
    pub staple: Staple,
    /// Whom leases are asked of, once a key was.
    pub leases: Option<lease::OfVerifier>,
    /// How much memory models may take.
    pub room: Room,
}

/// Where a replaceable model comes from.
#[derive(Debug)]
struct Place {
    /// As the document has it.
    reference: Reference,
    registry: RegistryClient,
}

#[derive(Debug)]
struct State {
    /// Of each replaceable model, the highest that was served.
    reached: BTreeMap<String, Reached>,
    /// The models that are in memory, those too that only requests of before still have, and bytes of their files.
    held: Vec<(Weak<Model>, u64)>,
    /// What evidence is bound to.
    bound: Bound,
    /// Whether the verifier was asked for a key.
    keyed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reached {
    sequence: u64,
    manifest: Sha256,
    is_sealed: bool,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What was served under the name before.
    pub before: Option<Sha256>,
    /// What is served under it now.
    pub manifest: Option<Sha256>,
    /// The digest of the workload that evidence is bound to now.
    pub workload: Sha256,
}

impl Changes {
    /// Of an enclave that has `loaded` these models with `parts`, gives evidence bound to `bound`, and has asked for keys or has not.
    ///
    /// # Errors
    /// `reference-invalid`: of a model of the document, which no loaded one has; `internal`: a replaceable one has no promotion.
    pub(crate) fn of(parts: Parts, loaded: &[Loaded], bound: Bound, keyed: bool) -> Result<Self> {
        let (mut places, mut reached) = (BTreeMap::new(), BTreeMap::new());
        for model in parts.measured.deployment().settings().models.iter().filter(|model| model.replaceable) {
            let Some(loaded) = loaded.iter().find(|loaded| loaded.name == model.name) else { continue };
            let (reference, registry) = (Reference::parse(&model.reference)?, loaded.registry.clone());
            places.insert(model.name.clone(), Place { reference, registry });
            reached.insert(model.name.clone(), Reached::of(loaded.verified.trusted())?);
        }
        let state = Mutex::new(State { reached, held: Vec::new(), bound, keyed });
        Ok(Self { parts, places, turn: tokio::sync::Mutex::default(), unloading: Notify::new(), state })
    }

    /// Counts the model called `name`, whose files are `size` bytes, as long as anybody has it.
    pub(crate) fn hold(&self, models: &Models, name: &str, size: u64) {
        self.state().held.extend(models.weak(name).map(|model| (model, size)));
    }

    /// The names of all replaceable models, and the manifest of each that was served last.
    pub fn replaceable(&self) -> Vec<(String, Sha256)> {
        self.state().reached.iter().map(|(name, reached)| (name.clone(), reached.manifest)).collect()
    }

    /// Has the model that `call` is authorised for loaded, or replaced: by what `asked` refers to, else by what the document's own
    /// reference does. What is served already stays.
    ///
    /// # Errors
    /// `model-fixed`; `busy`; `repository-untrusted`, `reference-invalid`: what is asked for; as `trust`; `promotion-superseded`;
    /// `model-unsupported`: it is plain, or of another kind, and what it replaces is not; `memory-short`; as [`Attested::attest`],
    /// [`Opened::open`] and [`crate::inference::Model::load`]; as [`crate::kbs::Verifier::lease`]; `not-ready`: without a lease; `timeout`.
    pub async fn load(&self, app: &App, call: &Authorized, asked: Option<&str>) -> Result<Changed> {
        // 1.
        let place = self.place(call)?;
        let _turn = self.turn.try_lock().map_err(|_| under_way())?;
        let reference = place.reference(asked)?;
        tokio::select! {
            biased;
            () = self.unloading.notified() => Err(under_way()),
            made = timeout(LONGEST, self.replace(app, call.model(), place, &reference)) => made.unwrap_or_else(|_| {
                Err(Refusal::new(Code::Timeout, "load of a model").want(format!("{LONGEST:?} at most")))
            }),
        }
    }

    /// Steps 2 to 6 of a load.
    async fn replace(&self, app: &App, name: &str, place: &Place, reference: &Reference) -> Result<Changed> {
        // 2.
        let (measured, serving) = (&self.parts.measured, app.serving()?);
        let trusted = trust(measured, name, &place.registry, reference).await?;
        let reached = self.state().upward(name, &trusted.model)?;
        let before = serving.models.manifest(name).ok();
        if before == Some(reached.manifest) {
            self.state().reached.insert(name.to_owned(), reached);
            return Ok(Changed { before, manifest: before, workload: serving.workload });
        }
        // 3.
        let size = trusted.model.manifest().plain_size();
        let held = self.state().held();
        self.parts.room.verify_for(size, held)?;
        // 4.
        let attested = Attested::attest(Pulled::of(measured.clone(), vec![trusted])).await?;
        let keyed = attested.keyed();
        let loaded = Opened::open(attested).await?.load_into(self.parts.runtime.clone()).await?;
        let loaded = loaded.into_iter().next().ok_or_else(|| Refusal::new(Code::Internal, "model that was opened"))?;
        let kind = loaded.model.kind();
        if let Some(other) = serving.models.kind(name).filter(|other| *other != kind.name()) {
            return Err(Refusal::new(Code::ModelUnsupported, format!("model `{name}`")).got(kind.name()).want(other));
        }
        self.parts.room.verify_for_answers(kind)?;
        // 5.
        let again = trust(measured, name, &place.registry, &reference.untagged(reached.manifest)).await?;
        if Reached::of(&again.model)?.sequence < reached.sequence {
            return Err(superseded(name, Reached::of(&again.model)?, reached));
        }
        let (served, mut models) = (loaded.served(), serving.models.clone());
        models.insert(name.to_owned(), loaded.model);
        self.hold(&models, name, size);
        // And 6.
        let workload = self.swap(app, &serving, models, name, Some((served, reached)), keyed).await?;
        Ok(Changed { before, manifest: Some(reached.manifest), workload })
    }

    /// Has the model that `call` is authorised for taken out of what is served, before anything that is being loaded.
    ///
    /// # Errors
    /// `model-fixed`; `model-unknown`: it is not served; as [`crate::kbs::Verifier::lease`]; `not-ready`: without a lease.
    pub async fn unload(&self, app: &App, call: &Authorized) -> Result<Changed> {
        self.place(call)?;
        self.unloading.notify_waiters();
        let _turn = self.turn.lock().await;
        let (name, serving) = (call.model(), app.serving()?);
        let before = serving.models.manifest(name)?;
        let mut models = serving.models.clone();
        models.remove(name);
        let workload = self.swap(app, &serving, models, name, None, false).await?;
        Ok(Changed { before: Some(before), manifest: None, workload })
    }

    /// The lease of step 5, and step 6: serves `models` in place of those of `serving`, where `name` is now what `served` says.
    async fn swap(
        &self,
        app: &App,
        serving: &Serving,
        models: Models,
        name: &str,
        served: Option<(WorkloadModel, Reached)>,
        keyed: bool,
    ) -> Result<Sha256> {
        let Parts { measured, staple, leases, .. } = &self.parts;
        let (mut bound, keyed) = {
            let state = self.state();
            (state.bound.clone(), state.keyed || keyed)
        };
        let (served, reached) = served.unzip();
        bound.workload.models.retain(|model| model.name != name);
        bound.workload.models.extend(served);
        let workload = bound.workload.digest()?;
        let desk = Desk::open(measured.attester(), bound.clone(), staple.clone())?;
        let leases =
            leases.as_ref().filter(|_| keyed).map(|of| lease::OfVerifier { bound: bound.clone(), ..of.clone() });
        if let Some(leases) = &leases {
            let lease = leases.take().await?;
            tracing::info!(id = lease.jti, expires = lease.exp, %workload, "lease");
        }

        // Of its own: what the one before is told from now on is about what is served no more.
        let tenure = leases.map_or_else(Tenure::without_lease, |leases| {
            Tenure::hold(leases, Duration::from_secs(measured.deployment().settings().max_unleased()))
        });
        let (access, changes) = (Arc::clone(&serving.access), serving.changes.clone());
        {
            let mut state = self.state();
            (state.bound, state.keyed) = (bound, keyed);
            state.reached.extend(reached.map(|reached| (name.to_owned(), reached)));
        }
        app.serve(Serving { access, models, workload, desk, tenure: Arc::new(tenure), changes });
        Ok(workload)
    }

    fn place(&self, call: &Authorized) -> Result<&Place> {
        call.verify_for(CallAction::ManageModel)?;
        self.places.get(call.model()).ok_or_else(fixed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That nothing of a model may change.
pub(crate) fn fixed() -> Refusal {
    Refusal::new(Code::ModelFixed, "model").want("one that the deployment document says is `replaceable`")
}

fn under_way() -> Refusal {
    Refusal::new(Code::Busy, "change of a model").got("another one is under way")
}

fn superseded(name: &str, got: Reached, want: Reached) -> Refusal {
    let refusal = Refusal::new(Code::PromotionSuperseded, format!("model `{name}`"));
    refusal.got(format!("sequence {}", got.sequence)).want(format!("more than {}", want.sequence))
}

impl Place {
    /// What is asked for, where that is in the same repository.
    fn reference(&self, asked: Option<&str>) -> Result<Reference> {
        let Some(asked) = asked else { return Ok(self.reference.clone()) };
        let asked = Reference::parse(asked)?;
        match asked.name() == self.reference.name() {
            true => Ok(asked),
            false => Err(Refusal::new(Code::RepositoryUntrusted, "repository of the model")
                .got(asked.name())
                .want(self.reference.name())),
        }
    }
}

impl State {
    /// What serving this model comes to, where it may follow what was served under the name.
    fn upward(&self, name: &str, model: &TrustedModel) -> Result<Reached> {
        let next = Reached::of(model)?;
        self.reached.get(name).map_or(Ok(()), |reached| next.verify_after(name, *reached)).map(|()| next)
    }

    /// Bytes of the files of each model that anybody has.
    fn held(&mut self) -> Vec<u64> {
        self.held.retain(|(model, _)| model.strong_count() > 0);
        self.held.iter().map(|(_, size)| *size).collect()
    }
}

impl Reached {
    fn of(model: &TrustedModel) -> Result<Self> {
        let promotion = model.promotion();
        let promotion = promotion.ok_or_else(|| Refusal::new(Code::Internal, "promotion of a replaceable model"))?;
        let is_sealed = model.manifest().sealing().is_some();
        Ok(Self { sequence: promotion.sequence(), manifest: model.manifest_digest(), is_sealed })
    }

    /// That it is above `reached`, and sealed where that was. One sequence is of one manifest: what has the same is the same, or there are
    /// two promotions that contradict each other.
    fn verify_after(self, name: &str, reached: Self) -> Result<()> {
        let is_it = (self.sequence, self.manifest) == (reached.sequence, reached.manifest);
        if self.sequence <= reached.sequence && !is_it {
            return Err(superseded(name, self, reached));
        }
        match reached.is_sealed && !self.is_sealed {
            true => Err(Refusal::new(Code::ModelUnsupported, format!("model `{name}`")).got("plain").want("sealed")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_sequence_or_the_very_same_model_is_upward_and_nothing_else_is_nor_what_is_plain_after_what_is_sealed() {
        let reached = |sequence, fill, is_sealed| Reached { sequence, manifest: Sha256([fill; 32]), is_sealed };
        let code = |next: Reached, served| next.verify_after("m", served).err().map(|refusal| refusal.code);
        for (sequence, fill, want) in [
            (6, 2, None),
            (6, 1, None),
            (5, 1, None),
            (5, 2, Some(Code::PromotionSuperseded)),
            (4, 1, Some(Code::PromotionSuperseded)),
        ] {
            assert_eq!(code(reached(sequence, fill, true), reached(5, 1, true)), want, "{sequence} {fill}");
        }
        assert_eq!(code(reached(6, 2, false), reached(5, 1, true)), Some(Code::ModelUnsupported));
        for (next, served) in [(false, false), (true, false)] {
            assert_eq!(code(reached(6, 2, next), reached(5, 1, served)), None);
        }
    }

    #[test]
    fn reference_in_the_model_s_repository_accepted_and_in_another_refused() {
        let registry = RegistryClient::new("r:1", Default::default()).unwrap();
        let place = Place { reference: Reference::parse("r:1/models/a:live").unwrap(), registry };
        let asked = |text| place.reference(text).map(|reference| reference.to_string()).map_err(|refusal| refusal.code);
        assert_eq!(asked(None), Ok("r:1/models/a:live".to_owned()));
        assert_eq!(asked(Some("r:1/models/a:v2")), Ok("r:1/models/a:v2".to_owned()));
        for other in ["r:1/models/b:v2", "r:2/models/a:v2", "r:1/models/a/b:v2"] {
            assert_eq!(asked(Some(other)), Err(Code::RepositoryUntrusted), "{other}");
        }
        assert_eq!(asked(Some("a:v2")), Err(Code::ReferenceInvalid));
    }
}

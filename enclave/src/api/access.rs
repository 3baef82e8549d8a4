//! Who may have what done by which model, and how much of it: the stages between a request and a model, each a type that only its step
//! makes.
//!
//! 1. *authenticate*: a bearer key, a token or a certificate names one identity, and nothing names another;
//! 2. *admit* ([`Caller`]): the identity uses less than it may. That comes before a body is read, so that whoever is over the limit
//!    costs nothing more; the request's place among others of its identity is taken until the last part of the answer is made;
//! 3. *authorise* ([`Authorized`]): once the body has said which model, a policy of the deployment document permits the identity what it
//!    asks of that one, and none forbids it;
//! 4. the model takes a call together with an [`Authorized`], and nothing else;
//! 5. *record*: what came of it, in one line of the log and in the counts, however it ended ([`Record`]).
//!
//! All that this goes by is in the deployment document, which is measured.

mod credentials;
mod identity;
mod keys;
mod metrics;
mod quotas;
mod record;

pub use identity::Identity;
pub(super) use metrics::{Gauges, Metrics};
pub(super) use record::{Record, Refused};

use crate::clock::Clock;
use axum::http::HeaderMap;
use core::fmt;
use credentials::{Authenticated, Credentials};
use quotas::{Place, Quotas};
use std::sync::Arc;
use strongroom_policy::{Allowed, Call, CallAction, CallPolicies, PRINCIPALS};
use strongroom_transport::PeerCertificates;
use strongroom_wire::deployment::Settings;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time::Instant;

/// What a deployment document says of callers, ready to be asked. Without a word of it, nobody may call.
#[derive(Debug)]
pub struct Access {
    credentials: Credentials,
    quotas: Quotas,
    policies: CallPolicies,
    log_probabilities: bool,
    clock: Clock,
}

/// Proof that a request is of an identity that may use more than it does. Clones are of the same request: its place is free again once
/// the last is gone. [`Access`] alone makes one:
///
/// ```compile_fail,E0423
/// let forged = strongroom_enclave::api::Caller(std::sync::Arc::default());
/// ```
#[derive(Clone)]
pub struct Caller(Arc<Admitted>);

struct Admitted {
    who: Authenticated,
    place: Place,
    record: Arc<Record>,
}

/// Proof that a caller may have one thing done by one model. `Access::authorize` alone makes one:
///
/// ```compile_fail,E0451
/// let forged = strongroom_enclave::api::Authorized { caller: todo!(), action: todo!(), model: String::new() };
/// ```
/// ```compile_fail,E0599
/// let forged = strongroom_enclave::api::Authorized::default();
/// ```
///
/// A model is called with nothing else:
///
/// ```compile_fail,E0308
/// async fn call(model: &strongroom_enclave::inference::Embedder, caller: &strongroom_enclave::api::Caller) {
///     model.embed(caller, Vec::new()).await;
/// }
/// ```
///
/// What a request has under way lasts as long as this: an answer that is made bit by bit takes one along. Clones are of the same
/// request.
#[derive(Debug, Clone)]
pub struct Authorized {
    caller: Caller,
    action: CallAction,
    model: String,
}

impl Access {
    /// What the settings of a deployment document say of callers.
    ///
    /// # Errors
    /// `policy-invalid`: of the policies; `malformed`, `identity-invalid`, `too-large`: of a trust domain's bundle; `key-invalid`,
    /// `malformed`, `configuration-invalid`: of an issuer's keys.
    pub fn of(settings: &Settings, clock: Clock) -> Result<Self> {
        let access = &settings.access;
        let policies = CallPolicies::parse(access.policies.as_deref().unwrap_or(PRINCIPALS).as_bytes())?;
        for warning in policies.policies().warnings() {
            tracing::warn!(warning, "policies of callers");
        }
        let credentials = Credentials::of(settings)?;
        let quotas = Quotas::new(access.limits, &access.identities);
        Ok(Self { credentials, quotas, policies, log_probabilities: access.log_probabilities, clock })
    }

    /// Whether callers are told how likely the tokens of answers were.
    pub const fn tells_log_probabilities(&self) -> bool {
        self.log_probabilities
    }

    /// Steps 1 and 2: who asks, and its place.
    ///
    /// # Errors
    /// `unauthenticated`: nothing that is shown names one whom the document knows, or it names two; `clock-behind`; `limit-exceeded`,
    /// `busy`: more than the identity may use, or identities than are counted; the record then says when to come back.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        shown: Option<&PeerCertificates>,
        record: &Arc<Record>,
    ) -> Result<Caller> {
        let who = self.credentials.authenticate(headers, shown, &self.clock).await?;
        self.place(who, record)
    }

    fn place(&self, who: Authenticated, record: &Arc<Record>) -> Result<Caller> {
        record.identified(&who.identity);
        let place = self.quotas.take(&who.identity, Instant::now()).map_err(|over| {
            record.comes_back_in(over.wait);
            over.refusal
        })?;
        Ok(Caller(Arc::new(Admitted { who, place, record: Arc::clone(record) })))
    }

    /// Step 3: whether `caller` may have `action` done by the model of that name and manifest.
    ///
    /// # Errors
    /// `policy-denied`, `policy-failed`, `authorization-empty`.
    pub(super) fn authorize(
        &self,
        caller: &Caller,
        action: CallAction,
        model: &str,
        manifest: Sha256,
    ) -> Result<Authorized> {
        let record = &caller.0.record;
        record.asked(action, model, manifest);
        let allowed = self.ask(caller, action, model, manifest)?;
        record.permitted_by(allowed.by());
        Ok(Authorized { caller: caller.clone(), action, model: model.to_owned() })
    }

    /// Whether `caller` may know of the model.
    pub(super) fn may_list(&self, caller: &Caller, model: &str, manifest: Sha256) -> bool {
        self.ask(caller, CallAction::ListModels, model, manifest).is_ok()
    }

    fn ask(&self, caller: &Caller, action: CallAction, model: &str, manifest: Sha256) -> Result<Allowed> {
        let Authenticated { identity, groups, claims, certificate } = &caller.0.who;
        let (kind, name) = (identity.kind(), identity.name());
        // Where the host says that it is earlier than is certain, it is at least as late as that.
        let now = self.clock.at_least();
        let call = Call { kind, name, groups, claims, certificate: *certificate, action, model, manifest, now };
        self.policies.decide(&call)
    }

    /// Identities whose use is counted at this time.
    pub(super) fn counted(&self) -> usize {
        self.quotas.counted()
    }
}

impl Caller {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.0.who.identity
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(self.identity()).finish()
    }
}

impl Authorized {
    /// Who calls.
    pub fn identity(&self) -> &Identity {
        self.caller.identity()
    }

    /// The name of the model that it may call.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// That it is this that it may have done.
    ///
    /// # Errors
    /// `internal`: it is something else. A route asked for another thing than it does.
    pub fn verify_for(&self, action: CallAction) -> Result<()> {
        if self.action == action {
            return Ok(());
        }
        Err(Refusal::new(Code::Internal, "call of a model").got(action.as_str()).want(self.action.as_str()))
    }

    /// Says that the answer ended so, though it had begun.
    pub fn fail(&self, refusal: &Refusal) {
        self.caller.0.record.failed(refusal);
    }

    /// Says how many tokens more went into the model, and came out of it. They count against what the identity may use of a minute.
    pub fn spend(&self, input: usize, output: usize) {
        let (input, output) = (number(input), number(output));
        self.caller.0.place.spend(input.saturating_add(output), Instant::now());
        self.caller.0.record.spent(input, output);
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;

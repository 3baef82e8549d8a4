//! What was verified of an enclave, in the form that is printed, logged and kept.

use serde::Serialize;
use strongroom_appraisal::{UnixTime, VerifiedEnclave};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::Workload;
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Check, Root};

/// What holds of an enclave and of its TLS key, as of [`Self::at`]. Nothing in it is the enclave's mere word.
///
/// It is the proof that a key was attested, so there is no other way to one than to attest:
///
/// ```compile_fail,E0451
/// let forged = strongroom_client::Verified { channel_key: todo!(), ..todo!() };
/// ```
///
/// and what was written as JSON does not become one again:
///
/// ```compile_fail,E0277
/// fn proof<T: serde::de::DeserializeOwned>() {}
/// proof::<strongroom_client::Verified>();
/// ```
///
/// ```
/// fn printed<T: serde::Serialize>() {}
/// printed::<strongroom_client::Verified>();
/// ```
#[derive(Debug, Serialize)]
pub struct Verified {
    verdict: &'static str,
    platform: &'static str,
    root: Root,
    product: String,
    measurement: String,
    deployment: Sha256,
    tcb: Tcb,
    models: Vec<VerifiedModel>,
    channel_key: Sha256,
    policy: Sha256,
    at: UnixTime,
    checks: Vec<Check>,
}

/// A model that an enclave serves, bound into its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedModel {
    /// The name that requests use.
    pub name: String,
    /// Digest of its OCI manifest, `sha256:…`.
    pub manifest: String,
    /// Commitment to the signed statement over its files ([`strongroom_wire::binding::statement_commitment`]).
    pub statement: Sha256,
}

impl Verified {
    /// Called by the recipe in `verify.rs` alone, with `enclave` as its proof that the policy held.
    pub(crate) fn new(
        enclave: &VerifiedEnclave,
        workload: &Workload,
        spki: &[u8],
        at: UnixTime,
        checks: Vec<Check>,
    ) -> Self {
        let models = workload.models.iter().map(|model| VerifiedModel {
            name: model.name.clone(),
            manifest: model.manifest.oci(),
            statement: model.statement,
        });
        Self {
            verdict: "accepted",
            platform: "snp",
            root: enclave.root(),
            product: enclave.product().to_owned(),
            measurement: hex::encode(enclave.report().measurement),
            deployment: Sha256(enclave.report().host_data),
            tcb: enclave.tcb(),
            models: models.collect(),
            channel_key: Sha256::of(spki),
            policy: enclave.policy_digest(),
            at,
            checks,
        }
    }

    /// The root that its evidence ends at.
    pub const fn root(&self) -> Root {
        self.root
    }

    /// MEASUREMENT, 96 hex digits.
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// HOST_DATA: SHA-256 of its deployment document.
    pub const fn deployment(&self) -> Sha256 {
        self.deployment
    }

    /// The TCB of its platform.
    pub const fn tcb(&self) -> Tcb {
        self.tcb
    }

    /// What it serves.
    pub fn models(&self) -> &[VerifiedModel] {
        &self.models
    }

    /// SHA-256 of the SubjectPublicKeyInfo of its TLS key.
    pub const fn channel_key(&self) -> Sha256 {
        self.channel_key
    }

    /// Digest of the policy that accepted it.
    pub const fn policy(&self) -> Sha256 {
        self.policy
    }

    /// When it was verified, by the clock that the caller gave.
    pub const fn at(&self) -> UnixTime {
        self.at
    }

    /// Every check that was made; all held.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

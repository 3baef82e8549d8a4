//! What was verified of an enclave, in the form that is printed, logged and kept.

use serde::Serialize;
use strongroom_appraisal::{UnixTime, VerifiedEnclave};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::Workload;
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Check, Result, Root};

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
    workload: Sha256,
    /// Whether the policy names the manifests that may be served, so that another workload is another matter.
    #[serde(skip)]
    is_pinned: bool,
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
        (workload, is_pinned): (&Workload, bool),
        spki: &[u8],
        at: UnixTime,
        checks: Vec<Check>,
    ) -> Result<Self> {
        let models = workload.models.iter().map(|model| VerifiedModel {
            name: model.name.clone(),
            manifest: model.manifest.oci(),
            statement: model.statement,
        });
        Ok(Self {
            verdict: "accepted",
            platform: "snp",
            root: enclave.root(),
            product: enclave.product().to_owned(),
            measurement: hex::encode(enclave.report().measurement),
            deployment: Sha256(enclave.report().host_data),
            tcb: enclave.tcb(),
            models: models.collect(),
            workload: workload.digest()?,
            is_pinned,
            channel_key: Sha256::of(spki),
            policy: enclave.policy_digest(),
            at,
            checks,
        })
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

    /// The digest of document and models together ([`strongroom_wire::binding::workload_digest`]).
    pub const fn workload(&self) -> Sha256 {
        self.workload
    }

    /// The one workload that requests may be answered by, where the policy names manifests: an enclave that replaces a model, as its
    /// document lets it, refuses them then (`workload-changed`). A policy that names signers alone takes whatever these signed.
    pub(crate) fn pinned(&self) -> Option<Sha256> {
        self.is_pinned.then_some(self.workload)
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

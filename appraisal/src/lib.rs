//! The attestation verifier as a library: evidence, endorsements, policy and `now` go in; a verdict comes out.
//!
//! Two steps, two types. [`authenticate`] (SNP) and [`tdx::authenticate`] answer *who signed this*: chain to a pinned root,
//! validity at `now`, revocation, signature over the bytes as received, TCB and platform against what the vendor states.
//! They stop at the first failure. [`appraise`] and [`tdx::appraise`] answer *is this what I approved*: they make every
//! check of a [`Policy`] and report every one. Only all of them together give a [`VerifiedEnclave`].
//!
//! This crate does not open a socket or a file, read a clock, keep state, or decide what to do with a verdict.

mod allowance;
mod appraisal;
pub mod azure;
mod certificate;
mod corim;
mod crl;
mod document_key;
mod dsse;
mod endorsements;
mod inventory;
mod models;
mod newest;
mod pem;
mod policy;
mod reference_values;
mod release_policy;
mod roots;
mod seen;
mod signed_document;
mod snp;
pub mod tdx;
mod trace;
mod window;

pub use allowance::{Allowance, Rate};
pub use appraisal::{Appraisal, Expected, Verdict, VerifiedEnclave};
pub use corim::{CorimImport, CorimPlatform, CorimSigner};
pub use document_key::DocumentKey;
pub use dsse::Signers;
pub use endorsements::Endorsements;
pub use inventory::{InventorySource, VerifiedInventory};
pub use models::appraise_models;
pub use newest::Sightings;
pub use policy::{
    Abi, AzurePolicy, BitSet, Ceiling, Firmware, Floor, Hex, Listing, Machines, ModelPolicy, Pcr, Policy, Rule,
    SnpPolicy, TdxEvent, TdxPolicy,
};
pub use reference_values::{
    Label, ReferenceSource, ReferenceValues, SnpGuest, SnpReferenceValues, TdxGuest, TdxReferenceValues,
    VerifiedReferenceValues,
};
pub use release_policy::ReleasePolicy;
pub use roots::Roots;
pub use seen::{Seen, SeenKind};
pub use signed_document::{DocumentCodes, SignedDocument, Source, Verified};
pub use snp::{
    AuthenticReport, VerifiedVek, appraise, authenticate, authenticate_recording, authenticate_traced,
    verify_authorities, verify_revocation_list,
};

/// The JSON schema (draft 2020-12) of [`Policy`]'s document, for editors and other people's tools.
pub const POLICY_SCHEMA: &str = include_str!("../../docs/policy.schema.json");

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixTime = u64;

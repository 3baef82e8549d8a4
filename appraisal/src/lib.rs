//! The attestation verifier as a library: evidence, endorsements, policy and `now` go in; a verdict comes out.
//!
//! Two steps, two types. [`authenticate`] answers *who signed this*: chain to a pinned root, validity at `now`, revocation,
//! signature over the bytes as received, TCB and chip against the endorsement certificate. It stops at the first failure.
//! [`appraise`] answers *is this what I approved*: it makes every check of a [`Policy`] and reports every one.
//! Only all of them together give a [`VerifiedEnclave`].
//!
//! This crate does not open a socket or a file, read a clock, keep state, or decide what to do with a verdict.

mod appraise;
mod authenticate;
mod certificate;
mod crl;
mod endorsements;
mod models;
mod policy;
mod roots;

pub use appraise::{Appraisal, Expected, Verdict, VerifiedEnclave, appraise};
pub use authenticate::{AuthenticReport, authenticate, authenticate_traced};
pub use endorsements::Endorsements;
pub use models::appraise_models;
pub use policy::{Floor, Hex, ModelPolicy, Policy, Rule, SnpPolicy};
pub use roots::Roots;

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixTime = u64;

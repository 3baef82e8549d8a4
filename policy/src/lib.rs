//! Cedar policies: over appraised workloads, who may have which key, identity or route of a verifier's; and over callers of an
//! enclave's API, who may do what with which model ([`CallPolicies`]).
//!
//! Appraisal says whether a guest is what its evidence claims, and a trust file whether a model is one that its owner signed.
//! What such a guest may then have is the owner's to say, in Cedar, against the schema [`SCHEMA`]: [`Policies::parse`] once,
//! [`Policies::decide`] for each [`Question`]. Nothing is permitted that no policy permits.
//!
//! Cedar skips a policy that fails while it is evaluated; a `forbid` that is skipped would permit. Here such a question is
//! refused.
//!
//! This crate does not verify evidence, signatures or promotions, open a socket or a file, or read a clock: what it is told
//! of a workload or a caller must have been verified by who tells it.

mod calls;
mod decide;
mod explain;
mod policies;
mod question;
mod scoped;
mod source;
mod together;

pub use calls::{CALL_SCHEMA, Call, CallAction, CallPolicies, PRINCIPALS};
pub use decide::{Allowed, Decision, Verdict};
pub use explain::{Effect, Explained};
pub use policies::{Policies, SCHEMA};
pub use question::{Action, Key, Model, Promotion, Question, Snp, Tdx, Workload};

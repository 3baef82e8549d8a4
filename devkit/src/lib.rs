//! What tests and the demo need in place of vendors, hardware and other people's services: a fake AMD hierarchy made
//! fresh ([`amd`]), reports signed by it ([`report`]), a fake Intel hierarchy ([`intel`]) with quotes ([`quote`]) and
//! event logs ([`event_log`]), Azure's virtual TPM ([`azure`]), a security processor that answers with reports
//! ([`psp`]), a PostgreSQL server ([`postgres`]), firmware and kernel to measure ([`firmware`]), a ciphertext that opens under two keys ([`two_key`]) and
//! two services of others that can be told to misbehave: an OCI registry ([`registry`]) and the vendors' endorsement
//! services ([`vendors`]).
//!
//! This crate does not weaken any check: the same verification code runs over what it makes, under a root that no vendor
//! vouches for. It is never part of an image, and no product crate depends on it outside tests.

pub mod amd;
pub mod azure;
pub mod event_log;
pub mod firmware;
pub mod intel;
pub mod postgres;
pub mod psp;
pub mod quote;
pub mod registry;
pub mod report;
pub mod two_key;
pub mod vectors;
pub mod vendors;
mod x509;

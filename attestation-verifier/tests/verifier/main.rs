//! The service as its peers see it: a real registry, real TLS, reports signed by a fake vendor hierarchy, and every way to
//! get a key that is not the guest's to have. Each attack differs from the accepted twin in one thing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

mod administration;
mod administrators;
mod approval;
mod attacks;
mod attestation;
mod authorization;
mod backup;
mod binary;
mod documents;
mod enclave;
mod endorsements;
mod faults;
mod feeds;
mod guest;
mod identities;
mod keys;
mod leases;
mod log;
mod metrics;
mod passports;
mod peer;
mod people;
mod platforms;
mod promotions;
mod protocol;
mod release;
mod replacement;
mod replicas;
mod revocations;
mod rewrap;
mod token;
mod transit;
mod world;

//! The attested channel against real TLS servers on loopback: an honest enclave, and every way in which somebody in between
//! or the enclave itself is not what was approved.
//!
//! Evidence is signed by a fake hierarchy under a test root, so the code that verifies it is the one that always runs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are no tests to clippy")]

mod attest;
mod enclave;
mod impostor;
mod memory;
mod pool;
mod proxy;
mod switch;

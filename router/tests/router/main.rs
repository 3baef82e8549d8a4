//! The router between real TLS clients and servers on loopback, told of leases by a verifier's route over TLS.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod binary;
mod routing;
mod stage;

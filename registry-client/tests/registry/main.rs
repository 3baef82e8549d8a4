//! The client against a real registry on loopback, honest and lying.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr
)]

mod blobs;
mod cache;
mod common;
mod docker;
mod faults;
mod manifests;
mod mirrors;
mod models;
mod promotions;
mod ranges;
mod referrers;
mod reseal;
mod signatures;
mod tokens;

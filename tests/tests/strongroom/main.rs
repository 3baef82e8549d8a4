//! The whole system and its peers: the crate graph as it is drawn ([`arrow`]), other people's implementations of the formats
//! ([`tink`], [`model_signing`], [`registries`], [`rcar`], [`embeddings`], [`inference`], [`measure`]), and the real programs end to end and under bad
//! input ([`endorsements`], [`canary`], [`promotions`], [`replacement`], [`soak`], [`tampering`], [`bad_input`], [`parsers`], [`fuzz_regressions`], [`demo`]), also in a virtual machine ([`image`]); and that what is promised is tested ([`documents`]).
//!
//! Programs are those that stand beside this test's executable; peers are those that `dev/setup/run` and
//! `tests/peers/setup` brought, found through `dev/setup/with-env`. Every test has its own folder and its own ports.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::string_slice, clippy::as_conversions)]

mod arrow;
mod bad_input;
mod canary;
mod demo;
mod documents;
mod embeddings;
mod endorsements;
mod fuzz_regressions;
mod image;
mod inference;
mod leases;
mod measure;
mod model_signing;
mod parsers;
mod peers;
mod promotions;
mod rcar;
mod registries;
mod replacement;
mod soak;
mod system;
mod tampering;
mod tink;

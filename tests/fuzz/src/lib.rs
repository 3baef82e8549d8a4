//! The bodies of the fuzz targets: what every input must and must not do to a parser, and to a whole verification.
//!
//! A body is a function of its input alone, as far as the input's meaning goes, and panics where an invariant is broken.
//! The fuzzer drives it on the nightly compiler; `tests/strongroom/fuzz_regressions.rs` includes this very source and replays
//! seeds and earlier finds on the stable one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "public to the programs that fuzz, not within the test that replays")]

// Paths begin with `super` below: as a module of the replaying test, this file is not the root of its crate.
mod bodies;
mod fixtures;
mod mutation;
mod seeds;

pub use bodies::snp_verify::is_authentic as is_authentic_snp;
pub use bodies::tdx_verify::is_authentic as is_authentic_tdx;
pub use fixtures::render as render_fixtures;
use std::path::Path;

/// What a target does with an input.
pub type Body = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Body); 11] = [
    ("hardware", bodies::hardware::run),
    ("firmware", bodies::firmware::run),
    ("messages", bodies::messages::run),
    ("tokens", bodies::tokens::run),
    ("models", bodies::models::run),
    ("published", bodies::published::run),
    ("signers", bodies::signers::run),
    ("endorsements", bodies::endorsements::run),
    ("signed", bodies::signed::run),
    ("snp_verify", bodies::snp_verify::run),
    ("tdx_verify", bodies::tdx_verify::run),
];

/// Runs one input through a target.
pub fn run(target: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target's name");
    body(input);
}

/// Inputs that a target begins with: what it accepts, made by `devkit`.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    seeds::of(target)
}

/// Before the first input: writes the seeds to the folder that `STRONGROOM_FUZZ_SEEDS` names.
#[allow(dead_code, reason = "the programs that fuzz call it")]
pub fn begin(target: &str) {
    let Some(folder) = std::env::var_os("STRONGROOM_FUZZ_SEEDS") else { return };
    for (number, seed) in seeds(target).into_iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("seed-{number:02}")), seed).expect("a folder for seeds");
    }
}

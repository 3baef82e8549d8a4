//! The guest image: what is in it, and that it boots, in a virtual machine without acceleration, to a model that is served.
//!
//! The host of these guests plays the security processor: `strongroom-image run emulated` computes the measurement of the very
//! files that QEMU gets, and no guest can influence it. Registry, verifier and client are the real programs on this machine.

mod archive;
mod boot;
mod contents;
mod figures;
mod manifests;
mod unified;

use crate::peers;
use std::path::PathBuf;

/// The folder that `make image` wrote.
fn built() -> Option<PathBuf> {
    peers::find("GUEST_IMAGE")
}

#[test]
fn environment_that_a_guest_gives_its_enclave_is_the_one_that_the_enclave_makes_itself() {
    assert_eq!(strongroom_init::confine::ENVIRONMENT, strongroom_enclave::process::CLEAN);
}

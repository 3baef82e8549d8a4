//! The guest image: what is in it, and that it boots, in a virtual machine without acceleration, to a model that is served.
//!
//! The host of these guests plays the security processor: `strongroom-image run emulated` computes the measurement of the very
//! files that QEMU gets, and no guest can influence it. Registry, verifier and client are the real programs on this machine.

mod archive;
mod boot;
mod contents;
mod figures;
mod manifests;

use crate::peers;
use std::path::PathBuf;

/// The folder that `make image` wrote.
fn built() -> Option<PathBuf> {
    peers::find("GUEST_IMAGE")
}

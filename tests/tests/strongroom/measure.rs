//! Launch measurements and other people's tools: `strongroom measure` on firmware of Debian and Ubuntu, and what becomes of
//! its values.

mod document;
mod snp;
mod tdx;

use crate::peers;
use std::path::PathBuf;

/// An image of OVMF among the files of a peer's package.
fn firmware(variable: &str, file: &str) -> Option<PathBuf> {
    Some(peers::find(variable)?.join(file))
}

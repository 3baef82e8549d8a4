//! The roots that evidence must end at.

use crate::files;
use std::path::PathBuf;
use strongroom_appraisal::Roots;
use strongroom_wire::{Result, limits};

/// The roots in these files, or AMD's own where none is named.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Roots> {
    if paths.is_empty() {
        return Roots::builtin();
    }
    let files = paths.iter().map(|path| files::read(path, limits::ENDORSEMENT)).collect::<Result<Vec<_>>>()?;
    Roots::named(&files.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

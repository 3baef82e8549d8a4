//! Trust files: who may sign which model.

use crate::files;
use std::path::Path;
use strongroom_artifact::verify_signers;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Result, limits};

/// Reads a trust file whose keys are all usable.
pub(crate) fn load(path: &Path) -> Result<TrustFile> {
    let within = |refusal: strongroom_wire::Refusal| refusal.within(format!("`{}`", path.display()));
    let trust = TrustFile::parse(&files::read(path, limits::POLICY)?).map_err(within)?;
    verify_signers(&trust).map_err(within)?;
    Ok(trust)
}

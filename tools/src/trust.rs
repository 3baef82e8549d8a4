//! Trust files: who may sign which model.

use crate::files;
use std::path::Path;
use strongroom_artifact::PublicKey;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Result, limits};

/// Reads a trust file whose keys are all usable.
pub(crate) fn load(path: &Path) -> Result<TrustFile> {
    let within = |refusal: strongroom_wire::Refusal| refusal.within(format!("`{}`", path.display()));
    let trust = TrustFile::parse(&files::read(path, limits::POLICY)?).map_err(within)?;
    verify_keys(&trust).map_err(within)?;
    Ok(trust)
}

/// Refuses a trust file with a key that no signature could be verified with: found here, it does not wait for a guest to
/// find it.
pub(crate) fn verify_keys(trust: &TrustFile) -> Result<()> {
    for signer in trust.rules.iter().flat_map(|rule| rule.signers.iter().chain(&rule.statement_signers)) {
        let key = PublicKey::from_pem(signer.key.as_bytes());
        key.map_err(|refusal| refusal.within(format!("signer `{}`", signer.name)))?;
    }
    Ok(())
}

//! Keys that are made in tokens, before a service starts that needs them.

use crate::config::{Config, Custody};
use crate::custody::wrapping_key;
use crate::master_key::MasterKey;
use std::path::Path;
use strongroom_wire::{Code, Result};

/// Makes the key of each configured PKCS #11 custody in its token, where it has none of that name: one that never leaves it.
///
/// # Errors
/// `configuration-invalid`: no such URI, or a library that does not load; `token-failed`; `key-invalid`: a key of that name is
/// there that could leave its token.
pub fn init_custody(config: &Config) -> Result<()> {
    for custody in &config.custodies {
        if let Custody::Pkcs11 { uri } = custody {
            let key = wrapping_key(uri)?;
            match key.generate() {
                Err(refusal) if refusal.code == Code::KeyExists => {}
                made => made?,
            }
            key.seal(b"strongroom/health/v1", b"health")?;
        }
    }
    Ok(())
}

/// Makes `file` with a new master key, wrapped by the token's key that `uri` (RFC 7512) names.
///
/// # Errors
/// `configuration-invalid`: no such URI; `token-failed`; `key-invalid`: a key that could leave its token; `io`: also where there is
/// a file of that name.
pub fn make_master_key(file: &Path, uri: &str) -> Result<()> {
    MasterKey::create_wrapped(file, uri)
}

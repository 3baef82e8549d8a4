//! The key that signs: in a file, or in a PKCS #11 token that never gives it away.

mod pkcs11;

use crate::files;
use std::path::Path;
use strongroom_artifact::Sign;
use strongroom_pkcs11::KeyUri;
use strongroom_wire::Result;

/// Opens the key that a command names: a file, or `pkcs11:…` (RFC 7512).
pub(crate) fn open(named: &Path) -> Result<Box<dyn Sign + Send + Sync>> {
    match named.to_str().filter(|text| text.starts_with("pkcs11:")) {
        Some(uri) => Ok(Box::new(pkcs11::TokenKey::open(&KeyUri::parse(uri)?)?)),
        None => Ok(Box::new(files::read_signing_key(named)?)),
    }
}

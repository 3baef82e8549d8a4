//! The token for when nothing else lets anybody in: one secret, compared in constant time.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use std::path::Path;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

use crate::private_file;

/// The shortest token in a file that somebody else made: 128 bits in hex.
const SHORTEST: usize = 32;

/// The token's digest, never the token.
#[derive(Debug)]
pub(super) struct BreakGlass(Sha256);

impl BreakGlass {
    /// Loads the token from a private file, which is made of 32 random bytes in hex where it is absent.
    ///
    /// # Errors
    /// `file-mode-unsafe`; `io`; `key-invalid`: shorter than 32 characters.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let token = private_file::load_or_create(path, || {
            let mut bytes = Zeroizing::new([0; 32]);
            rand::fill(bytes.as_mut()).map_err(|_| Refusal::new(Code::Internal, "random admin token"))?;
            Ok(Zeroizing::new(hex::encode(bytes.as_ref()).into_bytes()))
        })?;
        let token = token.trim_ascii();
        if token.len() < SHORTEST {
            return Err(Refusal::new(Code::KeyInvalid, format!("admin token in {}", path.display()))
                .got(format!("{} characters", token.len()))
                .want(format!("at least {SHORTEST}")));
        }
        Ok(Self(Sha256::of(token)))
    }

    /// Whether `presented` is the token. Digests are compared, so that not even its length shows in how long that takes.
    pub(super) fn is(&self, presented: &[u8]) -> bool {
        verify_slices_are_equal(&Sha256::of(presented).0, &self.0.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_token_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        private_file::create(&path, b"password\n").unwrap();
        assert_eq!(BreakGlass::load(&path).unwrap_err().code, Code::KeyInvalid);
    }
}

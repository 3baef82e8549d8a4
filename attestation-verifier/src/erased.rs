//! Bytes that were read and may be a secret: erased when they were dealt with.

use bytes::{Bytes, BytesMut};
use zeroize::Zeroize as _;

/// What was read.
pub(crate) struct Erased(BytesMut);

impl Erased {
    /// The bytes that were read, not a copy of them; they are shared with nobody.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self(bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref())))
    }

    /// For whoever deals with them.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Erased {
    fn drop(&mut self) {
        self.0.as_mut().zeroize();
    }
}

//! Callers by bearer keys (RFC 6750), known by their hashes in the measured deployment document.

use super::Identity;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use strongroom_wire::deployment::{IdentityKind, Principal};
use strongroom_wire::digest::Sha256;

/// Those who have a key.
#[derive(Debug)]
pub(super) struct Keys(Vec<(Sha256, Identity)>);

impl Keys {
    pub(super) fn new(principals: &[Principal]) -> Self {
        let known = |principal: &Principal| {
            (principal.key_sha256, Identity::new(IdentityKind::ApiKey, principal.name.as_str()))
        };
        Self(principals.iter().map(known).collect())
    }

    /// Whose key it is.
    pub(super) fn bearer_of(&self, key: &[u8]) -> Option<Identity> {
        let hash = Sha256::of(key);
        // Every principal is compared, in constant time, so that an answer's time tells neither prefix nor place.
        let known = self.0.iter().fold(None, |found, (known, identity)| {
            if verify_slices_are_equal(&known.0, &hash.0).is_ok() { Some(identity) } else { found }
        });
        known.cloned()
    }
}

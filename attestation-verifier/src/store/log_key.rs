//! The key that signs the log's checkpoints: made with the store and sealed in it, so that whoever opens the store with its master
//! key goes on with the same log.

use crate::master_key::MasterKey;
use aws_lc_rs::rand;
use strongroom_tlog::{NoteSigner, Role};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Realm, Refusal, Result};
use zeroize::Zeroizing;

/// The name in `meta` of the sealed seed. No key id, since it has no slashes.
pub(super) const LOG_KEY: &str = "log-key";

/// A new seed.
pub(super) fn generate() -> Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    rand::fill(seed.as_mut()).map_err(|_| Refusal::new(Code::Internal, "random log key"))?;
    Ok(seed)
}

/// The signer of a log in this realm, by its seed. It signs as the log's origin, `strongroom-verifier/<16 hex digits>`, or
/// `strongroom-verifier.test/…` in a test realm: the digits are the beginning of the key's SHA-256, since a log is told by its key
/// and stays the same wherever the service runs.
///
/// # Errors
/// `key-invalid`.
pub(super) fn signer(seed: &Zeroizing<[u8; 32]>, realm: Realm) -> Result<NoteSigner> {
    let host = match realm {
        Realm::Vendor => "strongroom-verifier",
        Realm::Test(_) => "strongroom-verifier.test",
    };
    let unnamed = NoteSigner::new(host, Role::Log, seed)?;
    let digest = Sha256::of(unnamed.verifier().key()).to_string();
    let name: String = digest.chars().take(16).collect();
    NoteSigner::new(&format!("{host}/{name}"), Role::Log, seed)
}

/// Opens a sealed seed.
///
/// # Errors
/// `key-invalid`: another master key, or other bytes.
pub(super) fn open(sealed: &[u8], master: &MasterKey) -> Result<Zeroizing<[u8; 32]>> {
    let invalid = || Refusal::new(Code::KeyInvalid, "master key").got("not the one that the log's key is sealed under");
    let seed = master.open(LOG_KEY, sealed).map_err(|_| invalid())?;
    Ok(Zeroizing::new(seed.as_slice().try_into().map_err(|_| invalid())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_named_by_its_key_and_realm() {
        let seed = Zeroizing::new([7; 32]);
        let test = Realm::Test(Sha256([1; 32]));
        let name = |seed, realm| signer(seed, realm).unwrap().verifier().name().to_owned();
        let vendor = name(&seed, Realm::Vendor);
        assert_eq!(vendor.strip_prefix("strongroom-verifier/").unwrap().len(), 16);
        assert_eq!(name(&seed, test), vendor.replace("verifier/", "verifier.test/"));
        assert_ne!(name(&Zeroizing::new([8; 32]), Realm::Vendor), vendor);
    }

    #[test]
    fn seed_opens_under_its_master_key_only() {
        let [master, other] = [1, 2].map(|fill| MasterKey::from_file_bytes(&[fill; 32]).unwrap());
        let seed = generate().unwrap();
        let sealed = master.seal(LOG_KEY, seed.as_ref()).unwrap();
        assert_eq!(*open(&sealed, &master).unwrap(), *seed);
        assert_eq!(open(&sealed, &other).unwrap_err().code, Code::KeyInvalid);
        assert_eq!(open(&master.seal("other", seed.as_ref()).unwrap(), &master).unwrap_err().code, Code::KeyInvalid);
    }
}

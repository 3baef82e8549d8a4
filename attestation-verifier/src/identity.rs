//! Who this verifier is: the TLS key that guests pin and the key that signs its tokens, made at first start and kept in
//! files that only their owner reads; or in the store, where it shares that with others, which are the same to guests.

use crate::private_file;
use crate::state_lock::StateLock;
use crate::store::{Store, StoredIdentity};
use crate::token_keys::{self, TokenKeys};
use std::ffi::OsStr;
use std::fs::remove_file;
use std::path::{Path, PathBuf};
use strongroom_tlog::NoteVerifier;
use strongroom_transport::ServerIdentity;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Realm, Refusal, Result};
use zeroize::Zeroizing;

/// TLS key and token key of one verifier.
#[derive(Debug)]
pub struct Identity {
    /// What it serves TLS with.
    pub tls: ServerIdentity,
    /// What it signs tokens with.
    pub(crate) tokens: TokenKeys,
}

/// The values that a deployment document names its verifier by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PublicIdentity {
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS key.
    pub pin: Sha256,
    /// Base64 of the DER SubjectPublicKeyInfo of the token key.
    pub token_key: String,
    /// The key of its audit log, as c2sp.org/signed-note writes one.
    pub log_key: String,
}

impl Identity {
    /// The identity kept in `folder`, made there where there is none yet: `tls.pem`, `tls-key.pem`, `token-key.pem`, and
    /// `realm`, without which keys of the test realm could be carried into a verifier that real deployments trust. Of
    /// several that find none at once, one makes it and all return it.
    ///
    /// # Errors
    /// `realm-mismatch`: the folder belongs to another realm; `file-mode-unsafe`; `key-invalid`; `io`.
    pub fn load_or_create(folder: &Path, names: &[String], realm: Realm) -> Result<Self> {
        private_file::create_folder(folder)?;
        let files = Files::of(folder);
        if !files.are_complete()? {
            let _creating = StateLock::creating(folder)?;
            files.create(names, realm)?;
        }
        files.load(realm)
    }

    /// The identity of all verifiers that share `store`: the one in it, or else the one in `folder`, or else a new one.
    ///
    /// # Errors
    /// As [`Self::load_or_create`]; `store-failed`; `store-tampered`.
    pub(crate) async fn shared(store: &Store, folder: &Path, names: &[String], realm: Realm) -> Result<Self> {
        let make = || {
            let files = Files::of(folder);
            let own = if files.are_complete()? { files.load(realm)? } else { Self::generate(names)? };
            let key = Zeroizing::new(own.tls.private_key_pem()?.expose().as_bytes().to_vec());
            let certificate = Zeroizing::new(own.tls.certificate_pem().into_bytes());
            Ok([vec![certificate, key], own.tokens.parts()?].concat())
        };
        let StoredIdentity { parts, sealed } = store.identity_or(make).await?;
        let [certificate, key, tokens @ ..] = parts.as_slice() else {
            return Err(Refusal::new(Code::StoreTampered, "store: identity"));
        };
        Ok(Self { tls: ServerIdentity::load_pem(certificate, key)?, tokens: TokenKeys::shared(tokens, sealed)? })
    }

    fn generate(names: &[String]) -> Result<Self> {
        let first = Zeroizing::new(0_u64.to_be_bytes().to_vec());
        let tokens = TokenKeys::shared(&[first, token_keys::fresh()?], Vec::new())?;
        Ok(Self { tls: ServerIdentity::generate(names)?, tokens })
    }

    /// What others know it by, with the key of the log in its store.
    pub fn public(&self, log: &NoteVerifier) -> PublicIdentity {
        PublicIdentity {
            pin: Sha256(self.tls.spki_sha256()),
            token_key: to_base64(self.tokens.signer().spki_der()),
            log_key: log.to_string(),
        }
    }
}

/// Where it is kept. What is there is never replaced, so that who finds all of it may read without a lock.
struct Files {
    realm: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    token: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let [realm, certificate, key, token] =
            ["realm", "tls.pem", "tls-key.pem", "token-key.pem"].map(|name| folder.join(name));
        Self { realm, certificate, key, token }
    }

    fn are_complete(&self) -> Result<bool> {
        Ok(exists(&self.realm)? && exists(&self.key)? && exists(&self.token)?)
    }

    /// Makes what is absent, under the lock of who makes it.
    fn create(&self, names: &[String], realm: Realm) -> Result<()> {
        private_file::load_or_create(&self.realm, || text(&realm.to_string()))?;
        // No key of this realm into the folder of another.
        self.verify_realm(realm)?;
        if !exists(&self.key)? {
            // The key last: a certificate whose key a crash prevented is made anew, a key without its certificate would
            // be lost.
            if exists(&self.certificate)? {
                remove_file(&self.certificate).map_err(|e| Refusal::io(self.certificate.display(), &e))?;
            }
            let made = ServerIdentity::generate(names)?;
            private_file::create(&self.certificate, made.certificate_pem().as_bytes())?;
            private_file::create(&self.key, made.private_key_pem()?.expose().as_bytes())?;
        }
        private_file::load_or_create(&self.token, token_keys::fresh).map(drop)
    }

    fn load(&self, realm: Realm) -> Result<Identity> {
        self.verify_realm(realm)?;
        let (certificate, key) = (private_file::load(&self.certificate)?, private_file::load(&self.key)?);
        Ok(Identity { tls: ServerIdentity::load_pem(&certificate, &key)?, tokens: TokenKeys::load(&self.token)? })
    }

    fn verify_realm(&self, realm: Realm) -> Result<()> {
        let stamp = private_file::load(&self.realm)?;
        if stamp.as_slice() == realm.to_string().as_bytes() {
            return Ok(());
        }
        Err(Refusal::new(Code::RealmMismatch, self.realm.display().to_string())
            .got(String::from_utf8_lossy(&stamp))
            .want(realm))
    }
}

/// Whether a file of that name in the state folder is part of the identity.
pub(crate) fn is_part(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    matches!(name, "realm" | "tls.pem" | "tls-key.pem" | "token-key.pem") || token_keys::made(name).is_some()
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|e| Refusal::io(path.display(), &e))
}

fn text(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_tlog::{NoteSigner, Role};

    fn log() -> NoteVerifier {
        NoteSigner::new("log", Role::Log, &Zeroizing::new([1; 32])).unwrap().verifier().clone()
    }

    #[test]
    fn identity_is_made_once_and_kept_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = Identity::load_or_create(&state, &["localhost".into()], Realm::Vendor).unwrap();
        let again = Identity::load_or_create(&state, &[], Realm::Vendor).unwrap();
        assert_eq!(first.public(&log()), again.public(&log()));
    }

    #[test]
    fn of_many_starts_at_once_all_have_the_identity_that_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let start = || Identity::load_or_create(&state, &[], Realm::Vendor).unwrap().public(&log());
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let kept = start();
        assert!(made.iter().all(|made| *made == kept), "{made:?}");
    }

    #[test]
    fn identity_is_read_while_a_service_runs_and_another_makes_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(folder.path(), &[], Realm::Vendor).unwrap();
        let _serving = StateLock::serving(folder.path()).unwrap();
        let _creating = StateLock::creating(folder.path()).unwrap();
        let again = Identity::load_or_create(folder.path(), &[], Realm::Vendor).unwrap();
        assert_eq!(first.public(&log()), again.public(&log()));
    }

    #[test]
    fn certificate_whose_key_a_crash_prevented_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        private_file::create(&folder.path().join("tls.pem"), b"of no key").unwrap();
        let first = Identity::load_or_create(folder.path(), &[], Realm::Vendor).unwrap();
        let again = Identity::load_or_create(folder.path(), &[], Realm::Vendor).unwrap();
        assert_eq!(first.public(&log()), again.public(&log()));
    }

    #[test]
    fn identity_of_the_test_realm_refused_in_the_vendors() {
        let folder = tempfile::tempdir().unwrap();
        let test = Realm::Test(Sha256([1; 32]));
        Identity::load_or_create(folder.path(), &[], test).unwrap();
        assert!(Identity::load_or_create(folder.path(), &[], test).is_ok());
        for other in [Realm::Vendor, Realm::Test(Sha256([2; 32]))] {
            let refusal = Identity::load_or_create(folder.path(), &[], other).unwrap_err();
            assert_eq!(refusal.code, Code::RealmMismatch);
        }
    }

    #[test]
    fn key_file_that_others_can_read_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        for name in ["tls-key.pem", "token-key.pem"] {
            let folder = tempfile::tempdir().unwrap();
            Identity::load_or_create(folder.path(), &[], Realm::Vendor).unwrap();
            let file = folder.path().join(name);
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
            let refusal = Identity::load_or_create(folder.path(), &[], Realm::Vendor).unwrap_err();
            assert_eq!(refusal.code, Code::FileModeUnsafe, "{name}");
        }
    }
}

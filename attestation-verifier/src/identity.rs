//! Who this verifier is: the TLS key that guests pin and the key that signs its tokens, made at first start and kept in
//! files that only their owner reads.

use crate::private_file;
use der::pem::LineEnding;
use std::path::Path;
use strongroom_jose::TokenSigner;
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
    pub token: TokenSigner,
}

/// The two values that a deployment document names its verifier by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PublicIdentity {
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS key.
    pub pin: Sha256,
    /// Base64 of the DER SubjectPublicKeyInfo of the token key.
    pub token_key: String,
}

impl Identity {
    /// The identity kept in `folder`, made there where there is none yet: `tls.pem`, `tls-key.pem`, `token-key.pem`, and
    /// `realm`, without which keys of the test realm could be carried into a verifier that real deployments trust.
    ///
    /// # Errors
    /// `realm-mismatch`: the folder belongs to another realm; `file-mode-unsafe`; `key-invalid`; `io`.
    pub fn load_or_create(folder: &Path, names: &[String], realm: Realm) -> Result<Self> {
        private_file::create_folder(folder)?;
        let stamp = private_file::load_or_create(&folder.join("realm"), || text(&realm.to_string()))?;
        if stamp.as_slice() != realm.to_string().as_bytes() {
            return Err(Refusal::new(Code::RealmMismatch, folder.display().to_string())
                .got(String::from_utf8_lossy(&stamp))
                .want(realm));
        }
        let (certificate, key) = (folder.join("tls.pem"), folder.join("tls-key.pem"));
        if !key.exists() {
            // The key last: a certificate without its key is made anew, a key without its certificate would be lost.
            let made = ServerIdentity::generate(names)?;
            private_file::create(&certificate, made.certificate_pem().as_bytes())?;
            private_file::create(&key, made.private_key_pem()?.expose().as_bytes())?;
        }
        let tls = ServerIdentity::load_pem(&private_file::load(&certificate)?, &private_file::load(&key)?)?;
        let token = private_file::load_or_create(&folder.join("token-key.pem"), || {
            let key = TokenSigner::generate()?.to_pkcs8()?;
            let pem = der::pem::encode_string(LABEL, LineEnding::LF, &key);
            pem.map(|pem| Zeroizing::new(pem.into_bytes()))
                .map_err(|e| Refusal::new(Code::Internal, "token key").because(e))
        })?;
        Ok(Self { tls, token: token_key(&token)? })
    }

    /// What others know it by.
    pub fn public(&self) -> PublicIdentity {
        PublicIdentity { pin: Sha256(self.tls.spki_sha256()), token_key: to_base64(self.token.spki_der()) }
    }
}

/// RFC 7468 §10.
const LABEL: &str = "PRIVATE KEY";

fn token_key(pem: &[u8]) -> Result<TokenSigner> {
    let invalid = || Refusal::new(Code::KeyInvalid, "token key").want("PKCS#8 in PEM");
    let (label, key) = der::pem::decode_vec(pem).map_err(|e| invalid().because(e))?;
    let key = Zeroizing::new(key);
    if label == LABEL { TokenSigner::from_pkcs8(&key) } else { Err(invalid().got(label)) }
}

fn text(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_made_once_and_kept_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = Identity::load_or_create(&state, &["localhost".into()], Realm::Vendor).unwrap();
        let again = Identity::load_or_create(&state, &[], Realm::Vendor).unwrap();
        assert_eq!(first.public(), again.public());
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

//! The key that the stored keys are encrypted under: AES-256-GCM (NIST SP 800-38D), 96-bit random IVs, the key's id as
//! additional data, so that no stored key can be passed off as another. What is stored beside them is authenticated by
//! HMAC-SHA256 (FIPS 198-1) under a key derived from it (RFC 5869, info `strongroom/store-mac/v1`).

use crate::custody::{Answer, Custody, KeyValue, Wrapped, wrapping_key};
use crate::private_file;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::{hmac, rand};
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// What a token's key binds it to that wraps it.
const WRAPPED: &[u8] = b"strongroom/master-key/v1";

/// What rows call it by.
pub(crate) const NAME: &str = "master-key";

/// The master key. Never shown, cloned or serialised; erased on drop by the crypto backend.
pub(crate) struct MasterKey {
    sealing: RandomizedNonceKey,
    mac: hmac::Key,
}

impl core::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// Loads the key from a private file, which is made where it is absent and `first_start` says that nothing was
    /// encrypted under it yet, or, by the name `credential:NAME`, from a credential of systemd's, which is never made.
    ///
    /// # Errors
    /// `key-invalid`: not one of the forms of [`Self::from_file_bytes`]; `key-missing`: absent beside a store that exists;
    /// `token-failed`: the token that wrapped it; `file-mode-unsafe`; `io`.
    pub(crate) fn load(path: &Path, first_start: bool) -> Result<Self> {
        if let Some(name) = path.to_str().and_then(|path| path.strip_prefix("credential:")) {
            return Self::from_file_bytes(&private_file::load_credential(name)?);
        }
        let absent = !path.try_exists().map_err(|e| Refusal::io(path.display(), &e))?;
        if absent && !first_start {
            return Err(Refusal::new(Code::KeyMissing, path.display().to_string()).want("the store's master key"));
        }
        let bytes = private_file::load_or_create(path, || {
            let mut key = Zeroizing::new(vec![0; 32]);
            rand::fill(&mut key).map_err(|_| Refusal::new(Code::Internal, "random master key"))?;
            Ok(key)
        })?;
        Self::from_file_bytes(&bytes)
    }

    /// Makes a file of a new key that a token's key wraps, which `uri` (RFC 7512) names.
    ///
    /// # Errors
    /// `configuration-invalid`: no such URI; `token-failed`; `key-invalid`: a key that could leave its token; `io`: also where
    /// there is a file of that name.
    pub(crate) fn create_wrapped(path: &Path, uri: &str) -> Result<()> {
        let mut key = Zeroizing::new(vec![0; 32]);
        rand::fill(&mut key).map_err(|_| Refusal::new(Code::Internal, "random master key"))?;
        let wrapped = wrapping_key(uri)?.seal(WRAPPED, &key)?;
        private_file::create(path, format!("{uri}\n{}\n", hex::encode(wrapped)).as_bytes())
    }

    /// The key in 32 raw bytes; in 64 hex digits with or without an end of line; or in a line with the URI of a token's key and
    /// one with the hex digits of what that one wrapped.
    ///
    /// # Errors
    /// `key-invalid`; `token-failed`.
    pub(crate) fn from_file_bytes(bytes: &[u8]) -> Result<Self> {
        let invalid =
            || Refusal::new(Code::KeyInvalid, "master key").want("32 bytes, 64 hex digits, or what a token wrapped");
        if bytes.starts_with(b"pkcs11:") {
            let text = core::str::from_utf8(bytes).map_err(|_| invalid())?;
            let (uri, wrapped) = text.trim_end().split_once('\n').ok_or_else(invalid)?;
            let wrapped = hex::decode(wrapped).map_err(|_| invalid())?;
            let key = wrapping_key(uri)?.open(WRAPPED, &wrapped).map_err(|refusal| match refusal.code {
                Code::SealInvalid => invalid().because(refusal),
                _ => refusal,
            })?;
            return Self::of(key.as_slice().try_into().map_err(|_| invalid())?);
        }
        if let Ok(raw) = <&[u8; 32]>::try_from(bytes) {
            return Self::of(raw);
        }
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(bytes.trim_ascii_end(), key.as_mut()).map_err(|_| invalid())?;
        Self::of(&key)
    }

    fn of(key: &[u8; 32]) -> Result<Self> {
        let invalid = || Refusal::new(Code::KeyInvalid, "master key");
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, key);
        let derived = Salt::new(HKDF_SHA256, &[]).extract(key);
        let mac = derived.expand(&[b"strongroom/store-mac/v1"], hmac::HMAC_SHA256).map(hmac::Key::from);
        Ok(Self { sealing: sealing.map_err(|_| invalid())?, mac: mac.map_err(|_| invalid())? })
    }

    /// Whether it is the same key as `other`.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.verify("master key", b"which", &other.mac(b"which")).is_ok()
    }

    /// What authenticates `content`, in which every field's end must be plain.
    pub(crate) fn mac(&self, content: &[u8]) -> Vec<u8> {
        hmac::sign(&self.mac, content).as_ref().to_vec()
    }

    /// Verifies that `mac` is what [`Self::mac`] made of `content`, called `what`, in constant time.
    ///
    /// # Errors
    /// `store-tampered`: it is not.
    pub(crate) fn verify(&self, what: &str, content: &[u8], mac: &[u8]) -> Result<()> {
        hmac::verify(&self.mac, content, mac)
            .map_err(|_| Refusal::new(Code::StoreTampered, format!("{what} does not authenticate")))
    }

    /// `IV ‖ ciphertext ‖ tag` of a value under the name it is stored at.
    pub(crate) fn seal(&self, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        // Encrypted where the copy lies, so that none is left behind.
        let mut text = Zeroizing::new(value.to_vec());
        let (nonce, tag) = self
            .sealing
            .seal_in_place_separate_tag(Aad::from(aad(name)), text.as_mut_slice())
            .map_err(|_| Refusal::new(Code::Internal, "encrypting a stored value"))?;
        Ok([nonce.as_ref().as_slice(), &text, tag.as_ref()].concat())
    }

    /// The value that [`Self::seal`] encrypted under this name.
    ///
    /// # Errors
    /// `store-failed`: another key, another name, or other bytes.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let failed = || Refusal::new(Code::StoreFailed, format!("stored value `{name}` does not authenticate"));
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .sealing
            .open_in_place(Nonce::from(nonce), Aad::from(aad(name)), &mut text)
            .map(|plain| plain.len())
            .map_err(|_| failed())?;
        text.truncate(length);
        Ok(text)
    }
}

impl Custody for MasterKey {
    fn name(&self) -> &str {
        NAME
    }

    fn wrap<'a>(&'a self, id: &'a str, value: &'a [u8]) -> Answer<'a, Wrapped> {
        Box::pin(async move { self.seal(id, value).map(|bytes| Wrapped::by(NAME, bytes)) })
    }

    fn unwrap<'a>(&'a self, id: &'a str, wrapped: &'a [u8]) -> Answer<'a, KeyValue> {
        Box::pin(async move { self.open(id, wrapped).map(KeyValue::new) })
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What binds a value to the name that it is stored at, whatever wraps it.
pub(crate) fn aad(name: &str) -> Vec<u8> {
    [b"strongroom/stored-key/v1\0", name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> MasterKey {
        MasterKey::from_file_bytes(&[fill; 32]).unwrap()
    }

    #[test]
    fn value_opens_under_its_own_key_and_name_only() {
        let sealed = key(1).seal("a/b/c", b"secret").unwrap();
        assert_eq!(key(1).open("a/b/c", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(key(2).open("a/b/c", &sealed).unwrap_err().code, Code::StoreFailed);
        assert_eq!(key(1).open("a/b/d", &sealed).unwrap_err().code, Code::StoreFailed);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key(1).open("a/b/c", &changed).unwrap_err().code, Code::StoreFailed, "byte {at}");
            assert_eq!(key(1).open("a/b/c", &sealed[..at]).unwrap_err().code, Code::StoreFailed, "{at} bytes");
        }
        assert_ne!(sealed, key(1).seal("a/b/c", b"secret").unwrap());
    }

    #[test]
    fn key_is_itself_and_no_other() {
        assert!(key(1).is(&key(1)) && !key(1).is(&key(2)));
    }

    #[test]
    fn content_authenticates_under_its_own_key_only() {
        let mac = key(1).mac(b"content");
        assert!(key(1).verify("row", b"content", &mac).is_ok());
        for (by, content, mac) in [
            (key(2), b"content", mac.clone()),
            (key(1), b"contenT", mac.clone()),
            (key(1), b"content", mac[..31].to_vec()),
            (key(1), b"content", vec![]),
        ] {
            assert_eq!(by.verify("row", content, &mac).unwrap_err().code, Code::StoreTampered);
        }
    }

    #[test]
    fn raw_bytes_and_hex_digits_are_the_same_key() {
        let sealed = MasterKey::from_file_bytes(format!("{}\n", "07".repeat(32)).as_bytes()).unwrap();
        let sealed = sealed.seal("n", b"v").unwrap();
        assert!(key(7).open("n", &sealed).is_ok());
        for bad in [&[0; 31][..], &[0; 33], b"", "zz".repeat(32).as_bytes()] {
            assert_eq!(MasterKey::from_file_bytes(bad).unwrap_err().code, Code::KeyInvalid);
        }
    }

    #[test]
    fn master_key_is_made_at_first_start_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master");
        assert_eq!(MasterKey::load(&path, false).unwrap_err().code, Code::KeyMissing);
        let sealed = MasterKey::load(&path, true).unwrap().seal("n", b"v").unwrap();
        assert!(MasterKey::load(&path, false).unwrap().open("n", &sealed).is_ok());
    }
}

//! The keys that tokens are signed with. The newest signs; those before it stay for the deployment documents that pin them, and in the
//! JWK set for as long as a token that they signed may live.

use crate::private_file;
use crate::sessions::LIFETIME;
use crate::store::Parts;
use der::pem::LineEnding;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use strongroom_appraisal::UnixTime;
use strongroom_jose::{SKEW, TokenSigner, TokenVerifier};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Keys that are kept: the one that signs, and those that deployment documents may still pin.
const KEYS: usize = 16;
/// RFC 7468 §10.
const LABEL: &str = "PRIVATE KEY";
/// The name of every key's file but the first's: this, the second in which it was made, and `.pem`.
const NAME: &str = "token-key-";

/// The token keys of one verifier.
#[derive(Debug)]
pub(crate) struct TokenKeys {
    place: Place,
    keys: RwLock<Keys>,
}

/// Where they are kept.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    /// In the store, for every verifier that shares it: of these sealed bytes, when they were read last.
    Store(Mutex<Vec<u8>>),
}

#[derive(Debug)]
struct Keys {
    /// The newest last.
    signers: Vec<Dated>,
    newest: Arc<TokenSigner>,
    verifier: TokenVerifier,
}

#[derive(Debug, Clone)]
struct Dated {
    signer: Arc<TokenSigner>,
    made: UnixTime,
}

impl Keys {
    fn of(mut signers: Vec<Dated>) -> Result<Self> {
        signers.sort_by_key(|key| key.made);
        let over = signers.len().saturating_sub(KEYS);
        signers.drain(..over);
        let set = json!({ "keys": signers.iter().map(|key| key.signer.jwk()).collect::<Vec<_>>() });
        let newest = signers.last().ok_or_else(|| Refusal::new(Code::Internal, "no token key"))?;
        let newest = Arc::clone(&newest.signer);
        Ok(Self { verifier: TokenVerifier::of_jwks(set.to_string().as_bytes())?, newest, signers })
    }

    fn of_parts(parts: &[Zeroizing<Vec<u8>>]) -> Result<Self> {
        let invalid = || Refusal::new(Code::KeyInvalid, "shared token keys");
        let key = |[made, key]: &[Zeroizing<Vec<u8>>; 2]| {
            let made = u64::from_be_bytes(made.as_slice().try_into().map_err(|_| invalid())?);
            Ok(Dated { signer: Arc::new(read(key)?), made })
        };
        let (pairs, []) = parts.as_chunks() else { return Err(invalid()) };
        Self::of(pairs.iter().map(key).collect::<Result<_>>()?)
    }

    fn verify_may_change(&self, now: UnixTime) -> Result<()> {
        match self.signers.last() {
            Some(newest) if now <= newest.made => {
                Err(Refusal::new(Code::Busy, "token key").got("one was made in this second"))
            }
            _ => Ok(()),
        }
    }
}

impl TokenKeys {
    /// The key in the file `first`, and those that were made after it beside it.
    ///
    /// # Errors
    /// `file-mode-unsafe`; `key-invalid`; `io`.
    pub(crate) fn load(first: &Path) -> Result<Self> {
        let folder = first.parent().unwrap_or(first).to_owned();
        let io = |e: std::io::Error| Refusal::io(folder.display(), &e);
        let mut signers = vec![Dated { signer: Arc::new(read(&private_file::load(first)?)?), made: 0 }];
        for entry in read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(made) = made(name) {
                signers.push(Dated { signer: Arc::new(read(&private_file::load(&path)?)?), made });
            }
        }
        Ok(Self { place: Place::Folder(folder), keys: RwLock::new(Keys::of(signers)?) })
    }

    /// The keys that verifiers share: a time and a key behind it, each a part, as [`part`] makes them. `sealed` is what they came in.
    ///
    /// # Errors
    /// `key-invalid`.
    pub(crate) fn shared(parts: &[Zeroizing<Vec<u8>>], sealed: Vec<u8>) -> Result<Self> {
        Ok(Self { place: Place::Store(Mutex::new(sealed)), keys: RwLock::new(Keys::of_parts(parts)?) })
    }

    /// What the shared keys were read of last.
    pub(crate) fn sealed(&self) -> Vec<u8> {
        match &self.place {
            Place::Folder(_) => Vec::new(),
            Place::Store(sealed) => sealed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Takes over shared keys as they are now.
    ///
    /// # Errors
    /// `key-invalid`; `internal`: they are not shared.
    pub(crate) fn adopt(&self, parts: &[Zeroizing<Vec<u8>>], sealed: Vec<u8>) -> Result<()> {
        let Place::Store(last) = &self.place else { return Err(Refusal::new(Code::Internal, "token keys")) };
        let adopted = Keys::of_parts(parts)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = adopted;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = sealed;
        Ok(())
    }

    /// The parts of shared keys with `signer`, made `now`, as the newest, and no more than are kept.
    ///
    /// # Errors
    /// As [`Self::verify_may_change`]; `key-invalid`.
    pub(crate) fn with(parts: &[Zeroizing<Vec<u8>>], signer: &TokenSigner, now: UnixTime) -> Result<Parts> {
        Keys::of_parts(parts)?.verify_may_change(now)?;
        let mut parts = parts.to_vec();
        parts.extend(part(now, signer)?);
        let over = parts.len().saturating_sub(2 * KEYS);
        parts.drain(..over);
        Ok(parts)
    }

    /// The keys as parts of a shared identity.
    ///
    /// # Errors
    /// `internal`.
    pub(crate) fn parts(&self) -> Result<Parts> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let parts = keys.signers.iter().map(|key| part(key.made, &key.signer)).collect::<Result<Vec<_>>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// The key that signs.
    pub(crate) fn signer(&self) -> Arc<TokenSigner> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner).newest)
    }

    /// The key for a guest whose deployment document pins `token_key`: that one, where it is kept. The guest believes no other, and
    /// nobody but it and this verifier looks at its token.
    pub(crate) fn signer_for(&self, token_key: &str) -> Arc<TokenSigner> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let pinned = keys.signers.iter().find(|key| to_base64(key.signer.spki_der()) == token_key);
        Arc::clone(pinned.map_or(&keys.newest, |key| &key.signer))
    }

    /// The key of that `kid`, where it is kept, else the newest.
    pub(crate) fn signer_of(&self, kid: &str) -> Arc<TokenSigner> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let named = keys.signers.iter().find(|key| key.signer.kid() == kid);
        Arc::clone(named.map_or(&keys.newest, |key| &key.signer))
    }

    /// What others verify passports with at `now`: the key that signs, and those whose last token may still be valid.
    pub(crate) fn jwks(&self, now: UnixTime) -> Value {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let retired = keys.signers.iter().skip(1).map(|next| Some(next.made)).chain([None]);
        let in_use =
            |retired: Option<UnixTime>| retired.is_none_or(|at| now < at.saturating_add(LIFETIME).saturating_add(SKEW));
        let set = keys.signers.iter().zip(retired).filter(|(_, retired)| in_use(*retired));
        json!({ "keys": set.map(|(key, _)| key.signer.jwk()).collect::<Vec<_>>() })
    }

    /// The claims of a token of ours, by whichever key.
    ///
    /// # Errors
    /// `token-invalid`, `too-large`: as [`TokenVerifier::verify`].
    pub(crate) fn verify<T: DeserializeOwned>(&self, token: &str, now: UnixTime, audience: &str) -> Result<T> {
        let verifier = self.keys.read().unwrap_or_else(PoisonError::into_inner).verifier.clone();
        verifier.verify(token, now, audience)
    }

    /// That a key made `now` would be the newest.
    ///
    /// # Errors
    /// `busy`: another was made in this second, or later by a clock that went back.
    pub(crate) fn verify_may_change(&self, now: UnixTime) -> Result<()> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).verify_may_change(now)
    }

    /// Signs with `signer` from now on; it is on the disk first.
    ///
    /// # Errors
    /// As [`Self::verify_may_change`]; `io`.
    pub(crate) fn change_to(&self, signer: TokenSigner, now: UnixTime) -> Result<()> {
        let Place::Folder(folder) = &self.place else { return Err(Refusal::new(Code::Internal, "token keys")) };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.verify_may_change(now)?;
        private_file::create(&folder.join(format!("{NAME}{now}.pem")), &write(&signer)?)?;
        let new = Dated { signer: Arc::new(signer), made: now };
        *keys = Keys::of(keys.signers.iter().cloned().chain([new]).collect())?;
        Ok(())
    }
}

/// When the key in a file of that name was made, where it is one after the first.
pub(crate) fn made(name: &str) -> Option<UnixTime> {
    name.strip_prefix(NAME)?.strip_suffix(".pem")?.parse().ok()
}

/// A key and when it was made.
fn part(made: UnixTime, signer: &TokenSigner) -> Result<[Zeroizing<Vec<u8>>; 2]> {
    Ok([Zeroizing::new(made.to_be_bytes().to_vec()), write(signer)?])
}

/// A fresh key as it is kept.
pub(crate) fn fresh() -> Result<Zeroizing<Vec<u8>>> {
    write(&TokenSigner::generate()?)
}

fn write(signer: &TokenSigner) -> Result<Zeroizing<Vec<u8>>> {
    let pem = der::pem::encode_string(LABEL, LineEnding::LF, &signer.to_pkcs8()?);
    let pem = pem.map_err(|e| Refusal::new(Code::Internal, "token key").because(e))?;
    Ok(Zeroizing::new(pem.into_bytes()))
}

fn read(pem: &[u8]) -> Result<TokenSigner> {
    let invalid = || Refusal::new(Code::KeyInvalid, "token key").want("PKCS#8 in PEM");
    let (label, key) = der::pem::decode_vec(pem).map_err(|e| invalid().because(e))?;
    let key = Zeroizing::new(key);
    if label == LABEL { TokenSigner::from_pkcs8(&key) } else { Err(invalid().got(label)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (tempfile::TempDir, TokenKeys) {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("token-key.pem");
        private_file::create(&first, &fresh().unwrap()).unwrap();
        let keys = TokenKeys::load(&first).unwrap();
        (folder, keys)
    }

    fn change(keys: &TokenKeys, now: UnixTime) -> Result<()> {
        keys.change_to(TokenSigner::generate().unwrap(), now)
    }

    #[test]
    fn newest_key_signs_and_all_are_there_after_a_restart() {
        let (folder, keys) = keys();
        let first = keys.signer();
        change(&keys, 100).unwrap();
        change(&keys, 200).unwrap();
        let newest = keys.signer();
        assert_ne!(newest.kid(), first.kid());
        let again = TokenKeys::load(&folder.path().join("token-key.pem")).unwrap();
        assert_eq!(again.signer().kid(), newest.kid());
        assert_eq!(again.signer_for(&to_base64(first.spki_der())).kid(), first.kid());
        assert_eq!(again.signer_for("another").kid(), newest.kid());
        let claims = json!({"aud": "a", "iat": 200, "exp": 300});
        for signer in [&first, &newest] {
            assert_eq!(again.verify::<Value>(&signer.sign(&claims).unwrap(), 210, "a").unwrap(), claims);
        }
        let stranger = TokenSigner::generate().unwrap().sign(&claims).unwrap();
        assert_eq!(again.verify::<Value>(&stranger, 210, "a").unwrap_err().code, Code::TokenInvalid);
    }

    #[test]
    fn key_is_in_the_set_for_as_long_as_its_last_token_may_live() {
        let (_folder, keys) = keys();
        change(&keys, 1000).unwrap();
        let count = |now| keys.jwks(now)["keys"].as_array().unwrap().len();
        let gone = 1000 + LIFETIME + SKEW;
        assert_eq!((count(1000), count(gone - 1), count(gone)), (2, 2, 1));
        assert_eq!(keys.jwks(gone)["keys"][0]["kid"], keys.signer().kid());
    }

    #[test]
    fn second_key_of_a_second_refused_and_no_more_than_sixteen_are_kept() {
        let (_folder, keys) = keys();
        let first = to_base64(keys.signer().spki_der());
        change(&keys, 1).unwrap();
        for now in [1, 0] {
            assert_eq!(change(&keys, now).unwrap_err().code, Code::Busy);
        }
        (2..16).for_each(|now| change(&keys, now).unwrap());
        assert_eq!(to_base64(keys.signer_for(&first).spki_der()), first);
        change(&keys, 16).unwrap();
        assert_ne!(to_base64(keys.signer_for(&first).spki_der()), first);
        assert_eq!(keys.keys.read().unwrap().signers.len(), KEYS);
    }
}

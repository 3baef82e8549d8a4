//! An AES key in a token, which wraps other keys there: AES-256-GCM (`CKM_AES_GCM`, NIST SP 800-38D) with an IV of 96 bits, ours
//! or, where a token puts its own in its place, that. It cannot be taken out of the token.
//!
//! A token may go and come back: what fails in a session of before is tried once more in a new one, with the library started anew
//! where even that does not open.

use crate::KeyUri;
use crate::token::{failed, find, find_one, initialize, load, named, open_session};
use aws_lc_rs::rand;
use core::fmt;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use std::sync::{Mutex, PoisonError, RwLock};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Bytes of an IV.
const IV: usize = 12;
/// Bits of an authentication tag.
const TAG: u64 = 128;
/// Bytes of a key.
const KEY: u64 = 32;

/// Reads a PIN each time that it is asked for: nobody else keeps it.
pub type Pin = Box<dyn Fn() -> Result<Option<Zeroizing<Vec<u8>>>> + Send + Sync>;

/// Held for reading by whoever calls a library, and for writing by whoever starts one anew, which ends all of its sessions: how
/// often that was done.
static STARTED: RwLock<u64> = RwLock::new(0);

/// A key in a token that wraps other keys.
pub struct WrappingKey {
    library: Pkcs11,
    uri: KeyUri,
    pin: Pin,
    sessions: Mutex<Vec<Opened>>,
    /// Digest of the PIN that the token refused: a token locks its user after a few of them.
    refused: Mutex<Option<Sha256>>,
}

/// What a token comes to.
type Done<T> = core::result::Result<T, Error>;

/// A session, and the key in it. After another start of the library the same numbers name what others opened.
struct Opened {
    session: Session,
    key: ObjectHandle,
    /// [`STARTED`] when it was opened.
    started: u64,
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingKey").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Drop for WrappingKey {
    fn drop(&mut self) {
        let calling = STARTED.read().unwrap_or_else(PoisonError::into_inner);
        while self.take(*calling).is_some() {}
    }
}

impl WrappingKey {
    /// The key that `uri` names, whether its token is there now or not.
    ///
    /// # Errors
    /// `token-failed`: its library does not load.
    pub fn new(uri: KeyUri, pin: Pin) -> Result<Self> {
        Ok(Self { library: load(&uri.module)?, uri, pin, sessions: Mutex::default(), refused: Mutex::default() })
    }

    /// Makes the key in its token: 256 random bits that no call gives out.
    ///
    /// # Errors
    /// `key-exists`: the token has one of that name; `token-failed`; those of the PIN.
    pub fn generate(&self) -> Result<()> {
        let session = self.log_in(true)?;
        if !find(&session, &self.uri, ObjectClass::SECRET_KEY)?.is_empty() {
            return Err(Refusal::new(Code::KeyExists, "key of this name in the token"));
        }
        let mut template = named(&self.uri);
        template.extend([
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(KEY.into()),
        ]);
        session.generate_key(&Mechanism::AesKeyGen, &template).map(drop).map_err(failed("making a key in a token"))
    }

    /// `IV ‖ ciphertext ‖ tag` of `value`, bound to `aad`.
    ///
    /// # Errors
    /// `token-failed`; `key-invalid`: the key is not one that stays in its token; those of the PIN.
    pub fn seal(&self, aad: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let sealed = self.call(|Opened { session, key, .. }| {
            let mut iv = [0; IV];
            rand::fill(&mut iv).map_err(|_| Error::InvalidValue)?;
            // Of a borrowed IV, into which a token may write.
            let text = session.encrypt(&Mechanism::AesGcm(GcmParams::new(&mut iv, aad, TAG.into())?), *key, value)?;
            Ok([&iv[..], &text].concat())
        })?;
        sealed.map_err(failed("wrapping by a token"))
    }

    /// What [`Self::seal`] sealed, bound to the same `aad`.
    ///
    /// # Errors
    /// `seal-invalid`: it was sealed by another key, or bound to something else, or changed; the others of [`Self::seal`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let invalid = || Refusal::new(Code::SealInvalid, "what a token wrapped");
        let (iv, text) = sealed.split_first_chunk::<IV>().ok_or_else(invalid)?;
        let opened = self.call(|Opened { session, key, .. }| {
            let mut iv = *iv;
            session.decrypt(&Mechanism::AesGcm(GcmParams::new(&mut iv, aad, TAG.into())?), *key, text)
        })?;
        opened.map(Zeroizing::new).map_err(|error| match error {
            Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _) => {
                invalid().because(error)
            }
            error => failed("unwrapping by a token")(error),
        })
    }

    /// Has a session of before do `work`, or a new one where there is none or it fails.
    fn call<T>(&self, work: impl Fn(&Opened) -> Done<T>) -> Result<Done<T>> {
        let started = {
            let calling = STARTED.read().unwrap_or_else(PoisonError::into_inner);
            let opened = self.take(*calling);
            if let Some(opened) = opened {
                if let Ok(done) = work(&opened) {
                    self.sessions().push(opened);
                    return Ok(Ok(done));
                }
                // The others are of the same age.
                drop(opened);
                while self.take(*calling).is_some() {}
            }
            match self.session(*calling) {
                Err(refusal) if refusal.code == Code::TokenFailed => *calling,
                opened => return opened.map(|opened| self.keep(opened, work)),
            }
        };
        self.start_anew(started)?;
        let calling = STARTED.read().unwrap_or_else(PoisonError::into_inner);
        self.session(*calling).map(|opened| self.keep(opened, work))
    }

    fn keep<T>(&self, opened: Opened, work: impl Fn(&Opened) -> Done<T>) -> Done<T> {
        let done = work(&opened);
        self.sessions().push(opened);
        done
    }

    /// Many libraries find a token that was gone only when they are started anew. Of many who find it gone at once, one does that,
    /// when nobody is in a call.
    fn start_anew(&self, before: u64) -> Result<()> {
        let mut started = STARTED.write().unwrap_or_else(PoisonError::into_inner);
        if *started != before {
            return Ok(());
        }
        *started = started.wrapping_add(1);
        // Where it fails it was not started.
        drop(self.library.clone().finalize());
        initialize(&self.library)
    }

    /// A session of this start. One of before is no longer ours: it is neither used nor closed.
    fn take(&self, started: u64) -> Option<Opened> {
        loop {
            let opened = self.sessions().pop()?;
            if opened.started == started {
                return Some(opened);
            }
            core::mem::forget(opened);
        }
    }

    fn session(&self, started: u64) -> Result<Opened> {
        let session = self.log_in(false)?;
        let key = find_one(&session, &self.uri, ObjectClass::SECRET_KEY)?;
        let stays = [
            Attribute::KeyType(KeyType::AES),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::ValueLen(KEY.into()),
        ];
        let wanted =
            [AttributeType::KeyType, AttributeType::Sensitive, AttributeType::Extractable, AttributeType::ValueLen];
        let found = session.get_attributes(key, &wanted).map_err(failed("key of a token"))?;
        if !stays.iter().all(|attribute| found.contains(attribute)) {
            return Err(Refusal::new(Code::KeyInvalid, "key of a token")
                .got(format!("{found:?}"))
                .want("an AES key of 256 bits, sensitive and not extractable"));
        }
        Ok(Opened { session, key, started })
    }

    /// A session, logged in by the PIN as it is now. One that the token refused is not tried again until it is another.
    fn log_in(&self, writing: bool) -> Result<Session> {
        let pin = (self.pin)()?;
        let digest = pin.as_ref().map(|pin| Sha256::of(pin));
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if digest.is_some() && *refused == digest {
            let refusal = Refusal::new(Code::KeyInvalid, "PIN of a token").got("the one that it refused before");
            return Err(refusal.want("another in its file; it is not tried a second time"));
        }
        let session = open_session(&self.library, &self.uri, pin.as_ref(), writing);
        match &session {
            Ok(_) => *refused = None,
            Err(refusal) if refusal.code == Code::KeyInvalid => *refused = digest,
            Err(_) => {}
        }
        session
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<Opened>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A private key in a PKCS #11 token (OASIS PKCS #11 3.1): `CKM_ECDSA` on a curve that this product knows.

use crate::files;
use core::fmt;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use std::sync::{Mutex, PoisonError};
use strongroom_artifact::{PublicKey, Sign};
use strongroom_pkcs11::KeyUri;
use strongroom_pkcs11::token::{failed, find_one, load, open_session};
use strongroom_wire::Result;

/// A key in a token, with the session in which its owner is logged in.
pub(super) struct TokenKey {
    session: Mutex<Session>,
    handle: ObjectHandle,
    public: PublicKey,
}

impl TokenKey {
    /// Finds the one token and the one private key that `uri` names, logs in where it names a PIN, and reads the public key that
    /// stands beside the private one under the same label or id.
    ///
    /// # Errors
    /// `token-failed` none or several are there, or the token refuses; `key-invalid` the key is of another kind; `io`,
    /// `file-mode-unsafe` the PIN's file.
    pub(super) fn open(uri: &KeyUri) -> Result<Self> {
        let pin = uri.pin_file.as_deref().map(files::read_secret).transpose()?;
        let session = open_session(&load(&uri.module)?, uri, pin.as_ref(), false)?;
        let handle = find_one(&session, uri, ObjectClass::PRIVATE_KEY)?;
        let beside = find_one(&session, uri, ObjectClass::PUBLIC_KEY)?;
        let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
        let attributes = session.get_attributes(beside, &wanted).map_err(failed("public key of a token"))?;
        let (mut parameters, mut point) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::EcParams(bytes) => parameters = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        let public = PublicKey::from_token(&parameters, &point)?;
        Ok(Self { session: Mutex::new(session), handle, public })
    }
}

impl Sign for TokenKey {
    fn public(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = self.public.prehash(message);
        let raw = session.sign(&Mechanism::Ecdsa, self.handle, &digest).map_err(failed("signature of a token"))?;
        let signature = self.public.signature_from_token(&raw)?;
        // A public key that is not the private one's other half would give signatures that nobody can verify.
        self.public.verify(message, &signature).map(|()| signature)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("public", &self.public).finish_non_exhaustive()
    }
}

//! A private key in a PKCS #11 token (OASIS PKCS #11 3.1): `CKM_ECDSA` on a curve that this product knows.

use super::uri::KeyUri;
use crate::files;
use core::fmt;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::sync::{Mutex, PoisonError};
use strongroom_artifact::{PublicKey, Sign};
use strongroom_wire::{Code, Refusal, Result};

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
        let pkcs11 = Pkcs11::new(&uri.module).map_err(failed("library of a token"))?;
        pkcs11
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(failed("library of a token"))?;
        let session = pkcs11.open_ro_session(find_slot(&pkcs11, uri)?).map_err(failed("session with a token"))?;
        if let Some(path) = &uri.pin_file {
            let pin = files::read_secret(path)?;
            let text =
                core::str::from_utf8(&pin).map_err(|_| Refusal::new(Code::Usage, "PIN").want("text in UTF-8"))?;
            let pin = AuthPin::from(text.trim_end_matches(['\r', '\n']));
            session.login(UserType::User, Some(&pin)).map_err(failed("log-in to a token"))?;
        }
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

fn find_slot(pkcs11: &Pkcs11, uri: &KeyUri) -> Result<Slot> {
    let mut found = Vec::new();
    for slot in pkcs11.get_slots_with_token().map_err(failed("tokens"))? {
        let token = pkcs11.get_token_info(slot).map_err(failed("token"))?;
        let is = |wanted: &Option<String>, got: &str| wanted.as_deref().is_none_or(|wanted| wanted == got.trim_end());
        if token.token_initialized() && is(&uri.token, token.label()) && is(&uri.serial, token.serial_number()) {
            found.push(slot);
        }
    }
    match found.as_slice() {
        [slot] => Ok(*slot),
        other => Err(Refusal::new(Code::TokenFailed, "tokens of this name").got(other.len()).want(1)),
    }
}

fn find_one(session: &Session, uri: &KeyUri, class: ObjectClass) -> Result<ObjectHandle> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    match session.find_objects(&template).map_err(failed("keys of a token"))?.as_slice() {
        [handle] => Ok(*handle),
        other => Err(Refusal::new(Code::TokenFailed, format!("keys of this name and class {class}"))
            .got(other.len())
            .want(1)),
    }
}

fn failed(what: &'static str) -> impl Fn(cryptoki::error::Error) -> Refusal {
    move |error| Refusal::new(Code::TokenFailed, what).because(error)
}

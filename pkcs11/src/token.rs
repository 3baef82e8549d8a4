//! Sessions with tokens, and the keys in them.

use crate::KeyUri;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Loads the library of a token. A process may load the same one several times.
///
/// # Errors
/// `token-failed`.
pub fn load(module: &Path) -> Result<Pkcs11> {
    let library = Pkcs11::new(module).map_err(failed("library of a token"))?;
    initialize(&library)?;
    Ok(library)
}

/// Has a library that was finalized, or never used, speak for its tokens.
///
/// # Errors
/// `token-failed`.
pub(crate) fn initialize(library: &Pkcs11) -> Result<()> {
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(failed("library of a token")(error)),
    }
}

/// Opens a session with the one token that `uri` names, and logs its owner in where there is a PIN: a file's bytes, whose end of line
/// does not count. `writing`: objects of the token may be made in it.
///
/// # Errors
/// `token-failed`: none or several are there, or the token refuses; `key-invalid`: not its PIN, which tokens count; `usage`: a PIN that
/// is no text.
pub fn open_session(
    library: &Pkcs11,
    uri: &KeyUri,
    pin: Option<&Zeroizing<Vec<u8>>>,
    writing: bool,
) -> Result<Session> {
    let slot = find_slot(library, uri)?;
    let session = if writing { library.open_rw_session(slot) } else { library.open_ro_session(slot) };
    let session = session.map_err(failed("session with a token"))?;
    if let Some(pin) = pin {
        let text = core::str::from_utf8(pin).map_err(|_| Refusal::new(Code::Usage, "PIN").want("text in UTF-8"))?;
        let pin = AuthPin::from(text.trim_end_matches(['\r', '\n']));
        match session.login(UserType::User, Some(&pin)) {
            // All sessions of a process with a token are logged in together.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(
                error @ Error::Pkcs11(
                    RvError::PinIncorrect
                    | RvError::PinInvalid
                    | RvError::PinLenRange
                    | RvError::PinExpired
                    | RvError::PinLocked,
                    _,
                ),
            ) => return Err(Refusal::new(Code::KeyInvalid, "PIN of a token").because(error)),
            Err(error) => return Err(failed("log-in to a token")(error)),
        }
    }
    Ok(session)
}

fn find_slot(library: &Pkcs11, uri: &KeyUri) -> Result<Slot> {
    let mut found = Vec::new();
    for slot in library.get_slots_with_token().map_err(failed("tokens"))? {
        let token = library.get_token_info(slot).map_err(failed("token"))?;
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

/// The one key of a class that `uri` names.
///
/// # Errors
/// `token-failed`: none or several are there, or the token refuses.
pub fn find_one(session: &Session, uri: &KeyUri, class: ObjectClass) -> Result<ObjectHandle> {
    match find(session, uri, class)?.as_slice() {
        [handle] => Ok(*handle),
        other => Err(Refusal::new(Code::TokenFailed, format!("keys of this name and class {class}"))
            .got(other.len())
            .want(1)),
    }
}

/// All keys of a class that `uri` names.
///
/// # Errors
/// `token-failed`.
pub(crate) fn find(session: &Session, uri: &KeyUri, class: ObjectClass) -> Result<Vec<ObjectHandle>> {
    let mut template = named(uri);
    template.push(Attribute::Class(class));
    session.find_objects(&template).map_err(failed("keys of a token"))
}

/// What a URI says that a key is called by.
pub(crate) fn named(uri: &KeyUri) -> Vec<Attribute> {
    let label = uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes()));
    label.into_iter().chain(uri.id.as_ref().map(|id| Attribute::Id(id.clone()))).collect()
}

/// A refusal of a token's, by what was asked of it.
pub fn failed(what: &'static str) -> impl Fn(Error) -> Refusal {
    move |error| Refusal::new(Code::TokenFailed, what).because(error)
}

//! Custody by a key in a PKCS #11 token, an HSM: values are wrapped and unwrapped there, and the key that does it never leaves it.
//!
//! A token's library blocks, and one that hangs cannot be told to stop: calls are few at a time, on threads of their own, and who
//! would wait behind too many is told so.

use super::{Answer, Custody, KeyValue, Wrapped, unavailable};
use crate::master_key::aad;
use crate::private_file;
use std::sync::Arc;
use strongroom_pkcs11::{KeyUri, WrappingKey};
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Calls of a token at a time, each in a session of its own.
const SESSIONS: usize = 4;

/// Wraps by a key in a token.
#[derive(Debug)]
pub(crate) struct Token {
    name: String,
    key: Arc<WrappingKey>,
    sessions: Arc<Semaphore>,
    places: Semaphore,
}

impl Token {
    /// By the key that a URI (RFC 7512) names. Where its token is gone at the time it is asked for until it is there.
    ///
    /// # Errors
    /// `configuration-invalid`: no such URI, or a library that does not load; `key-invalid`: a key that could leave its token;
    /// `file-mode-unsafe`, `io`: the PIN's file.
    pub(crate) async fn open(uri: &str) -> Result<Self> {
        let (name, key) = (name(uri)?, wrapping_key(uri)?);
        let sessions = Arc::new(Semaphore::new(SESSIONS));
        let token = Self { name, key: Arc::new(key), sessions, places: Semaphore::new(limits::CUSTODY_CALLS) };
        match token.probe().await {
            Err(refusal) if refusal.code != Code::TokenFailed => Err(refusal.within(&token.name)),
            _ => Ok(token),
        }
    }

    async fn probe(&self) -> Result<()> {
        self.call(|key| key.seal(b"strongroom/health/v1", b"health")).await.map(drop)
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WrappingKey) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let busy = || Refusal::new(Code::Busy, "calls that wait for a token").want(limits::CUSTODY_CALLS);
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let ended = |_| Refusal::new(Code::Internal, "calls of a token");
        let session = Arc::clone(&self.sessions).acquire_owned().await.map_err(ended)?;
        let key = Arc::clone(&self.key);
        let called = tokio::task::spawn_blocking(move || {
            let _session = session;
            work(&key)
        });
        called.await.map_err(|e| Refusal::new(Code::Internal, "call of a token").because(e))?
    }

    fn refusal(&self, refusal: Refusal) -> Refusal {
        match refusal.code {
            Code::SealInvalid => {
                Refusal::new(Code::StoreFailed, format!("value that `{}` wrapped does not authenticate", self.name))
                    .because(refusal)
            }
            Code::Busy | Code::Internal => refusal,
            _ => unavailable(&self.name).because(refusal),
        }
    }
}

impl Custody for Token {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap<'a>(&'a self, id: &'a str, value: &'a [u8]) -> Answer<'a, Wrapped> {
        Box::pin(async move {
            let (aad, value) = (aad(id), Zeroizing::new(value.to_vec()));
            let wrapped = self.call(move |key| key.seal(&aad, &value)).await;
            wrapped.map(|bytes| Wrapped::by(&self.name, bytes)).map_err(|refusal| self.refusal(refusal))
        })
    }

    fn unwrap<'a>(&'a self, id: &'a str, wrapped: &'a [u8]) -> Answer<'a, KeyValue> {
        Box::pin(async move {
            let (aad, wrapped) = (aad(id), wrapped.to_vec());
            let value = self.call(move |key| key.open(&aad, &wrapped)).await;
            value.map(KeyValue::new).map_err(|refusal| self.refusal(refusal))
        })
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.probe().await.map_err(|refusal| self.refusal(refusal)) })
    }
}

/// What rows call the custody of a URI by: the key's label or id, whatever library speaks for its token.
///
/// # Errors
/// `configuration-invalid`.
pub(crate) fn name(uri: &str) -> Result<String> {
    let uri = parse(uri)?;
    Ok(format!("pkcs11:{}", uri.object.unwrap_or_else(|| uri.id.map(hex::encode).unwrap_or_default())))
}

/// The key that a URI names, with the PIN in a private file that it names.
///
/// # Errors
/// `configuration-invalid`.
pub(crate) fn wrapping_key(uri: &str) -> Result<WrappingKey> {
    let uri = parse(uri)?;
    let pin_file = uri.pin_file.clone();
    let pin = move || pin_file.as_deref().map(private_file::load).transpose();
    WrappingKey::new(uri, Box::new(pin)).map_err(invalid)
}

fn parse(uri: &str) -> Result<KeyUri> {
    KeyUri::parse(uri).map_err(invalid)
}

fn invalid(refusal: Refusal) -> Refusal {
    Refusal { code: Code::ConfigurationInvalid, ..refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custody_is_called_by_its_key_and_not_by_how_that_is_reached() {
        for (uri, want) in [
            ("pkcs11:token=t;object=kek-1?module-path=/a.so", "pkcs11:kek-1"),
            ("pkcs11:object=kek-1?module-path=/b.so&pin-source=file:/pin", "pkcs11:kek-1"),
            ("pkcs11:id=%01%ff?module-path=/a.so", "pkcs11:01ff"),
        ] {
            assert_eq!(name(uri).unwrap(), want);
        }
        for bad in ["pkcs11:object=k", "kek-1", "pkcs11:object=k?module-path=/a.so&pin-value=1"] {
            assert_eq!(name(bad).unwrap_err().code, Code::ConfigurationInvalid, "{bad}");
        }
    }

    #[tokio::test]
    async fn library_that_is_none_refused() {
        let uri = format!("pkcs11:object=k?module-path={}", file!());
        assert_eq!(Token::open(&uri).await.unwrap_err().code, Code::ConfigurationInvalid);
    }
}

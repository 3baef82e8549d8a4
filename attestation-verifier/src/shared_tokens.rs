//! Token keys of verifiers that share a store: what one changed, the others take over before they judge a token by it, and within
//! seconds before they sign.

use std::time::Duration;

use serde::de::DeserializeOwned;
use strongroom_appraisal::UnixTime;
use strongroom_jose::TokenSigner;
use strongroom_wire::{Code, Result};

use crate::Verifier;
use crate::store::{StoredIdentity, Transaction};
use crate::token_keys::TokenKeys;

/// How long another verifier may still sign with the key before. Its tokens are valid for as long as their own time says: a key stays
/// in the JWK set for longer than that.
const LAG: Duration = Duration::from_secs(2);

/// Parts of a shared identity before those of its token keys: certificate and key.
const TLS: usize = 2;

impl Verifier {
    /// The claims of a token of ours, by whichever key, and whichever verifier made that.
    ///
    /// # Errors
    /// As [`TokenKeys::verify`]; `store-failed`, `store-tampered`.
    pub(crate) async fn verify_token<T: DeserializeOwned>(
        &self,
        token: &str,
        now: UnixTime,
        audience: &str,
    ) -> Result<T> {
        match self.tokens.verify(token, now, audience) {
            Err(refusal) if refusal.code == Code::TokenInvalid && self.store.is_shared() => {
                self.refresh_tokens().await?;
                self.tokens.verify(token, now, audience)
            }
            judged => judged,
        }
    }

    /// Puts `signer` before all others for every verifier, once the transaction is committed.
    ///
    /// # Errors
    /// As [`TokenKeys::verify_may_change`]; `store-failed`, `store-tampered`.
    pub(crate) async fn share_token_key(
        &self,
        store: &mut Transaction<'_>,
        signer: &TokenSigner,
        now: UnixTime,
    ) -> Result<()> {
        let StoredIdentity { mut parts, .. } = store.identity(&[]).await?.unwrap_or_default();
        let tokens = parts.split_off(TLS.min(parts.len()));
        parts.extend(TokenKeys::with(&tokens, signer, now)?);
        store.set_identity(&parts).await.map(drop)
    }

    /// Takes over what is in the store by now. Of many that ask for it at once, few look.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`.
    pub(crate) async fn refresh_tokens(&self) -> Result<()> {
        let before = *self.refreshed.lock().await;
        let mut refreshed = self.refreshed.lock().await;
        // Somebody began to look after this one asked.
        if *refreshed > before {
            return Ok(());
        }
        let found = self.store.begin_reading().await?.identity(&self.tokens.sealed()).await?;
        if let Some(StoredIdentity { parts, sealed }) = found {
            self.tokens.adopt(parts.get(TLS..).unwrap_or_default(), sealed)?;
        }
        *refreshed = refreshed.saturating_add(1);
        Ok(())
    }

    /// Looks every [`LAG`].
    pub(crate) async fn refresh_tokens_until(&self, stopped: impl Future<Output = ()>) {
        let mut stopped = core::pin::pin!(stopped);
        while self.store.is_shared() && tokio::time::timeout(LAG, &mut stopped).await.is_err() {
            if let Err(refusal) = self.refresh_tokens().await {
                tracing::warn!(%refusal, "token keys are those of before");
            }
        }
    }
}

//! Who a client is: the certificate that it shows to a server which asks, and the authorities that may vouch for it.
//!
//! The handshake proves that the client has the key of what it shows, and nothing else ([`server_config_asking`]). Who vouches for it
//! is judged for every request ([`ClientAuthority::verify`]): then a refusal has a code and can be recorded, and a certificate that
//! ends or is revoked ends on connections that are open, too.

mod asking;
mod names;

use crate::identity::{ServerIdentity, server_config_with};
use crate::trust::{provider, roots};
use asking::Asking;
use core::fmt;
use core::time::Duration;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What a peer showed, leaf first; an extension of every request on its connection. It has the key of the first one. Nobody has
/// vouched for any of it.
#[derive(Clone)]
pub struct PeerCertificates(Arc<[CertificateDer<'static>]>);

impl PeerCertificates {
    pub(crate) fn of(shown: &[CertificateDer<'static>]) -> Self {
        Self(shown.into())
    }

    /// The certificates in DER, the peer's own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// SHA-256 of the peer's own certificate: what a token that is bound to it says in `cnf` (RFC 8705 §3.1). `None` where it showed
    /// none.
    pub fn thumbprint(&self) -> Option<Sha256> {
        self.0.first().map(|own| Sha256::of(own))
    }
}

impl fmt::Debug for PeerCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerCertificates").field(&self.0.len()).finish()
    }
}

/// The configuration of a server that is `identity` and asks its clients who they are. A client that shows nothing is let in as
/// nobody.
///
/// # Errors
/// As [`crate::server_config`].
pub fn server_config_asking(identity: &ServerIdentity) -> Result<Arc<ServerConfig>> {
    server_config_with(identity, Arc::new(Asking::new(&provider())))
}

/// Authorities whose word on who a client is counts.
pub struct ClientAuthority {
    roots: Arc<RootCertStore>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthority").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl ClientAuthority {
    /// The authorities of a PEM bundle of at least one certificate.
    ///
    /// # Errors
    /// `configuration-invalid`, `too-large`.
    pub fn new(bundle: &[u8]) -> Result<Self> {
        let roots = Arc::new(roots(bundle)?);
        let chains = verifier(&roots, Vec::new())?;
        Ok(Self { roots, chains })
    }

    /// The name of the client that showed these: the one URI of its certificate (a SPIFFE ID, say), or without one its one e-mail
    /// address, as `mailto:` URI (RFC 6068). Its chain ends at one of these authorities, is valid at `now` (seconds since 1970), and
    /// the certificate says that it is for clients (RFC 5280 §4.2.1.12).
    ///
    /// `revoked` gives revocation lists in PEM, and is called once the chain is known to be sound; every certificate below an
    /// authority must then be on the books of a list that is in date. `None` in place of a list: nobody revokes.
    ///
    /// # Errors
    /// `root-untrusted`; `certificate-expired`, `certificate-not-yet-valid`; `certificate-revoked`; `crl-missing`: no list of its
    /// issuer; `crl-expired`, `crl-signature-invalid`; `certificate-signature-invalid`; `certificate-unsuitable`: not for clients, or
    /// without a name or with several; those of `revoked`.
    pub fn verify(
        &self,
        shown: &PeerCertificates,
        revoked: impl FnOnce() -> Result<Option<Vec<u8>>>,
        now: u64,
    ) -> Result<String> {
        let unsuitable = || Refusal::new(Code::CertificateUnsuitable, "client certificate");
        let (leaf, others) = shown.0.split_first().ok_or_else(|| unsuitable().got("none"))?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.chains.verify_client_cert(leaf, others, at).map_err(refusal)?;
        let name = names::of(leaf)?;
        if let Some(lists) = revoked()? {
            verifier(&self.roots, revocation_lists(&lists)?)?.verify_client_cert(leaf, others, at).map_err(refusal)?;
        }
        Ok(name)
    }
}

/// One that holds chains against these lists, or without any looks at none.
fn verifier(
    roots: &Arc<RootCertStore>,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        .with_crls(lists)
        .enforce_revocation_expiration()
        .build()
        .map_err(|e| Refusal::new(Code::ConfigurationInvalid, "authorities of clients").because(e))
}

fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    const WHAT: &str = "revocation lists of clients";
    if pem.len() > limits::CONFIGURATION {
        return Err(Refusal::too_large(WHAT, pem.len(), limits::CONFIGURATION));
    }
    let invalid = || Refusal::new(Code::ConfigurationInvalid, WHAT);
    let lists: core::result::Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = lists.map_err(|e| invalid().because(e))?;
    // Without a single one, nothing would be looked at.
    if lists.is_empty() { Err(invalid().got("none").want("at least one, in PEM")) } else { Ok(lists) }
}

fn refusal(error: Error) -> Refusal {
    let code = match &error {
        Error::InvalidCertificate(found) => match found {
            CertificateError::UnknownIssuer => Code::RootUntrusted,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Code::CertificateExpired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Code::CertificateNotYetValid,
            CertificateError::Revoked => Code::CertificateRevoked,
            CertificateError::BadSignature => Code::CertificateSignatureInvalid,
            CertificateError::UnknownRevocationStatus => Code::CrlMissing,
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                Code::CrlExpired
            }
            _ => Code::CertificateUnsuitable,
        },
        Error::InvalidCertRevocationList(_) => Code::CrlSignatureInvalid,
        _ => Code::CertificateUnsuitable,
    };
    Refusal::new(code, "client certificate").because(error)
}

#[cfg(test)]
mod tests;

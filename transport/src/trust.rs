//! Whom a client believes to be at the other end of a TLS connection.

mod verifier;

pub(crate) use verifier::{KeyVerifier, of_handshake, spki_der};

use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result, limits};
use verifier::ChainVerifier;

/// What makes a server's key the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTrust {
    /// A certificate for the server's name that chains to a root of the Mozilla programme.
    WebPki,
    /// A certificate for the server's name that chains to one of these: a PEM bundle of at least one certificate. A
    /// self-signed server certificate is its own root here.
    Ca(Vec<u8>),
    /// SHA-256 of the DER SubjectPublicKeyInfo (RFC 5280 §4.1) of the server's certificate. Name, dates and issuer of the
    /// certificate play no part: the key is approved, not who vouches for it.
    Pin([u8; 32]),
}

/// The oldest protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TLS 1.3 and nothing else: every service of Strongroom.
    Tls13,
    /// TLS 1.2 too (RFC 5246): for registries, whose answers are verified by digest and signature whoever sent them.
    /// A [`ServerTrust::Pin`] still means TLS 1.3.
    Tls12Allowed,
}

/// Makes aws-lc-rs the process's crypto provider, for code that asks rustls for a default. May be called any number of
/// times; this crate itself always names the provider.
pub fn install_crypto() {
    // It fails only where a provider is installed already, which every caller of this function would have made the same.
    drop(aws_lc_rs::default_provider().install_default());
}

/// The configuration of a client that speaks TLS 1.3 to the server that `trust` describes.
///
/// # Errors
/// `configuration-invalid` or `too-large`: the CA bundle holds no certificate, or something that is not one.
pub fn client_config(trust: &ServerTrust) -> Result<ClientConfig> {
    client_config_for(trust, Protocol::Tls13)
}

/// [`client_config`], with the oldest protocol chosen.
///
/// # Errors
/// As [`client_config`].
pub fn client_config_for(trust: &ServerTrust, protocol: Protocol) -> Result<ClientConfig> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        ServerTrust::WebPki => chain(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(), &provider)?,
        ServerTrust::Ca(bundle) => chain(roots(bundle)?, &provider)?,
        ServerTrust::Pin(pin) => Arc::new(KeyVerifier::pinned(*pin, &provider)),
    };
    let versions: &[&SupportedProtocolVersion] = match (trust, protocol) {
        (ServerTrust::Pin(_), _) | (_, Protocol::Tls13) => &[&TLS13],
        (_, Protocol::Tls12Allowed) => &[&TLS13, &TLS12],
    };
    config(verifier, versions, provider)
}

/// The provider of every configuration made here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The one place where a client configuration is made.
pub(crate) fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig> {
    // `dangerous` is rustls' word for a verifier that is not its own; ours are all in `verifier.rs`.
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|e| Refusal::new(Code::Internal, "tls client configuration").because(e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A resumed session proves possession of a ticket, not of the key that is pinned or attested.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn chain(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| Refusal::new(Code::ConfigurationInvalid, "CA bundle").because(e))?;
    Ok(Arc::new(ChainVerifier::new(verifier)))
}

/// The authorities of a PEM bundle of at least one.
pub(crate) fn roots(bundle: &[u8]) -> Result<RootCertStore> {
    if bundle.len() > limits::CONFIGURATION {
        return Err(Refusal::too_large("CA bundle", bundle.len(), limits::CONFIGURATION));
    }
    let invalid = || Refusal::new(Code::ConfigurationInvalid, "CA bundle");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        roots.add(certificate.map_err(|e| invalid().because(e))?).map_err(|e| invalid().because(e))?;
    }
    if roots.is_empty() {
        return Err(invalid().got("no certificate").want("at least one, in PEM"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_bundle_without_certificate_refused() {
        let bundle = ServerTrust::Ca(b"# no certificates here\n".to_vec());
        assert_eq!(client_config(&bundle).unwrap_err().code, Code::ConfigurationInvalid);
    }

    #[test]
    fn ca_bundle_with_certificate_accepted() {
        let identity = crate::ServerIdentity::generate(&["localhost".to_owned()]).unwrap();
        let config = client_config(&ServerTrust::Ca(identity.certificate_pem().into_bytes())).unwrap();
        assert!(!config.enable_early_data);
        assert!(!config.enable_secret_extraction);
    }

    #[test]
    fn ca_bundle_over_limit_refused() {
        let bundle = ServerTrust::Ca(vec![b'\n'; limits::CONFIGURATION + 1]);
        assert_eq!(client_config(&bundle).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn crypto_installed_twice_stays_installed() {
        install_crypto();
        install_crypto();
        assert!(CryptoProvider::get_default().is_some());
    }
}

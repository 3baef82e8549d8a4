//! Who a server is: a P-256 key and the certificate that shows it.

mod key;

pub use key::PrivateKeyPem;

use crate::trust::{provider, spki_der};
use core::fmt;
use der::pem::{LineEnding, encode_string};
use key::P256Key;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// A server's certificate chain and its ECDSA P-256 private key (FIPS 186-5), in memory; or a client's, for servers that ask
/// ([`crate::HttpClient::named`]).
///
/// Whoever trusts it pins [`Self::spki_sha256`], attests [`Self::spki_der`], or was given [`Self::certificate_pem`].
pub struct ServerIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: P256Key,
    spki: Vec<u8>,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("spki_sha256", &Sha256(self.spki_sha256())).finish_non_exhaustive()
    }
}

impl ServerIdentity {
    /// A fresh key with a self-signed certificate for `names` (DNS names or IP addresses; none is allowed where no client
    /// looks at names). The certificate never expires: the key is what clients trust, and it ends when it is replaced.
    ///
    /// # Errors
    /// `configuration-invalid` a name can be none; `internal` the crypto backend failed.
    pub fn generate(names: &[String]) -> Result<Self> {
        let key = P256Key::generate()?;
        let mut params = CertificateParams::new(names)
            .map_err(|e| Refusal::new(Code::ConfigurationInvalid, format!("server names {names:?}")).because(e))?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, names.first().map_or("strongroom", String::as_str));
        params.distinguished_name = subject;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params
            .self_signed(&key)
            .map_err(|e| Refusal::new(Code::Internal, "making a server certificate").because(e))?;
        Self::new(vec![certificate.der().clone()], key)
    }

    /// The identity of a PEM certificate chain, leaf first, and its P-256 private key (PKCS#8 or SEC1 PEM).
    ///
    /// # Errors
    /// `malformed` no certificate; `key-invalid` no P-256 key, or not the certificate's; `too-large`.
    pub fn load_pem(certificate: &[u8], key: &[u8]) -> Result<Self> {
        if certificate.len() > limits::KEY_FILE {
            return Err(Refusal::too_large("tls certificate", certificate.len(), limits::KEY_FILE));
        }
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<core::result::Result<Vec<_>, _>>()
            .map_err(|e| Refusal::malformed("tls certificate", e))?;
        Self::new(chain, P256Key::load_pem(key)?)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: P256Key) -> Result<Self> {
        let leaf =
            chain.first().ok_or_else(|| Refusal::malformed("tls certificate", "no certificate in PEM is there"))?;
        let spki = spki_der(leaf).map_err(|e| Refusal::malformed("tls certificate", e))?;
        let identity = Self { chain, key, spki };
        identity.certified_key()?;
        Ok(identity)
    }

    /// The certificate chain, leaf first, as PEM (RFC 7468).
    ///
    /// For a self-signed identity it is also the CA bundle that clients need.
    pub fn certificate_pem(&self) -> String {
        // Encoding fails only for input of exabytes.
        self.chain.iter().filter_map(|der| encode_string("CERTIFICATE", LineEnding::LF, der).ok()).collect()
    }

    /// The private key as PKCS#8 PEM (RFC 5208, RFC 7468), for services that keep theirs over a restart.
    ///
    /// # Errors
    /// `internal` the crypto backend failed.
    pub fn private_key_pem(&self) -> Result<PrivateKeyPem> {
        self.key.to_pem()
    }

    /// DER SubjectPublicKeyInfo (RFC 5280 §4.1) of the leaf.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki_der`]: what [`crate::ServerTrust::Pin`] holds.
    pub fn spki_sha256(&self) -> [u8; 32] {
        Sha256::of(&self.spki).0
    }

    /// Who a client is to servers that ask for its certificate.
    pub(crate) fn as_client(&self) -> Result<Arc<dyn ResolvesClientCert>> {
        Ok(Arc::new(SingleCertAndKey::from(self.certified_key()?)))
    }

    fn certified_key(&self) -> Result<CertifiedKey> {
        let certified = CertifiedKey::new(self.chain.clone(), self.key.to_rustls()?);
        certified
            .keys_match()
            .map_err(|e| Refusal::new(Code::KeyInvalid, "tls key").because(e).want("the certificate's key"))?;
        Ok(certified)
    }
}

/// The configuration of a server that is `identity`: TLS 1.3 only, HTTP/1.1, and every connection a full handshake, since
/// a client that attests or pins the key must see it used.
///
/// # Errors
/// `internal` the crypto backend failed.
pub fn server_config(identity: &ServerIdentity) -> Result<Arc<ServerConfig>> {
    server_config_with(identity, WebPkiClientVerifier::no_client_auth())
}

/// [`server_config`], where `clients` asks clients who they are.
pub(crate) fn server_config_with(
    identity: &ServerIdentity,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| Refusal::new(Code::Internal, "tls server configuration").because(e))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key()?)));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> ServerIdentity {
        ServerIdentity::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
    }

    #[test]
    fn identity_survives_pem() {
        let made = identity();
        let key = made.private_key_pem().unwrap();
        let loaded = ServerIdentity::load_pem(made.certificate_pem().as_bytes(), key.expose().as_bytes()).unwrap();
        assert_eq!(loaded.spki_der(), made.spki_der());
        assert_eq!(loaded.certificate_pem(), made.certificate_pem());
        assert_eq!(loaded.private_key_pem().unwrap().expose(), key.expose());
    }

    #[test]
    fn key_of_another_certificate_refused() {
        let (made, other) = (identity(), identity());
        let key = other.private_key_pem().unwrap();
        let refusal = ServerIdentity::load_pem(made.certificate_pem().as_bytes(), key.expose().as_bytes()).unwrap_err();
        assert_eq!(refusal.code, Code::KeyInvalid);
    }

    #[test]
    fn files_without_certificate_or_key_refused() {
        let made = identity();
        let (certificate, key) = (made.certificate_pem(), made.private_key_pem().unwrap());
        let load = |c: &str, k: &str| ServerIdentity::load_pem(c.as_bytes(), k.as_bytes()).map_err(|r| r.code).err();
        assert_eq!(load("", key.expose()), Some(Code::Malformed));
        assert_eq!(load(&certificate, ""), Some(Code::KeyInvalid));
        assert_eq!(load(&certificate, &certificate), Some(Code::KeyInvalid));
        assert_eq!(load(&certificate, key.expose()), None);
    }

    #[test]
    fn spki_is_the_whole_subject_public_key_info_of_a_p256_key() {
        let made = identity();
        // RFC 5480: SEQUENCE of 89 bytes, id-ecPublicKey, prime256v1, then the uncompressed point.
        assert_eq!(made.spki_der().len(), 91);
        assert_eq!(made.spki_der()[..4], [0x30, 0x59, 0x30, 0x13]);
        assert_eq!(made.spki_sha256(), Sha256::of(made.spki_der()).0);
    }

    #[test]
    fn every_generated_key_is_new() {
        assert_ne!(identity().spki_der(), identity().spki_der());
    }

    #[test]
    fn server_neither_stores_sessions_nor_sends_tickets() {
        let config = server_config(&identity()).unwrap();
        assert_eq!(config.send_tls13_tickets, 0);
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.session_storage.can_cache());
        assert!(!config.ticketer.enabled());
    }

    #[test]
    fn debug_shows_no_key() {
        let made = identity();
        let key = made.private_key_pem().unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKeyPem");
        assert!(!format!("{made:?}").contains("key:"));
    }

    #[test]
    fn name_that_can_be_none_refused() {
        assert_eq!(ServerIdentity::generate(&["ünicode".to_owned()]).unwrap_err().code, Code::ConfigurationInvalid);
    }
}

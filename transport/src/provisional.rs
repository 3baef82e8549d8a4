//! The first half of an attested channel (DESIGN §3.5): a TLS connection to a peer that has proven possession of a key, and
//! of which nothing else is known yet.

use crate::failure;
use crate::trust::{self, KeyVerifier, spki_der};
use core::fmt;
use core::time::Duration;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The port of an authority that names none (RFC 9110 §4.2.2).
const HTTPS: u16 = 443;

/// A TLS 1.3 connection whose peer holds the private key of [`Self::spki`]. Who the peer is remains to be found out:
/// nothing secret may be sent before that.
pub struct ProvisionalStream {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// DER SubjectPublicKeyInfo (RFC 5280 §4.1) of the peer's certificate. The peer's CertificateVerify (RFC 8446
    /// §4.4.3) was verified with it.
    pub spki: Vec<u8>,
}

impl fmt::Debug for ProvisionalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvisionalStream").finish_non_exhaustive()
    }
}

/// Connects to `authority` (`host:port`; port 443 where it names none) within `timeout`, name resolution and both
/// handshakes included.
///
/// Any certificate is accepted; a peer without the private key of the one it shows is not. No session is resumed.
///
/// # Errors
/// `handshake-signature-invalid` the peer has not the key; `tls-failed` no TLS 1.3; `network` no connection;
/// `timeout`; `usage` no such authority can be.
pub async fn connect_provisional(authority: &str, timeout: Duration) -> Result<ProvisionalStream> {
    let (host, port) = host_and_port(authority)?;
    match time::timeout(timeout, connect(authority, &host, port)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::new(Code::Timeout, format!("connecting to `{authority}`")).want(format!("{timeout:?}"))),
    }
}

async fn connect(authority: &str, host: &str, port: u16) -> Result<ProvisionalStream> {
    let what = format!("connecting to `{authority}`");
    let name = ServerName::try_from(host.to_owned()).map_err(|e| unusable(authority).because(e))?;
    let provider = trust::provider();
    let config = trust::config(Arc::new(KeyVerifier::provisional(&provider)), &[&TLS13], provider)?;

    let tcp = TcpStream::connect((host, port)).await.map_err(|e| failure::refusal(&what, &e))?;
    tcp.set_nodelay(true).map_err(|e| failure::refusal(&what, &e))?;
    let stream =
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|e| failure::refusal(&what, &e))?;

    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.ok_or_else(|| Refusal::new(Code::TlsFailed, &what).because("no certificate was shown"))?;
    let spki = spki_der(leaf).map_err(|e| failure::refusal(&what, &e))?;
    Ok(ProvisionalStream { stream, spki })
}

fn host_and_port(authority: &str) -> Result<(String, u16)> {
    let parsed: Authority = authority.parse().map_err(|e| unusable(authority).because(e))?;
    if parsed.as_str().contains('@') {
        return Err(unusable(authority).because("user information"));
    }
    // Not `Authority::port`, which takes a port above 65535 for none.
    let host = parsed.host();
    let port = match parsed.as_str().strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => port.parse().map_err(|e| unusable(authority).because(e))?,
        None => HTTPS,
    };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Ok((host.to_owned(), port))
}

fn unusable(authority: &str) -> Refusal {
    Refusal::new(Code::Usage, format!("`{authority}` is not host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_into_host_and_port() {
        let split = |text: &str| host_and_port(text).map_err(|refusal| refusal.code);
        assert_eq!(split("enclave.example:8443"), Ok(("enclave.example".to_owned(), 8443)));
        assert_eq!(split("enclave.example"), Ok(("enclave.example".to_owned(), 443)));
        assert_eq!(split("[::1]:8443"), Ok(("::1".to_owned(), 8443)));
        assert_eq!(split("user@enclave.example:8443"), Err(Code::Usage));
        assert_eq!(split("enclave.example:99999"), Err(Code::Usage));
        assert_eq!(split("enclave.example:"), Err(Code::Usage));
        assert_eq!(split("https://enclave.example"), Err(Code::Usage));
        assert_eq!(split(""), Err(Code::Usage));
    }
}

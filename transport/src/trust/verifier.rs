//! The two certificate verifiers of this crate. Both verify the handshake's signature with the provider's algorithms;
//! they differ in what makes the key the right one.
//!
//! rustls has one error for a bad signature in a chain and for a bad CertificateVerify. Here `BadSignature` is left to
//! mean the latter (RFC 8446 §4.4.3 wants its alert, `decrypt_error`); every other finding travels as a [`Refusal`].

use aws_lc_rs::constant_time;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, SignatureScheme};
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal};

/// The DER SubjectPublicKeyInfo (RFC 5280 §4.1) of `certificate`, read by the parser that also verifies the
/// handshake's signature, so that the key compared and the key proven are the same one.
pub(crate) fn spki_der(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info().as_ref().to_vec())
}

/// Judges the peer's key and ignores everything else that its certificate says. TLS 1.3 only.
#[derive(Debug)]
pub(crate) struct KeyVerifier {
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Expected {
    /// SHA-256 of the SubjectPublicKeyInfo.
    Pin([u8; 32]),
    /// Any key the peer has; who it belongs to is found out by attestation, before anything is sent.
    Provisional,
}

impl KeyVerifier {
    pub(crate) fn pinned(pin: [u8; 32], provider: &CryptoProvider) -> Self {
        Self { expected: Expected::Pin(pin), algorithms: provider.signature_verification_algorithms }
    }

    pub(crate) fn provisional(provider: &CryptoProvider) -> Self {
        Self { expected: Expected::Provisional, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let got = Sha256::of(&spki_der(end_entity)?);
        match &self.expected {
            Expected::Provisional => Ok(ServerCertVerified::assertion()),
            Expected::Pin(pin) => match constant_time::verify_slices_are_equal(&got.0, pin) {
                Ok(()) => Ok(ServerCertVerified::assertion()),
                Err(_) => Err(carry(Refusal::new(Code::PinMismatch, "tls peer key").got(got).want(Sha256(*pin)))),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms).map_err(of_handshake)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// RFC 5280 path validation and RFC 9525 names, as rustls does them; only the errors are told apart.
#[derive(Debug)]
pub(crate) struct ChainVerifier(Arc<WebPkiServerVerifier>);

impl ChainVerifier {
    pub(crate) const fn new(verifier: Arc<WebPkiServerVerifier>) -> Self {
        Self(verifier)
    }
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map_err(|error| {
            match error {
                Error::InvalidCertificate(CertificateError::BadSignature) => {
                    carry(Refusal::new(Code::TlsFailed, "tls certificate chain").because("a signature does not verify"))
                }
                other => other,
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature).map_err(of_handshake)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature).map_err(of_handshake)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A signature by another kind of key than the certificate's is as little a proof as a wrong one.
pub(crate) fn of_handshake(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => error,
        other => carry(Refusal::new(Code::HandshakeSignatureInvalid, "CertificateVerify").because(other)),
    }
}

fn carry(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

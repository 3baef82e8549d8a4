//! From the errors of sockets, TLS and HTTP to a [`Refusal`].

use core::iter;
use rustls::{CertificateError, OtherError};
use std::error::Error;
use std::io;
use strongroom_wire::{Code, Refusal};

/// Why `what` failed. A [`Refusal`] anywhere among the causes is the reason itself; then TLS, then the socket.
pub fn refusal(what: impl core::fmt::Display, error: &(dyn Error + 'static)) -> Refusal {
    for cause in causes(error) {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.clone().within(what);
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return tls_refusal(tls).within(what);
        }
    }
    let innermost = causes(error).last().unwrap_or(error);
    let code = if causes(error).any(is_timeout) { Code::Timeout } else { Code::Network };
    Refusal::new(code, what.to_string()).because(innermost)
}

/// `error`, then what caused it, down to the first cause.
///
/// `io::Error::source` skips the error that it wraps and names that one's source, so the wrapped one is asked for.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)
}

/// The verifiers of [`crate::trust`] let `BadSignature` stand for the handshake's signature alone, and carry every
/// refusal of their own as `Other`.
fn tls_refusal(error: &rustls::Error) -> Refusal {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            Refusal::new(Code::HandshakeSignatureInvalid, "CertificateVerify")
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
            match cause.downcast_ref::<Refusal>() {
                Some(refusal) => refusal.clone(),
                None => Refusal::new(Code::TlsFailed, "tls").because(cause),
            }
        }
        other => Refusal::new(Code::TlsFailed, "tls").because(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn wrapped(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
        io::Error::other(io::Error::other(error))
    }

    #[test]
    fn tls_error_below_two_io_errors_found() {
        let error = wrapped(rustls::Error::InvalidCertificate(CertificateError::BadSignature));
        assert_eq!(refusal("GET", &error).code, Code::HandshakeSignatureInvalid);
        let error = wrapped(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert_eq!(refusal("GET", &error).code, Code::TlsFailed);
    }

    #[test]
    fn refusal_carried_through_tls_kept_whole() {
        let carried = Refusal::new(Code::PinMismatch, "tls peer").got("aa").want("bb");
        let other = CertificateError::Other(OtherError(Arc::new(carried)));
        let found = refusal("GET", &wrapped(rustls::Error::InvalidCertificate(other)));
        assert_eq!(
            (found.code, found.got.as_deref(), found.want.as_deref()),
            (Code::PinMismatch, Some("aa"), Some("bb"))
        );
    }

    #[test]
    fn socket_errors_told_apart_by_kind() {
        assert_eq!(refusal("GET", &io::Error::from(io::ErrorKind::ConnectionRefused)).code, Code::Network);
        assert_eq!(refusal("GET", &io::Error::from(io::ErrorKind::TimedOut)).code, Code::Timeout);
    }
}

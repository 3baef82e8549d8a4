//! From the errors of an HTTP/1.1 connection to a [`Refusal`].

use core::iter;
use std::error::Error;
use std::io;
use strongroom_wire::{Code, Refusal};

/// Why `what` failed: the refusal that a request's body ended in, TLS, or the network.
pub(crate) fn refusal(what: &str, error: &(dyn Error + 'static)) -> Refusal {
    for cause in causes(error) {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.clone().within(what);
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Refusal::new(Code::TlsFailed, what).because(tls);
        }
    }
    Refusal::new(Code::Network, what).because(causes(error).last().unwrap_or(error))
}

/// `io::Error::source` passes over the error that it wraps, so the wrapped one is asked for.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_inside_an_io_error_found() {
        let error = io::Error::other(io::Error::other(Refusal::new(Code::TooLarge, "body")));
        assert_eq!(refusal("POST", &error).code, Code::TooLarge);
    }

    #[test]
    fn tls_and_socket_errors_told_apart() {
        assert_eq!(refusal("POST", &io::Error::other(rustls::Error::DecryptError)).code, Code::TlsFailed);
        assert_eq!(refusal("POST", &io::Error::from(io::ErrorKind::BrokenPipe)).code, Code::Network);
    }
}

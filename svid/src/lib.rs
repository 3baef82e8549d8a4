//! X.509-SVIDs, certificates of at most an hour for workloads (SPIFFE "X509-SVID"): what is asked for in a certificate signing request
//! ([`Request`]), who issues them ([`Authority`]), whom others believe ([`Bundle`]), and what a certificate then says of its bearer
//! ([`Bundle::verify`]).
//!
//! Keys of authorities and workloads are ECDSA P-256. This crate does not decide who gets an identity, open a socket or a file, or read a
//! clock: what may be issued was decided by who calls it.

mod authority;
mod bundle;
mod certificate;
mod request;

pub use authority::{Authority, LIFETIME, SKEW, Svid};
pub use bundle::{Bundle, Side};
pub use request::Request;

#[cfg(test)]
mod tests;

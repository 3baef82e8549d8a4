//! Keys in PKCS #11 tokens (OASIS PKCS #11 3.1): what a URI (RFC 7512) names, a session in which it can be used ([`token`]), and a
//! key that wraps other keys and never leaves its token ([`WrappingKey`]).
//!
//! The library that speaks for a token is code of its vendor's in our process: whoever names it trusts it with all that is there.
//!
//! This crate does not open a socket, keep a PIN, read a file but such a library, or know what a key is for.

pub mod token;
mod uri;
mod wrapping_key;

pub use uri::KeyUri;
pub use wrapping_key::{Pin, WrappingKey};

//! Tokens of issuers (RFC 7519, OpenID Connect Core §2): whom one names, by the keys that its issuer signs with.
//!
//! An [`Issuer`] is one that somebody's configuration believes, with its keys at hand or with the place where it publishes them. What a
//! token says is a [`Subject`]: who, in which groups, and with which claims. One that is bound to a certificate (RFC 8705) names
//! nobody to whom does not show that.
//!
//! This crate does not decide what anybody may do, read a file or a clock, or follow what a token says of where its issuer's keys are.

mod issuer;
mod keys;

pub use issuer::{Expected, Issuer, Subject};
pub use keys::Source;

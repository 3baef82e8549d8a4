//! The JOSE that key release, administration and imports need, and no more: JWE that carries a resource to an attested key
//! ([`encrypt`], [`TeeKey::decrypt`]), JWK thumbprints ([`thumbprint`]), ES256 tokens ([`TokenSigner`], [`TokenVerifier`]) and those
//! that people's issuers sign by RS256 or EdDSA ([`TokenVerifier::of_issuer`]), passports ([`verify_passport`]) and files that
//! others encrypted ([`open_compact`]).
//!
//! RFC 7515 (JWS), 7516 (JWE), 7517 (JWK), 7518 (JWA), 7519 (JWT), 7638 (thumbprints) and 8037 (Ed25519), each cut down to what the
//! KBS attestation protocol 0.4.0 and OpenID Connect use. Algorithms are pinned by the caller's types and keys; no header chooses one.
//!
//! This crate does not decide who gets a key, judge a claim beyond `aud`, `iat`, `nbf` and `exp`, and a header beyond `typ`, open a socket or a file, or
//! read a clock. It knows neither `none` nor any symmetric signature, PKCS#1 v1.5 encryption, compression or `crit`.

mod compact;
mod jwe;
mod jwk;
mod jws;
mod kdf;
mod passport;
mod tee_key;
mod verifying_key;

pub use compact::{COMPACT_MAGIC, FileKey, open_compact};
pub use jwe::{RecipientKey, encrypt};
pub use jwk::thumbprint;
pub use jws::{SKEW, TokenSigner, TokenVerifier, Types, signing_key};
pub use passport::verify_passport;
pub use tee_key::TeeKey;
pub use verifying_key::Algorithm;

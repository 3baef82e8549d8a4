//! What makes a model trusted.
//!
//! Sealing of files ([`seal`]), the OCI manifest ([`manifest`]), the signatures over it ([`cosign`]) and over the files
//! ([`oms`]), and the ladder of proofs from bytes of a registry to a verified model ([`ladder`]).
//!
//! This crate does not open a socket or ask for a key, and touches a disk only to read and write the directories that it
//! is handed ([`directory`], [`local`]).

mod data_key;
mod keys;
pub mod path;
pub mod seal;

pub use data_key::{ArtifactId, DataKey};
pub use keys::{PublicKey, SecretPem, SigningKey};

//! What makes a model trusted.
//!
//! Sealing of files ([`seal`]), the OCI manifest ([`manifest`]), the signatures over it ([`cosign`]) and over the files
//! ([`oms`]), promotion between environments ([`promotion`]), and the ladder of proofs from bytes of a registry to a verified model ([`ladder`]).
//!
//! This crate does not open a socket or ask for a key, reads no clock (but `sigstore-verify` does, to refuse log entries of the
//! future), and touches a disk only to read and write the
//! directories that it is handed ([`directory`], [`local`], [`import`]).

mod bundle;
pub mod cosign;
mod data_key;
pub mod directory;
mod dsse;
mod hash;
pub mod import;
mod keyless;
mod keys;
pub mod ladder;
pub mod local;
pub mod manifest;
pub mod oms;
mod parallel;
pub mod path;
pub mod promotion;
pub mod seal;
mod shard;
mod signers;

pub use bundle::BUNDLE_V0_3;
pub use data_key::{ArtifactId, DataKey};
pub use hash::{FileDigest, FileHash, HashAlgorithm, Hasher};
pub use keyless::{CertificateRequest, TrustedRoot, Unlogged};
pub use keys::{PublicKey, SecretPem, Sign, SigningKey};
pub use ladder::{
    LayerOpener, ManifestSignature, OpenableModel, OpeningModel, SignedModel, TrustedModel, VerifiedModel,
    verify_manifest,
};
pub use manifest::{Layer, Manifest};
pub use signers::{Credential, Signers, verify_signers};

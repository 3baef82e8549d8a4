//! The ladder from bytes to a verified model. Each rung is a type whose only way in is the check below it:
//!
//! bytes → [`Manifest`](crate::manifest::Manifest) (the shape holds) → [`TrustedModel`] (enough trusted signers signed its
//! digest) → [`OpenableModel`] (the key is the one it commits to) → [`VerifiedModel`] (every blob is the one it names, and
//! the files are those of the signed statement).
//!
//! This is the way up:
//!
//! ```
//! use strongroom_artifact::ladder::{OpenableModel, TrustedModel, VerifiedModel};
//!
//! fn open(trusted: TrustedModel) -> strongroom_wire::Result<VerifiedModel> {
//!     let openable: OpenableModel = trusted.with_key(None)?;
//!     openable.finish()
//! }
//! ```
//!
//! and there is no other. A rung is not made from nothing, from a message, or from the rung below, and none is used twice:
//!
//! ```compile_fail,E0277
//! use strongroom_artifact::ladder::TrustedModel;
//! let forged: TrustedModel = Default::default();
//! ```
//! ```compile_fail,E0277
//! use strongroom_artifact::ladder::VerifiedModel;
//! let forged: VerifiedModel = serde_json::from_str("{}").unwrap();
//! ```
//! ```compile_fail,E0451
//! use strongroom_artifact::ladder::TrustedModel;
//! let (manifest, repository, signed_by, statement_signers, demand) = todo!();
//! let forged = TrustedModel { manifest, repository, signed_by, statement_signers, demand };
//! ```
//! ```compile_fail,E0451
//! use strongroom_artifact::ladder::OpenableModel;
//! let (trusted, key, files) = todo!();
//! let forged = OpenableModel { trusted, key, files };
//! ```
//! ```compile_fail,E0451
//! use strongroom_artifact::ladder::VerifiedModel;
//! let (trusted, statement, commitment) = todo!();
//! let forged = VerifiedModel { trusted, statement, commitment };
//! ```
//! ```compile_fail,E0277
//! use strongroom_artifact::ladder::{TrustedModel, VerifiedModel};
//! fn skip(trusted: TrustedModel) -> VerifiedModel {
//!     trusted.into()
//! }
//! ```
//! ```compile_fail,E0382
//! use strongroom_artifact::ladder::OpenableModel;
//! fn twice(openable: OpenableModel) {
//!     let (_, _) = (openable.finish(), openable.finish());
//! }
//! ```

mod judged;
mod layer;
mod openable;
mod trusted;

pub use layer::LayerOpener;
pub use openable::{OpenableModel, VerifiedModel};
pub use trusted::{ManifestSignature, TrustedModel, is_about_signatures, verify_manifest};

#[cfg(test)]
mod tests;

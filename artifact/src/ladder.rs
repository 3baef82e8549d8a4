//! The ladder from bytes to a verified model. Each rung is a type whose only way in is the check below it:
//!
//! bytes → [`Manifest`](crate::manifest::Manifest) (the shape holds) → [`SignedModel`] (enough trusted signers signed its
//! digest) → [`TrustedModel`] (it is promoted, where that is demanded) → [`OpenableModel`] (the key is the one it commits to)
//! → [`OpeningModel`] (the statement over its files is signed) → [`VerifiedModel`] (every blob is the one it names, and the
//! files are those of the statement).
//!
//! This is the way up:
//!
//! ```
//! use strongroom_artifact::ladder::{OpenableModel, OpeningModel, SignedModel, TrustedModel, VerifiedModel};
//!
//! fn open(signed: SignedModel, now: u64, statement: &[Vec<u8>]) -> strongroom_wire::Result<VerifiedModel> {
//!     let trusted: TrustedModel = signed.promoted(now)?;
//!     let openable: OpenableModel = trusted.with_key(None)?;
//!     let opening: OpeningModel = openable.with_statement(statement)?;
//!     opening.finish()
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
//! let (signed, promotion) = todo!();
//! let forged = TrustedModel { signed, promotion };
//! ```
//! ```compile_fail,E0451
//! use strongroom_artifact::ladder::SignedModel;
//! let (manifest, repository, signed_by, statement_signers, demand, promotions) = todo!();
//! let forged = SignedModel { manifest, repository, signed_by, statement_signers, demand, promotions };
//! ```
//! ```compile_fail,E0451
//! use strongroom_artifact::ladder::OpenableModel;
//! let (trusted, key) = todo!();
//! let forged = OpenableModel { trusted, key };
//! ```
//! ```compile_fail,E0451
//! use strongroom_artifact::ladder::OpeningModel;
//! let (trusted, statement, bundle, runs, layers, shared) = todo!();
//! let forged = OpeningModel { trusted, statement, bundle, runs, layers, shared };
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
//! use strongroom_artifact::ladder::OpeningModel;
//! fn twice(opening: OpeningModel) {
//!     let (_, _) = (opening.finish(), opening.finish());
//! }
//! ```

mod judged;
mod layer;
mod openable;
mod opening;
mod signed;
mod sink;
mod trusted;
mod verified;

pub(crate) use judged::match_up;
pub use layer::{LayerOpener, PIECE};
pub use openable::OpenableModel;
pub use opening::{OpeningModel, Run};
pub use signed::{ManifestSignature, SignedModel, is_about_signatures, verify_manifest};
pub use sink::FileSink;
pub use trusted::TrustedModel;
pub use verified::VerifiedModel;

#[cfg(test)]
mod tests;

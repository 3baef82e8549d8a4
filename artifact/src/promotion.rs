//! Promotion: who said that a model is for an environment, and who took it out again.
//!
//! A promoter signs a [`Statement`], as `cosign attest` would: an in-toto statement about the manifest's digest, in a Sigstore
//! bundle that refers to the manifest. [`Statements`] are those of a rule's promoters about one repository and environment;
//! [`Statements::judge`] says of them all, in whatever order they came and however often, whether a manifest is promoted:
//!
//! - a promotion is *reached* where at least `threshold` distinct promoters promoted the same manifest with the same sequence
//!   and the same policy. When each of them did, and until when, may differ;
//! - of all that were ever reached, of whatever manifest, only those with the highest sequence count: `promotion-superseded`;
//! - a demotion of the manifest by any one promoter is enough: with that sequence or a higher one, or made after what enough
//!   promoters said of it, since a promotion that was made before may be shown only later: `promotion-demoted`;
//! - it holds as long as the statements of `threshold` promoters do: `promotion-expired`.
//!
//! What was reached, and what was demoted, is a [`Fact`] that outlives its promoters: whoever keeps facts need not ask who is a
//! promoter today. Statements only ever add, so whoever keeps those that it saw can be told an old one again without harm. Whoever keeps none
//! has of an untrusted registry no more than the expiry, and the rule's `minimum-sequence`.

mod fact;
mod judge;
mod signed;
mod statement;
#[cfg(test)]
mod tests;

pub use fact::Fact;
pub use judge::{Promotion, Statements};
pub use signed::SignedStatement;
pub use statement::{Action, PREDICATE_TYPE, Statement, parse_attached};

//! Signed reference values: what approved guests measure, published by whoever builds them, so that a policy names the
//! publisher instead of repeating every measurement of every release.
//!
//! A bundle is a JSON document in a DSSE envelope of type [`SignedDocument::PAYLOAD_TYPE`]. It is not an in-toto statement: a statement is
//! about an artifact with a digest, and the subject of these values is whatever will measure so.
//!
//! ```json
//! {
//!   "format": 1, "name": "guest-image", "version": 7, "issued": 1770000000, "expires": 1780000000,
//!   "snp": { "product": "Milan", "tcb": {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 115},
//!            "guests": [{ "label": {"image": "guest", "version": "1.4.0"}, "measurement": "<96 hex digits>",
//!                         "inputs": {"kernel": "<64 hex digits>"} }] },
//!   "tdx": { "guests": [{ "label": {"image": "guest", "version": "1.4.0"}, "mrtd": "…", "rtmr1": "…", "rtmr2": "…" }] }
//! }
//! ```
//!
//! The policy that takes values from it says who must have signed, and which fields are taken:
//!
//! ```toml
//! [[reference-values]]
//! name    = "guest-image"
//! signers = { keys = ["-----BEGIN PUBLIC KEY----- …"], threshold = 1 }
//! version = { at-least = 7 }                                  # by default any
//! [snp]
//! measurement = { reference-values = "guest-image" }
//! ```

mod document;
mod take;

pub use document::{Label, ReferenceValues, SnpGuest, SnpReferenceValues, TdxGuest, TdxReferenceValues};
pub(crate) use take::{Bundles, unnamed};

use crate::seen::{Seen, SeenKind};
use crate::signed_document::{DocumentCodes, SignedDocument, Source, Verified, judge_each, verify_each};
use crate::{Policy, UnixTime};
use strongroom_wire::{Code, Result};

/// A bundle that a policy takes values from: an entry of its `[[reference-values]]`.
pub type ReferenceSource = Source<ReferenceValues>;

/// Reference values that enough of a source's keys signed and that were valid when they were looked at.
pub type VerifiedReferenceValues = Verified<ReferenceValues>;

impl SignedDocument for ReferenceValues {
    const PAYLOAD_TYPE: &'static str = "application/vnd.strongroom.reference-values.v1+json";
    const WHAT: &'static str = "reference values";
    const SEEN: SeenKind = SeenKind::ReferenceValues;
    const CODES: DocumentCodes = DocumentCodes {
        invalid: Code::ReferenceValuesInvalid,
        early: Code::ReferenceValuesNotYetValid,
        late: Code::ReferenceValuesExpired,
        missing: Code::ReferenceValuesMissing,
    };

    fn parse(payload: &[u8]) -> Result<Self> {
        Self::parse(payload)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn validity(&self) -> (UnixTime, UnixTime) {
        (self.issued, self.expires)
    }
}

impl Policy {
    /// The policy with every value that it takes from reference values: rules as if somebody had written them. Its digest
    /// covers the policy and every bundle, and each must be valid at `now` and again at the moment of each appraisal. A policy
    /// that takes none stays as it is.
    ///
    /// `envelopes` are the signed bundles, in any order, one for each entry of the policy's `[[reference-values]]`. On
    /// success `seen` remembers their versions; else it stays as it was.
    ///
    /// # Errors
    /// What [`Source::verify`] and [`Verified::verify_newest`] refuse; `reference-values-invalid`: a
    /// bundle that the policy does not name, or two of one name; `reference-values-missing`: a bundle was not given, or has
    /// not the value that a field takes; `policy-invalid`: the values make no sound policy.
    pub fn with_reference_values(&self, envelopes: &[&[u8]], seen: &mut Seen, now: UnixTime) -> Result<Self> {
        let mut raised = seen.clone();
        let bundles = verify_each(self.reference_sources(), envelopes, &mut raised, now)?;
        let policy = self.taking(&bundles.iter().collect::<Vec<_>>())?;
        *seen = raised;
        Ok(policy)
    }

    /// [`Self::with_reference_values`] of bundles that were verified before.
    pub(crate) fn with_verified_values(&self, given: &[&VerifiedReferenceValues], now: UnixTime) -> Result<Self> {
        self.taking(&judge_each(self.reference_sources(), given, now)?)
    }
}

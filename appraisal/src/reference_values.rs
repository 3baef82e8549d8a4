//! Signed reference values: what approved guests measure, published by whoever builds them, so that a policy names the
//! publisher instead of repeating every measurement of every release.
//!
//! A bundle is a JSON document in a DSSE envelope of type [`PAYLOAD_TYPE`]. It is not an in-toto statement: a statement is
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

use crate::dsse::Signers;
use crate::policy::Floor;
use crate::seen::{Seen, SeenKind};
use crate::window::{Validity, Window};
use crate::{Policy, UnixTime};
use serde::Deserialize;
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::{Code, Refusal, Result};

/// What the envelope's payload is.
pub const PAYLOAD_TYPE: &str = "application/vnd.strongroom.reference-values.v1+json";

/// A bundle that a policy takes values from: an entry of its `[[reference-values]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReferenceSource {
    /// The bundle's name. Versions of bundles of different names are never compared.
    pub name: String,
    /// Who must have signed it.
    pub signers: Signers,
    /// Its version; by default any, which leaves rollback to the memory of what was seen.
    #[serde(default = "remembered")]
    pub version: Floor<u64>,
}

fn remembered() -> Floor<u64> {
    Floor::any("the memory of what was seen judges it")
}

/// Reference values that enough of a source's keys signed and that were valid when they were looked at.
///
/// ```compile_fail,E0451
/// // There is no other way to them than `ReferenceSource::verify`.
/// let forged = strongroom_appraisal::VerifiedReferenceValues { values: todo!(), digest: todo!(), signers: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedReferenceValues {
    values: ReferenceValues,
    digest: Sha256,
    /// Of the source's signers.
    signers: Sha256,
}

impl ReferenceSource {
    /// Verifies that `envelope` is this source's bundle: signatures first, then shape, name, dates and version.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `signature-invalid`, `reference-values-invalid`, `reference-values-not-yet-valid`,
    /// `reference-values-expired`; `reference-values-rolled-back` below the policy's version.
    pub fn verify(&self, envelope: &[u8], now: UnixTime) -> Result<VerifiedReferenceValues> {
        self.verify_parsed(&Envelope::parse(envelope)?, now)
    }

    fn verify_parsed(&self, envelope: &Envelope, now: UnixTime) -> Result<VerifiedReferenceValues> {
        let payload = self.signers.verify(envelope, PAYLOAD_TYPE).map_err(|refusal| refusal.within(self.what()))?;
        let values = ReferenceValues::parse(&payload)?;
        if values.name != self.name {
            let refusal = Refusal::new(Code::ReferenceValuesInvalid, "name of reference values");
            return Err(refusal.got(&values.name).want(&self.name));
        }
        validity(&values).verify(now)?;
        let newest = self.version.check(
            &format!("version of {}", self.what()),
            Code::ReferenceValuesRolledBack,
            Some(&values.version),
            |version, floor| version >= floor,
        );
        match newest.refusal() {
            Some(refusal) => Err(refusal),
            None => {
                Ok(VerifiedReferenceValues { values, digest: Sha256::of(&payload), signers: self.signers.digest() })
            }
        }
    }

    fn what(&self) -> String {
        format!("reference values `{}`", self.name)
    }
}

impl VerifiedReferenceValues {
    /// The values.
    pub const fn values(&self) -> &ReferenceValues {
        &self.values
    }

    /// SHA-256 of the signed document.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// When they are valid.
    pub(crate) fn validity(&self) -> Validity {
        validity(&self.values)
    }

    /// Refuses a version lower than one of the same name from a source with the same signers that `seen` remembers, and another
    /// document of that version (`reference-values-rolled-back`); else remembers this one.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        let ReferenceValues { name, version, .. } = &self.values;
        seen.check_and_raise_document(
            SeenKind::ReferenceValues,
            &format!("{name}/{}", self.signers),
            *version,
            self.digest,
        )
    }
}

fn validity(values: &ReferenceValues) -> Validity {
    Validity {
        of: format!("reference values `{}`", values.name),
        window: Window::ALWAYS.and((values.issued, values.expires)),
        early: Code::ReferenceValuesNotYetValid,
        late: Code::ReferenceValuesExpired,
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
    /// What [`ReferenceSource::verify`] and [`VerifiedReferenceValues::verify_newest`] refuse; `reference-values-invalid`: a
    /// bundle that the policy does not name, or two of one name; `reference-values-missing`: a bundle was not given, or has
    /// not the value that a field takes; `policy-invalid`: the values make no sound policy.
    pub fn with_reference_values(&self, envelopes: &[&[u8]], seen: &mut Seen, now: UnixTime) -> Result<Self> {
        let sources = self.reference_sources();
        let mut given: Vec<Option<VerifiedReferenceValues>> = vec![None; sources.len()];
        let mut raised = seen.clone();
        for envelope in envelopes {
            let envelope = Envelope::parse(envelope)?;
            // The name is not verified yet. It only chooses whose keys are asked, and is compared again under their signature.
            let name = ReferenceValues::parse(&envelope.payload)?.name;
            let named = sources.iter().zip(given.iter_mut()).find(|(source, _)| source.name == name);
            let Some((source, place)) = named else {
                let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
                let refusal =
                    Refusal::new(Code::ReferenceValuesInvalid, "reference values that the policy does not name");
                return Err(refusal.got(name).want(names.join(" or ")));
            };
            let verified = source.verify_parsed(&envelope, now)?;
            verified.verify_newest(&mut raised)?;
            if place.replace(verified).is_some() {
                return Err(Refusal::new(Code::ReferenceValuesInvalid, source.what()).got("given twice").want("once"));
            }
        }
        let missing = |source: &ReferenceSource| {
            Refusal::new(Code::ReferenceValuesMissing, source.what()).got("not given").want("the signed bundle")
        };
        let bundles = sources.iter().zip(given).map(|(source, given)| given.ok_or_else(|| missing(source)));
        let bundles = bundles.collect::<Result<Vec<_>>>()?;
        let policy = if bundles.is_empty() { self.clone() } else { self.taking(&bundles)? };
        *seen = raised;
        Ok(policy)
    }
}

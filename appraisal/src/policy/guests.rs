//! Guests of a bundle as whole ones: fields that each allow the value of some guest would together allow a guest that nobody
//! approved.

use std::collections::BTreeMap;
use strongroom_wire::{Check, Code};

/// The guests of one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReferenceGuests {
    /// The bundle's name.
    pub(crate) bundle: String,
    /// Of each, the values of the fields that the policy takes from the bundle.
    pub(crate) guests: Vec<BTreeMap<&'static str, Vec<u8>>>,
}

impl ReferenceGuests {
    /// The check that what was measured, by field, is one of these guests in every field that was taken.
    pub(crate) fn check(&self, measured: &BTreeMap<&'static str, &[u8]>) -> Check {
        let is_it = |guest: &BTreeMap<&'static str, Vec<u8>>| {
            guest.iter().all(|(field, value)| measured.get(field) == Some(&value.as_slice()))
        };
        let held = self.guests.iter().any(is_it);
        let fields: Vec<&str> = self.guests.first().into_iter().flat_map(BTreeMap::keys).copied().collect();
        let got = if held { "one of them" } else { "no one guest" };
        let want = format!("one guest of reference values `{}` in {}", self.bundle, fields.join(", "));
        Check::new("reference-guest", held, Code::MeasurementNotApproved, got, want)
    }
}

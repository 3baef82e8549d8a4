//! The document inside the envelope.

use crate::UnixTime;
use crate::policy::Hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// Reference values as their publisher states them. Nothing here is verified; what is, is `VerifiedReferenceValues`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReferenceValues {
    /// Version of this format: 1.
    pub format: u32,
    /// What they are of. Policies and the memory of versions go by it.
    pub name: String,
    /// Grows with every change.
    pub version: u64,
    /// First second of their validity.
    pub issued: UnixTime,
    /// Last second of their validity, at most [`limits::REFERENCE_VALUES_VALIDITY`] later.
    pub expires: UnixTime,
    /// Guests on SNP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<SnpReferenceValues>,
    /// Guests on TDX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<TdxReferenceValues>,
}

/// What approved SNP guests and their platforms are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SnpReferenceValues {
    /// The product that the TCB floor is for: `Milan`, `Genoa` or `Turin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The oldest TCB that is still sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb: Option<Tcb>,
    /// Approved guests, at least one.
    pub guests: Vec<SnpGuest>,
}

/// What approved trust domains and their collateral are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TdxReferenceValues {
    /// The lowest tcbEvaluationDataNumber that is still sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb_evaluation: Option<u32>,
    /// Approved guests, at least one.
    pub guests: Vec<TdxGuest>,
}

/// Which guest it is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The image's name.
    pub image: String,
    /// The image's version.
    pub version: String,
}

/// One SNP guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SnpGuest {
    /// Which it is.
    pub label: Label,
    /// MEASUREMENT.
    pub measurement: Hex<48>,
    /// HOST_DATA: SHA-256 of its deployment document, where only one is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Hex<32>>,
    /// SHA-256 of what it was computed from, by name: `ovmf`, `kernel`, `initrd`, `append`. For those who compute it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Sha256>,
}

/// One trust domain. A register that nobody can state beforehand is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TdxGuest {
    /// Which it is.
    pub label: Label,
    /// MRTD.
    pub mrtd: Hex<48>,
    /// RTMR0, which depends on the host's ACPI tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr0: Option<Hex<48>>,
    /// RTMR1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr1: Option<Hex<48>>,
    /// RTMR2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr2: Option<Hex<48>>,
    /// RTMR3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr3: Option<Hex<48>>,
    /// The first 32 bytes of MRCONFIGID: SHA-256 of its deployment document, where only one is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Hex<32>>,
    /// SHA-256 of what it was computed from, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Sha256>,
}

impl ReferenceValues {
    /// Parses a document of at most [`limits::SIGNED_DOCUMENT`] bytes.
    ///
    /// # Errors
    /// `reference-values-invalid`: not such a document, or one that says nothing; `unknown-field`; `too-large`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let limit = limits::SIGNED_DOCUMENT;
        let values: Self = document::parse_json(json, "reference values", limit, Code::ReferenceValuesInvalid)?;
        values.sound()
    }

    /// The document to sign.
    ///
    /// # Errors
    /// `reference-values-invalid`, `too-large`: it would not be read again.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let values = self.clone().sound()?;
        let json = serde_json::to_vec_pretty(&values)
            .map_err(|error| Refusal::new(Code::Internal, "reference values").because(error))?;
        match json.len() > limits::SIGNED_DOCUMENT {
            true => Err(Refusal::too_large("reference values", json.len(), limits::SIGNED_DOCUMENT)),
            false => Ok(json),
        }
    }

    /// What stands in it for people, and reaches their terminals.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let snp = self.snp.iter().flat_map(|snp| &snp.guests).map(|guest| (&guest.label, &guest.inputs));
        let tdx = self.tdx.iter().flat_map(|tdx| &tdx.guests).map(|guest| (&guest.label, &guest.inputs));
        snp.chain(tdx).flat_map(|(label, inputs)| {
            [&label.image, &label.version].into_iter().chain(inputs.keys()).map(String::as_str)
        })
    }

    fn sound(self) -> Result<Self> {
        let refused = |got: String, want: String| {
            Err(Refusal::new(Code::ReferenceValuesInvalid, "reference values").got(got).want(want))
        };
        if self.format != 1 {
            return refused(format!("format {}", self.format), "format 1".to_owned());
        }
        // What keeps the newest counts no further.
        if i64::try_from(self.version).is_err() {
            return refused(format!("version {}", self.version), format!("at most {}", i64::MAX));
        }
        let named = (1..=limits::REFERENCE_VALUES_NAME).contains(&self.name.len());
        if !named || self.name.contains(char::is_control) {
            let limit = limits::REFERENCE_VALUES_NAME;
            return refused(format!("a name of {} bytes", self.name.len()), format!("1 to {limit} printable bytes"));
        }
        let validity = self.expires.checked_sub(self.issued);
        if validity.is_none_or(|seconds| seconds > limits::REFERENCE_VALUES_VALIDITY) {
            let got = format!("issued {}, expires {}", self.issued, self.expires);
            return refused(got, format!("at most {} seconds of validity", limits::REFERENCE_VALUES_VALIDITY));
        }
        let empty = self.snp.as_ref().is_some_and(|snp| snp.guests.is_empty())
            || self.tdx.as_ref().is_some_and(|tdx| tdx.guests.is_empty())
            || (self.snp.is_none() && self.tdx.is_none());
        if empty {
            return refused("no guests".to_owned(), "at least one guest in every section".to_owned());
        }
        let guests = [self.snp.as_ref().map(|snp| snp.guests.len()), self.tdx.as_ref().map(|tdx| tdx.guests.len())];
        if let Some(guests) = guests.into_iter().flatten().find(|guests| *guests > limits::GUESTS) {
            return Err(Refusal::too_large("guests of reference values", guests, limits::GUESTS));
        }
        if self.texts().any(|text| text.contains(char::is_control)) {
            return refused(
                "a control character in a label or the name of an input".to_owned(),
                "printable text".to_owned(),
            );
        }
        let product = self.snp.as_ref().and_then(|snp| snp.product.as_deref());
        if product.is_some_and(|product| !["Milan", "Genoa", "Turin"].contains(&product)) {
            return refused("another product".to_owned(), "`Milan`, `Genoa` or `Turin`".to_owned());
        }
        if self.snp.as_ref().is_some_and(|snp| snp.tcb.is_some() && snp.product.is_none()) {
            return refused("a TCB without a product".to_owned(), "the product whose scale it is".to_owned());
        }
        Ok(self)
    }
}

//! The JSON document of both commands. What evidence says is shown even where it was refused; `verdict` says what it is
//! worth.

use super::azure::VtpmFields;
use super::snp::SnpFields;
use super::tdx::TdxFields;
use serde::Serialize;
use strongroom_wire::{Check, Code, Root};

/// What evidence of either platform says, and what became of it.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) verdict: &'static str,
    pub(super) code: Option<Code>,
    pub(super) platform: &'static str,
    pub(super) root: Option<Root>,
    pub(super) product: Option<String>,
    pub(super) report_version: u32,
    pub(super) debug: bool,
    pub(super) measurement: String,
    pub(super) report_data: String,
    pub(super) tcb_status: Option<&'static str>,
    pub(super) advisories: Vec<String>,
    #[serde(flatten)]
    pub(super) fields: Fields,
    /// Of an Azure guest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vtpm: Option<VtpmFields>,
    pub(super) checks: Vec<Check>,
}

/// What one platform says and the other does not.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Fields {
    Snp(Box<SnpFields>),
    Tdx(Box<TdxFields>),
}

impl Answer {
    /// For people: one line a field.
    pub(super) fn rows(&self) -> String {
        let rows = match &self.fields {
            Fields::Snp(fields) => fields.rows(self),
            Fields::Tdx(fields) => fields.rows(self),
        };
        let rows = rows.into_iter().map(|(name, value)| (name.to_owned(), value));
        let rows = rows.chain(self.vtpm.iter().flat_map(VtpmFields::rows));
        rows.map(|(name, value)| format!("{name:14} {value}\n")).collect()
    }
}

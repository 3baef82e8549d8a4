//! TCB info (version 3) and enclave identity (version 2) as Intel's PCS publishes them. Parsed only after their signature
//! was verified; members that are not known here are passed over, as Intel adds some without a new version.

use super::TcbStatus;
use crate::UnixTime;
use core::fmt;
use core::str::FromStr;
use der::DateTime;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use strongroom_wire::{Code, Refusal, Result, limits};

/// `tcbInfo` of `id` `TDX`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: Date,
    pub(crate) next_update: Date,
    pub(crate) fmspc: Bytes<6>,
    pub(crate) pce_id: Bytes<2>,
    pub(crate) tcb_evaluation_data_number: u32,
    pub(crate) tdx_module: Module,
    #[serde(default)]
    pub(crate) tdx_module_identities: Vec<ModuleIdentity>,
    pub(crate) tcb_levels: Vec<TcbLevel>,
}

/// What a TDX module must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Module {
    pub(crate) mrsigner: Bytes<48>,
    pub(crate) attributes: Bytes<8>,
    pub(crate) attributes_mask: Bytes<8>,
}

/// The same for one version of the module, with the levels of its SVN.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "FlatIdentity")]
pub(crate) struct ModuleIdentity {
    pub(crate) id: String,
    pub(crate) module: Module,
    pub(crate) tcb_levels: Vec<SvnLevel>,
}

/// A module identity as it is written, the module's members beside the others. (What `flatten` reads it keeps first.)
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlatIdentity {
    id: String,
    mrsigner: Bytes<48>,
    attributes: Bytes<8>,
    attributes_mask: Bytes<8>,
    tcb_levels: Vec<SvnLevel>,
}

impl From<FlatIdentity> for ModuleIdentity {
    fn from(flat: FlatIdentity) -> Self {
        let FlatIdentity { id, mrsigner, attributes, attributes_mask, tcb_levels } = flat;
        Self { id, module: Module { mrsigner, attributes, attributes_mask }, tcb_levels }
    }
}

/// One level of a platform; the list is in descending order.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbLevel {
    pub(crate) tcb: Components,
    pub(crate) tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    pub(crate) advisory_ids: Vec<String>,
}

/// The least SVNs of a level.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Components {
    #[serde(rename = "sgxtcbcomponents")]
    pub(crate) sgx: [Component; 16],
    #[serde(rename = "tdxtcbcomponents")]
    pub(crate) tdx: [Component; 16],
    pub(crate) pcesvn: u16,
}

/// One of sixteen.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Component {
    pub(crate) svn: u8,
}

/// One level of a TDX module or of an enclave.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SvnLevel {
    pub(crate) tcb: IsvSvn,
    pub(crate) tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    pub(crate) advisory_ids: Vec<String>,
}

/// The least ISVSVN of a level.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct IsvSvn {
    pub(crate) isvsvn: u16,
}

/// `enclaveIdentity` of `id` `TD_QE`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QeIdentity {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: Date,
    pub(crate) next_update: Date,
    pub(crate) tcb_evaluation_data_number: u32,
    pub(crate) miscselect: Bytes<4>,
    pub(crate) miscselect_mask: Bytes<4>,
    pub(crate) attributes: Bytes<16>,
    pub(crate) attributes_mask: Bytes<16>,
    pub(crate) mrsigner: Bytes<32>,
    pub(crate) isvprodid: u16,
    pub(crate) tcb_levels: Vec<SvnLevel>,
}

/// `N` bytes in hex of either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes<const N: usize>(pub(crate) [u8; N]);

/// `YYYY-MM-DDThh:mm:ssZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date(pub(crate) UnixTime);

impl TcbInfo {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let info: Self = serde_json::from_str(json).map_err(|e| Refusal::malformed("TCB info", e))?;
        kind("TCB info", (&info.id, info.version), ("TDX", 3))?;
        bounded("TCB levels", info.tcb_levels.len())?;
        bounded("TDX module identities", info.tdx_module_identities.len())?;
        info.tdx_module_identities
            .iter()
            .try_for_each(|identity| bounded("TDX module levels", identity.tcb_levels.len()))?;
        Ok(info)
    }
}

impl QeIdentity {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let identity: Self = serde_json::from_str(json).map_err(|e| Refusal::malformed("QE identity", e))?;
        kind("QE identity", (&identity.id, identity.version), ("TD_QE", 2))?;
        bounded("QE identity levels", identity.tcb_levels.len())?;
        Ok(identity)
    }
}

fn kind(what: &str, got: (&str, u32), want: (&str, u32)) -> Result<()> {
    if got == want {
        return Ok(());
    }
    let show = |(id, version)| format!("{id} version {version}");
    Err(Refusal::new(Code::CollateralMismatch, what).got(show(got)).want(show(want)))
}

fn bounded(what: &str, got: usize) -> Result<()> {
    if got <= limits::TCB_LEVELS { Ok(()) } else { Err(Refusal::too_large(what, got, limits::TCB_LEVELS)) }
}

/// Reads a text without a copy of it.
struct Text<F>(F);

impl<T, E: fmt::Display, F: FnOnce(&str) -> core::result::Result<T, E>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<D: serde::de::Error>(self, text: &str) -> core::result::Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text: &str| {
            let mut bytes = [0; N];
            hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
        }))
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text: &str| {
            DateTime::from_str(text).map(|date| Self(date.unix_duration().as_secs()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hex_are_read_and_what_is_no_text_says_so() {
        assert_eq!(serde_json::from_str::<Bytes<2>>("\"0aff\"").unwrap().0, [0x0a, 0xff]);
        let wrong = serde_json::from_str::<Bytes<2>>("5").map(|bytes| bytes.0).unwrap_err();
        assert!(wrong.to_string().contains("expected a text"), "{wrong}");
    }
}

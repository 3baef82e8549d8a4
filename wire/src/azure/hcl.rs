//! The paravisor's report: a header, the hardware's report, and the runtime data that it commits to.

use crate::bytes::{Cursor, from_base64url};
use crate::digest::Sha256;
use crate::snp::REPORT_LEN;
use crate::{Code, Refusal, Result, limits};
use core::fmt;
use serde::Deserialize;

const FORMAT: &str = "HCL report";
const HEADER_LEN: usize = 32;
/// The hardware's report: an SNP report, or a TDREPORT and zeros.
const HARDWARE_LEN: usize = REPORT_LEN;
const REQUEST_LEN: usize = 20;
/// Hash type of runtime data: SHA-256.
const SHA256: u32 = 1;

/// Which hardware is below the paravisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// AMD SEV-SNP, the virtual TPM being the paravisor's at VMPL 0.
    AzureSnpVtpm,
    /// Intel TDX, the virtual TPM being the paravisor's.
    AzureTdxVtpm,
}

impl Platform {
    /// Its name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AzureSnpVtpm => "azure-snp-vtpm",
            Self::AzureTdxVtpm => "azure-tdx-vtpm",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A parsed report of the paravisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    /// Which hardware.
    pub platform: Platform,
    /// The hardware's report. On TDX it is a TDREPORT, which only the machine that made it can verify: the quote counts.
    pub hardware: Box<[u8; HARDWARE_LEN]>,
    /// The runtime data as they stand.
    pub runtime_bytes: Vec<u8>,
    /// The runtime data, read.
    pub runtime: RuntimeData,
}

/// What the paravisor states of itself and of the virtual TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeData {
    /// `HCLAkPub`: the virtual TPM's attestation key.
    pub attestation_key: AttestationKey,
    /// `vm-configuration.secure-boot`.
    pub secure_boot: bool,
    /// `vm-configuration.console-enabled`; a paravisor that does not say counts as one with a console.
    pub console_enabled: bool,
    /// `vm-configuration.vmUniqueId`.
    pub vm_id: String,
    /// `user-data`: 64 bytes that the guest chose, in hex.
    pub user_data: String,
}

/// An RSA public key, both parts big-endian without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    /// Modulus.
    pub modulus: Vec<u8>,
    /// Public exponent.
    pub exponent: Vec<u8>,
}

impl HclReport {
    /// Parses a report. Behind it only zero bytes may stand: it is read from an NV index of fixed size.
    ///
    /// # Errors
    /// `malformed`; `too-large`; `version-unsupported`; `platform-unsupported`: hardware other than SNP and TDX, or runtime
    /// data under another hash than SHA-256; `signing-key-unsupported`: not exactly one RSA key `HCLAkPub` for signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::HCL_REPORT {
            return Err(Refusal::too_large(FORMAT, bytes.len(), limits::HCL_REPORT));
        }
        let mut at = Cursor::new(bytes, FORMAT);
        let (magic, version, len): ([u8; 4], u32, u32) = (at.array()?, at.u32_le()?, at.u32_le()?);
        if &magic != b"HCLA" {
            return Err(Refusal::new(Code::Malformed, FORMAT).got(hex::encode(magic)).want("HCLA"));
        }
        if !(1..=2).contains(&version) {
            return Err(Refusal::new(Code::VersionUnsupported, FORMAT).got(version).want("1 or 2"));
        }
        at.take(HEADER_LEN - 12)?; // request type, status, reserved
        let hardware = Box::new(at.array()?);
        let (data_len, data_version) = (at.u32_le()?, at.u32_le()?);
        let (kind, hash, runtime_len) = (at.u32_le()?, at.u32_le()?, at.u32_le()?);
        if data_version != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, "runtime data").got(data_version).want(1));
        }
        let platform = match kind {
            2 => Platform::AzureSnpVtpm,
            4 => Platform::AzureTdxVtpm,
            other => {
                return Err(Refusal::new(Code::PlatformUnsupported, "HCL report type").got(other).want("2 or 4"));
            }
        };
        if hash != SHA256 {
            return Err(Refusal::new(Code::PlatformUnsupported, "hash of runtime data").got(hash).want(SHA256));
        }
        let runtime_bytes = at.take(length(runtime_len))?;
        let own = runtime_bytes.len().saturating_add(REQUEST_LEN);
        let all = own.saturating_add(HEADER_LEN + HARDWARE_LEN);
        if (length(data_len), length(len)) != (own, all) {
            return Err(Refusal::new(Code::Malformed, "lengths of an HCL report")
                .got(format!("{data_len} and {len}"))
                .want(format!("{own} and {all}")));
        }
        if at.rest().iter().any(|byte| *byte != 0) {
            return Err(Refusal::malformed(FORMAT, "trailing bytes that are not zero"));
        }
        let runtime = RuntimeData::parse(runtime_bytes)?;
        Ok(Self { platform, hardware, runtime_bytes: runtime_bytes.to_vec(), runtime })
    }

    /// What the hardware's report data must be: SHA-256 of the runtime data, and 32 zero bytes.
    pub fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        data.iter_mut().zip(Sha256::of(&self.runtime_bytes).0).for_each(|(to, from)| *to = from);
        data
    }
}

/// The members that are read. Others are Microsoft's to add: all bytes are under the hardware's report data.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
    #[serde(rename = "vm-configuration")]
    configuration: Configuration,
    #[serde(rename = "user-data", default)]
    user_data: String,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    key_ops: Vec<String>,
    n: String,
    e: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Configuration {
    #[serde(default)]
    secure_boot: bool,
    #[serde(default = "unsaid")]
    console_enabled: bool,
    #[serde(rename = "vmUniqueId", default)]
    vm_id: String,
}

const fn unsaid() -> bool {
    true
}

impl RuntimeData {
    fn parse(json: &[u8]) -> Result<Self> {
        let document: Document = serde_json::from_slice(json).map_err(|e| Refusal::malformed("HCL runtime data", e))?;
        let signs = |key: &&Jwk| key.kid == "HCLAkPub" && key.kty == "RSA" && key.key_ops == ["sign"];
        let mut keys = document.keys.iter().filter(signs);
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(Refusal::new(Code::SigningKeyUnsupported, "HCL runtime data").want("one RSA key `HCLAkPub`"));
        };
        let attestation_key =
            AttestationKey { modulus: from_base64url(&key.n, "n")?, exponent: from_base64url(&key.e, "e")? };
        Ok(Self {
            attestation_key,
            secure_boot: document.configuration.secure_boot,
            console_enabled: document.configuration.console_enabled,
            vm_id: document.configuration.vm_id,
            user_data: document.user_data,
        })
    }
}

/// A length field; one that no address space holds is longer than any input.
fn length(field: u32) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

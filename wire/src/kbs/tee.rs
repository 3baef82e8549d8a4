//! The platforms that are spoken of, by the names that the protocol gives them.

use crate::{Code, Refusal, Result};

/// A kind of TEE that guests attest with here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP below Azure's paravisor, which gives the guest a virtual TPM.
    AzSnpVtpm,
    /// Intel TDX below Azure's paravisor, which gives the guest a virtual TPM.
    AzTdxVtpm,
}

impl Tee {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Snp, Self::Tdx, Self::AzSnpVtpm, Self::AzTdxVtpm];

    /// The name in requests and tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::AzSnpVtpm => "az-snp-vtpm",
            Self::AzTdxVtpm => "az-tdx-vtpm",
        }
    }

    /// The name in policies and in the audit log.
    pub const fn platform(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::AzSnpVtpm => "azure-snp-vtpm",
            Self::AzTdxVtpm => "azure-tdx-vtpm",
        }
    }

    /// Parses the name in requests.
    ///
    /// # Errors
    /// `platform-unsupported`: any other.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|tee| tee.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Refusal::new(Code::PlatformUnsupported, "tee").got(name).want(known)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_parsed_as_it_is_written_and_others_refused() {
        for tee in Tee::ALL {
            assert_eq!(Tee::parse(tee.as_str()).unwrap(), tee);
        }
        assert_eq!(Tee::ALL.map(Tee::platform), ["snp", "tdx", "azure-snp-vtpm", "azure-tdx-vtpm"]);
        for other in ["", "SNP", "azure-snp-vtpm", "sample", "nvidia"] {
            assert_eq!(Tee::parse(other).unwrap_err().code, Code::PlatformUnsupported, "{other}");
        }
    }
}

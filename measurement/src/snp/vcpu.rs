//! Which processor the vCPUs say they are.

use core::fmt;
use strongroom_wire::{Code, Refusal, Result};

/// The processor's signature: CPUID Fn0000_0001_EAX (publication 24594, appendix E.3.2), in RDX of a vCPU that QEMU begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuSignature(u32);

impl CpuSignature {
    /// The models of `qemu-system-x86_64 -cpu` that are SNP-capable or older EPYCs, with family, model and stepping. Versions
    /// of a model (`EPYC-Milan-v2`) share its signature.
    const MODELS: [(&'static str, [u32; 3]); 6] = [
        ("EPYC", [23, 1, 2]),
        ("EPYC-IBPB", [23, 1, 2]),
        ("EPYC-Rome", [23, 49, 0]),
        ("EPYC-Milan", [25, 1, 1]),
        ("EPYC-Genoa", [25, 17, 0]),
        ("EPYC-Turin", [26, 0, 0]),
    ];

    /// The signature of a processor by family, model and stepping, each as people count them.
    const fn new([family, model, stepping]: [u32; 3]) -> Self {
        let (base, extended) = if family > 15 { (15, family.saturating_sub(15) & 0xff) } else { (family, 0) };
        Self(extended << 20 | (model >> 4 & 0xf) << 16 | base << 8 | (model & 0xf) << 4 | stepping & 0xf)
    }

    /// A model by QEMU's name, with or without a version, or a signature as `0x` and hex digits.
    ///
    /// # Errors
    /// `usage`: neither.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("0x").filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(hex) = digits
            && let Ok(signature) = u32::from_str_radix(hex, 16)
        {
            return Ok(Self(signature));
        }
        let versioned = text.rsplit_once("-v").filter(|(_, version)| version.parse::<u8>().is_ok());
        let model = versioned.map_or(text, |(model, _)| model);
        let known = Self::MODELS.iter().find(|(name, _)| *name == model);
        known.map(|(_, parts)| Self::new(*parts)).ok_or_else(|| {
            let names = Self::MODELS.map(|(name, _)| name).join(", ");
            let refusal = Refusal::new(Code::Usage, "vCPU type").got(text);
            refusal.want(format!("one of {names}, each with -v1, -v2, … or without, or a signature as 0x00a00f11"))
        })
    }

    /// The number in EAX.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_processors() {
        for (name, number) in [
            ("EPYC", 0x0080_0f12),
            ("EPYC-v4", 0x0080_0f12),
            ("EPYC-Rome", 0x0083_0f10),
            ("EPYC-Milan", 0x00a0_0f11),
            ("EPYC-Milan-v2", 0x00a0_0f11),
            ("EPYC-Genoa", 0x00a1_0f10),
            ("EPYC-Turin", 0x00b0_0f00),
            ("0x00a10f11", 0x00a1_0f11),
        ] {
            assert_eq!(CpuSignature::parse(name).unwrap().number(), number, "{name}");
        }
        assert_eq!(CpuSignature::parse("EPYC-Milan").unwrap().to_string(), "0x00a00f11");
    }

    #[test]
    fn unknown_model_refused() {
        for name in
            ["", "epyc-milan", "EPYC-", "EPYC-Milan-v", "EPYC-Milan-vx", "Skylake-Server", "0x", "0x+1", "0x1a00f1100"]
        {
            assert_eq!(CpuSignature::parse(name).unwrap_err().code, Code::Usage, "{name}");
        }
    }
}

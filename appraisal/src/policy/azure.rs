//! The `[azure-snp-vtpm]` and `[azure-tdx-vtpm]` sections.

use super::{Hex, Rule, SnpPolicy, TdxPolicy, unfixed_value};
use core::fmt;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use strongroom_wire::Result;

/// What an Azure guest behind a virtual TPM must be, on hardware that `H` judges: [`SnpPolicy`] or [`TdxPolicy`].
///
/// The hardware measures the paravisor, and the paravisor's TPM everything from the firmware on. HOST_DATA and MRCONFIGID
/// are the paravisor's, so that the deployment document is bound by a PCR instead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, bound(deserialize = "H: DeserializeOwned"))]
pub struct AzurePolicy<H> {
    /// The paravisor and the platform: the section of that hardware, all but its `deployment`.
    #[serde(deserialize_with = "hardware")]
    pub hardware: H,
    /// PCRs of the SHA-256 bank by number. Those of [`Self::BOOT_CHAIN`] must be given.
    pub pcr: BTreeMap<Pcr, Rule<Hex<32>>>,
    /// SHA-256 of the deployment document: the PCR of `deployment-pcr` is that of one extension by it from zero.
    pub deployment: Rule<Hex<32>>,
    /// The PCR that the guest's first process extends by the document: 8 to 15, by default 8, as Confidential Containers do.
    #[serde(default = "confidential_containers")]
    pub deployment_pcr: Pcr,
    /// `secure-boot` of the paravisor's runtime data; by default true.
    #[serde(default = "yes")]
    pub secure_boot: Rule<bool>,
    /// `console-enabled` of the paravisor's runtime data; by default any.
    #[serde(default = "measured_by_pcrs")]
    pub console_enabled: Rule<bool>,
    /// `vmUniqueId` of the paravisor's runtime data; by default any.
    #[serde(default = "unasked")]
    pub vm_id: Rule<String>,
}

/// Number of a PCR that cannot be reset while the guest runs, 0 to 15: software can reset 16 and 23 and so make them what it
/// likes, and 17 to 22 belong to a later launch (TCG PC Client Platform TPM Profile, §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pcr(u8);

impl Pcr {
    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }

    fn new(number: u64) -> core::result::Result<Self, String> {
        match u8::try_from(number) {
            Ok(number) if number < 16 => Ok(Self(number)),
            _ => Err(format!("PCR {number}: the PCRs that cannot be reset are 0 to 15")),
        }
    }
}

impl<H> AzurePolicy<H> {
    /// The PCRs that code and its command line are measured into before anything of the guest's own runs: 2 (drivers of
    /// devices), 4 (boot loaders and kernels that firmware starts), 8 (GRUB's commands), 9 (files that GRUB reads, and the
    /// initrd), 11 (parts of a unified kernel image), 12 (command lines and credentials beside it) and 13 (its extensions).
    /// Where one is not used it has a value too.
    pub const BOOT_CHAIN: [u8; 7] = [2, 4, 8, 9, 11, 12, 13];

    /// Whether every field but the hardware's says something.
    pub(super) fn is_sound(&self) -> bool {
        let given = |number: &u8| *number == self.deployment_pcr.0 || self.pcr.contains_key(&Pcr(*number));
        Self::BOOT_CHAIN.iter().all(given)
            && self.deployment_pcr.0 >= 8
            && !self.pcr.contains_key(&self.deployment_pcr)
            && self.pcr.values().all(Rule::is_sound)
            && self.deployment.is_sound()
            && [&self.secure_boot, &self.console_enabled].into_iter().all(Rule::is_sound)
            && self.vm_id.is_sound()
    }

    /// Refuses a section that leaves a PCR of the boot chain or the deployment document open (`no-reference-values`).
    pub(super) fn fixes_pcrs(&self, section: &str) -> Result<()> {
        let open = |(pcr, rule): &(&Pcr, &Rule<_>)| Self::BOOT_CHAIN.contains(&pcr.0) && !rule.is_fixed();
        if let Some((pcr, _)) = self.pcr.iter().find(open) {
            return Err(unfixed_value(&format!("{section}.pcr.{pcr}")));
        }
        if self.deployment.is_fixed() { Ok(()) } else { Err(unfixed_value(&format!("{section}.deployment"))) }
    }
}

impl AzurePolicy<SnpPolicy> {
    pub(crate) fn fixes_software(&self) -> Result<()> {
        self.hardware.fixes_measurement("azure-snp-vtpm.hardware")?;
        self.fixes_pcrs("azure-snp-vtpm")
    }
}

impl AzurePolicy<TdxPolicy> {
    pub(crate) fn fixes_software(&self) -> Result<()> {
        self.hardware.fixes_measurement("azure-tdx-vtpm.hardware")?;
        self.fixes_pcrs("azure-tdx-vtpm")
    }
}

/// The section of the hardware with the one field that is not the guest's filled in.
fn hardware<'de, H: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> core::result::Result<H, D::Error> {
    const FIELD: &str = "deployment";
    let mut table = toml::Table::deserialize(deserializer)?;
    let reason = toml::Table::from_iter([("because".to_owned(), "it is the paravisor's field".into())]);
    let any = toml::Table::from_iter([("any".to_owned(), reason.into())]);
    if table.insert(FIELD.to_owned(), any.into()).is_some() {
        return Err(D::Error::unknown_field(FIELD, &[]));
    }
    H::deserialize(table).map_err(|error| D::Error::custom(error.message()))
}

fn yes() -> Rule<bool> {
    Rule::Exactly(true)
}

fn measured_by_pcrs() -> Rule<bool> {
    Rule::any("what the guest does with a console is in its image, which the PCRs measure")
}

fn unasked<T>() -> Rule<T> {
    Rule::any("the policy does not ask for it")
}

const fn confidential_containers() -> Pcr {
    Pcr(8)
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As a number, or as the key of a table.
impl<'de> Deserialize<'de> for Pcr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Pcr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a PCR, 0 to 15")
            }

            fn visit_i64<E: Error>(self, number: i64) -> core::result::Result<Pcr, E> {
                u64::try_from(number).map_err(E::custom).and_then(|number| self.visit_u64(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> core::result::Result<Pcr, E> {
                Pcr::new(number).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> core::result::Result<Pcr, E> {
                let plain = text == "0" || !text.starts_with(['0', '+']);
                let number = text.parse().ok().filter(|_| plain);
                number
                    .ok_or_else(|| E::custom(format!("`{text}` is no number of a PCR")))
                    .and_then(|n| self.visit_u64(n))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

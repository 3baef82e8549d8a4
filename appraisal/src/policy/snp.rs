//! The `[snp]` section.

use super::{Floor, Hex, Rule, unfixed_value};
use serde::Deserialize;
use strongroom_wire::Result;
use strongroom_wire::snp::Tcb;

/// What an SNP guest and its platform must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SnpPolicy {
    /// MEASUREMENT.
    pub measurement: Rule<Hex<48>>,
    /// HOST_DATA.
    pub deployment: Rule<Hex<32>>,
    /// The TCB of the endorsement certificate. Patch levels of different products are different scales, so a floor goes with
    /// exactly one product.
    pub tcb: Floor<Tcb>,
    /// The product that the endorsement certificate names: `Milan`, `Genoa` or `Turin`.
    #[serde(default)]
    pub product: Option<Rule<String>>,
    /// CHIP_ID.
    pub chip: Rule<Hex<64>>,
    /// Whose VLEK may have signed, by the cspID of its certificate. Absent: only a VCEK may.
    #[serde(default)]
    pub provider: Option<Rule<String>>,
    /// POLICY.DEBUG.
    #[serde(default = "no")]
    pub debug: Rule<bool>,
    /// POLICY.MIGRATE_MA, and REPORT_ID_MA all ones.
    #[serde(default = "no")]
    pub migration_agent: Rule<bool>,
    /// VMPL.
    #[serde(default = "zero")]
    pub vmpl: Rule<u32>,
    /// Whether a current revocation list of the root was given. It is the host that staples it, so that a policy which does
    /// not demand one leaves it to the host.
    #[serde(default = "yes")]
    pub revocation_list: Rule<bool>,
}

const fn no() -> Rule<bool> {
    Rule::Exactly(false)
}

const fn zero() -> Rule<u32> {
    Rule::Exactly(0)
}

const fn yes() -> Rule<bool> {
    Rule::Exactly(true)
}

impl SnpPolicy {
    pub(super) fn platform_defaults(because: &str) -> Self {
        Self {
            measurement: Rule::any(because),
            deployment: Rule::any(because),
            tcb: Floor::any(because),
            product: None,
            chip: Rule::any(because),
            provider: Some(Rule::any(because)),
            debug: no(),
            migration_agent: no(),
            vmpl: zero(),
            revocation_list: Rule::any("revocation is judged where a list is given"),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let values =
            [self.measurement.is_sound(), self.deployment.is_sound(), self.chip.is_sound(), self.tcb.is_sound()];
        let switches = [
            self.debug.is_sound(),
            self.migration_agent.is_sound(),
            self.vmpl.is_sound(),
            self.revocation_list.is_sound(),
        ];
        let named = [&self.product, &self.provider].into_iter().flatten().all(Rule::is_sound);
        let floor_has_its_scale = match self.tcb {
            Floor::AtLeast(_) => matches!(self.product, Some(Rule::Exactly(_))),
            Floor::Any { .. } => true,
        };
        values.into_iter().chain(switches).all(|sound| sound) && named && floor_has_its_scale
    }

    /// The product rule; where a policy has none, it has no floor either.
    pub(crate) fn product_rule(&self) -> Rule<String> {
        self.product.clone().unwrap_or_else(|| Rule::any("no TCB floor hangs on it"))
    }

    /// Refuses a section that leaves measurement or deployment document open (`no-reference-values`).
    pub(crate) fn fixes_software(&self) -> Result<()> {
        match (self.measurement.is_fixed(), self.deployment.is_fixed()) {
            (true, true) => Ok(()),
            (false, _) => Err(unfixed_value("snp.measurement")),
            (true, false) => Err(unfixed_value("snp.deployment")),
        }
    }
}

//! The `[snp]` section.

mod sound;
mod values;

use super::{Ceiling, Floor, Hex, Machines, ReferenceGuests, Rule, unfixed_value};
use serde::Deserialize;
use strongroom_wire::Result;
use strongroom_wire::snp::Tcb;
pub use values::{Abi, BitSet, Firmware};

/// What an SNP guest and its platform must be. Fields with a default say so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SnpPolicy {
    /// MEASUREMENT.
    pub measurement: Rule<Hex<48>>,
    /// HOST_DATA.
    pub deployment: Rule<Hex<32>>,
    /// The TCB of the endorsement certificate, which is REPORTED_TCB. Patch levels of different products are different
    /// scales, so a floor goes with exactly one product.
    pub tcb: Floor<Tcb>,
    /// COMMITTED_TCB: what the host cannot go back below. Absent: as `tcb`.
    #[serde(default)]
    pub committed_tcb: Option<Floor<Tcb>>,
    /// CURRENT_TCB: what runs now. Absent: as `tcb`.
    #[serde(default)]
    pub current_tcb: Option<Floor<Tcb>>,
    /// LAUNCH_TCB: what the guest was launched by, however much the platform was updated since. Absent: as `tcb`.
    #[serde(default)]
    pub launch_tcb: Option<Floor<Tcb>>,
    /// The lower of CURRENT and COMMITTED version of the firmware; by default any.
    #[serde(default = "judged_by_tcb")]
    pub firmware: Floor<Firmware>,
    /// The product that the endorsement certificate names: `Milan`, `Genoa` or `Turin`.
    #[serde(default)]
    pub product: Option<Rule<String>>,
    /// CPUID family (base and extended), model and stepping, one byte each; zero before report version 3. By default any.
    #[serde(default = "unasked")]
    pub cpuid: Rule<Hex<3>>,
    /// CHIP_ID.
    pub chip: Machines<64>,
    /// Whose VLEK may have signed, by the cspID of its certificate. Absent: only a VCEK may.
    #[serde(default)]
    pub provider: Option<Rule<String>>,
    /// POLICY.DEBUG; by default false.
    #[serde(default = "no")]
    pub debug: Rule<bool>,
    /// POLICY.MIGRATE_MA, and REPORT_ID_MA all ones; by default false.
    #[serde(default = "no")]
    pub migration_agent: Rule<bool>,
    /// VMPL; by default 0.
    #[serde(default = "zero")]
    pub vmpl: Rule<u32>,
    /// POLICY.ABI: the oldest firmware interface that the guest's owner lets it run on; by default any.
    #[serde(default = "judged_by_tcb")]
    pub abi: Floor<Abi>,
    /// POLICY.SMT: whether the guest may run where SMT is on; by default any.
    #[serde(default = "unasked")]
    pub smt_allowed: Rule<bool>,
    /// POLICY.SINGLE_SOCKET; by default any.
    #[serde(default = "unasked")]
    pub single_socket: Rule<bool>,
    /// POLICY.CXL_ALLOW; by default false.
    #[serde(default = "no")]
    pub cxl: Rule<bool>,
    /// POLICY.MEM_AES_256_XTS; by default any.
    #[serde(default = "unasked", rename = "aes-256-xts")]
    pub aes_256_xts: Rule<bool>,
    /// POLICY.PAGE_SWAP_DISABLE; by default any.
    #[serde(default = "unasked")]
    pub page_swap_disabled: Rule<bool>,
    /// PLATFORM_INFO.SMT_EN; by default any.
    #[serde(default = "unasked")]
    pub smt: Rule<bool>,
    /// PLATFORM_INFO.TSME_EN; by default any.
    #[serde(default = "unasked")]
    pub tsme: Rule<bool>,
    /// PLATFORM_INFO.ECC_EN; by default any.
    #[serde(default = "unasked")]
    pub ecc: Rule<bool>,
    /// PLATFORM_INFO.RAPL_DIS; by default any.
    #[serde(default = "not_everywhere")]
    pub rapl_disabled: Rule<bool>,
    /// PLATFORM_INFO.CIPHERTEXT_HIDING_DRAM_EN; by default any.
    #[serde(default = "not_everywhere")]
    pub ciphertext_hiding: Rule<bool>,
    /// PLATFORM_INFO.ALIAS_CHECK_COMPLETE; by default any.
    #[serde(default = "not_everywhere")]
    pub alias_check: Rule<bool>,
    /// The bits of LAUNCH_MIT_VECTOR that must be set; none is before report version 5. By default any.
    #[serde(default = "not_in_every_report")]
    pub launch_mitigations: Floor<BitSet>,
    /// The bits of CURRENT_MIT_VECTOR that must be set; none is before report version 5. By default any.
    #[serde(default = "not_in_every_report")]
    pub current_mitigations: Floor<BitSet>,
    /// GUEST_SVN of the ID block; by default any.
    #[serde(default = "judged_by_measurement")]
    pub guest_svn: Floor<u32>,
    /// FAMILY_ID of the ID block; by default any.
    #[serde(default = "unasked")]
    pub family_id: Rule<Hex<16>>,
    /// IMAGE_ID of the ID block; by default any.
    #[serde(default = "unasked")]
    pub image_id: Rule<Hex<16>>,
    /// ID_KEY_DIGEST, zero where there is no ID block; by default any.
    #[serde(default = "unasked")]
    pub id_key_digest: Rule<Hex<48>>,
    /// AUTHOR_KEY_DIGEST, taken as zero where AUTHOR_KEY_EN is not set; by default any.
    #[serde(default = "unasked")]
    pub author_key_digest: Rule<Hex<48>>,
    /// Whether a current revocation list of the root was given. It is the host that staples it, so that a policy which does
    /// not demand one leaves it to the host.
    #[serde(default = "yes")]
    pub revocation_list: Rule<bool>,
    /// cRLNumber of that list; by default any.
    #[serde(default = "bounded_by_dates")]
    pub crl_number: Floor<u64>,
    /// Seconds since that list's thisUpdate; by default any.
    #[serde(default = "ends_with_next_update")]
    pub crl_age: Ceiling<u64>,
    /// Guests of bundles of which more than one field was taken.
    #[serde(skip)]
    pub(crate) guests: Vec<ReferenceGuests>,
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

fn unasked<T>() -> Rule<T> {
    Rule::any("the policy does not ask for it")
}

fn not_everywhere() -> Rule<bool> {
    Rule::any("not every product or firmware has it; the policy does not ask for it")
}

fn not_in_every_report() -> Floor<BitSet> {
    Floor::any("reports before version 5 do not say; the policy does not ask for it")
}

fn judged_by_tcb<T>() -> Floor<T> {
    Floor::any("the TCB floors judge the firmware")
}

fn judged_by_measurement() -> Floor<u32> {
    Floor::any("the measurement fixes the guest")
}

fn bounded_by_dates() -> Floor<u64> {
    Floor::any("the list's own dates bound its age")
}

fn ends_with_next_update() -> Ceiling<u64> {
    Ceiling::any("the list's own dates bound its age")
}

impl SnpPolicy {
    pub(super) fn platform_defaults(because: &str) -> Self {
        Self {
            measurement: Rule::any(because),
            deployment: Rule::any(because),
            tcb: Floor::any(because),
            committed_tcb: None,
            current_tcb: None,
            launch_tcb: None,
            firmware: judged_by_tcb(),
            product: None,
            cpuid: unasked(),
            chip: Machines::any(because),
            provider: Some(Rule::any(because)),
            debug: no(),
            migration_agent: no(),
            vmpl: zero(),
            abi: judged_by_tcb(),
            smt_allowed: unasked(),
            single_socket: unasked(),
            cxl: no(),
            aes_256_xts: unasked(),
            page_swap_disabled: unasked(),
            smt: unasked(),
            tsme: unasked(),
            ecc: unasked(),
            rapl_disabled: not_everywhere(),
            ciphertext_hiding: not_everywhere(),
            alias_check: not_everywhere(),
            launch_mitigations: not_in_every_report(),
            current_mitigations: not_in_every_report(),
            guest_svn: judged_by_measurement(),
            family_id: unasked(),
            image_id: unasked(),
            id_key_digest: unasked(),
            author_key_digest: unasked(),
            revocation_list: Rule::any("revocation is judged where a list is given"),
            crl_number: bounded_by_dates(),
            crl_age: ends_with_next_update(),
            guests: Vec::new(),
        }
    }

    /// The product rule; where a policy has none, it has no floor either.
    pub(crate) fn product_rule(&self) -> Rule<String> {
        self.product.clone().unwrap_or_else(|| Rule::any("no TCB floor hangs on it"))
    }

    /// Refuses a section that leaves measurement or deployment document open (`no-reference-values`).
    pub(crate) fn fixes_software(&self) -> Result<()> {
        self.fixes_measurement("snp")?;
        if self.deployment.is_fixed() { Ok(()) } else { Err(unfixed_value("snp.deployment")) }
    }

    /// The same of the measurement alone; `section` is where these rules stand.
    pub(super) fn fixes_measurement(&self, section: &str) -> Result<()> {
        if self.measurement.is_fixed() { Ok(()) } else { Err(unfixed_value(&format!("{section}.measurement"))) }
    }
}

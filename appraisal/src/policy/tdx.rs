//! The `[tdx]` section.

use super::{Ceiling, Floor, Hex, Machines, ReferenceGuests, Rule, TdxEvent, unfixed_value};
use crate::tdx::TcbStatus;
use serde::Deserialize;
use strongroom_wire::tdx::INTEL_QE_VENDOR;
use strongroom_wire::{Code, Refusal, Result};

/// What a trust domain and its platform must be. Fields with a default say so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TdxPolicy {
    /// MRTD.
    pub mrtd: Rule<Hex<48>>,
    /// RTMR0: firmware configuration and ACPI tables.
    pub rtmr0: Rule<Hex<48>>,
    /// RTMR1: kernel.
    pub rtmr1: Rule<Hex<48>>,
    /// RTMR2: command line and initrd.
    pub rtmr2: Rule<Hex<48>>,
    /// RTMR3: what the guest extends; by default nothing.
    #[serde(default = "nothing")]
    pub rtmr3: Rule<Hex<48>>,
    /// The first 32 bytes of MRCONFIGID; the other 16 are zero.
    pub deployment: Rule<Hex<32>>,
    /// PPID of the PCK certificate: which machine.
    pub ppid: Machines<16>,
    /// Platform Instance ID of the PCK certificate, zero where it has none; by default any.
    #[serde(default = "whichever")]
    pub platform_instance: Machines<16>,
    /// FMSPC of the PCK certificate; by default any.
    #[serde(default = "unasked")]
    pub fmspc: Rule<Hex<6>>,
    /// Dynamic Platform of the PCK certificate; by default any.
    #[serde(default = "unasked")]
    pub dynamic_platform: Rule<bool>,
    /// Cached Keys of the PCK certificate; by default any.
    #[serde(default = "unasked")]
    pub cached_keys: Rule<bool>,
    /// SMT Enabled of the PCK certificate; by default any.
    #[serde(default = "unasked")]
    pub smt: Rule<bool>,
    /// What Intel says of the platform's TCB; by default `UpToDate`. `Revoked` is never accepted.
    #[serde(default = "up_to_date")]
    pub tcb_status: Rule<TcbStatus>,
    /// The collateral's tcbEvaluationDataNumber, the lower of TCB info's and QE identity's; by default any.
    #[serde(default = "bounded_by_dates")]
    pub tcb_evaluation: Floor<u32>,
    /// Seconds since the earlier issueDate of TCB info and QE identity; by default any.
    #[serde(default = "ends_with_next_update")]
    pub collateral_age: Ceiling<u64>,
    /// cRLNumber of the list of the PCK's authority; by default any.
    #[serde(default = "bounded_by_dates")]
    pub crl_number: Floor<u64>,
    /// Seconds since that list's thisUpdate; by default any.
    #[serde(default = "ends_with_next_update")]
    pub crl_age: Ceiling<u64>,
    /// cRLNumber of the root's list; by default any.
    #[serde(default = "bounded_by_dates")]
    pub root_crl_number: Floor<u64>,
    /// Seconds since that list's thisUpdate; by default any.
    #[serde(default = "ends_with_next_update")]
    pub root_crl_age: Ceiling<u64>,
    /// QE Vendor ID; by default Intel's.
    #[serde(default = "intel")]
    pub qe_vendor: Rule<Hex<16>>,
    /// MRSEAM; by default any, because TCB info judges the module by its version.
    #[serde(default = "judged_by_tcb_info")]
    pub mrseam: Rule<Hex<48>>,
    /// MRSIGNERSEAM; by default any, because TCB info names it.
    #[serde(default = "judged_by_tcb_info")]
    pub mrsignerseam: Rule<Hex<48>>,
    /// MROWNER; by default any.
    #[serde(default = "unasked")]
    pub mrowner: Rule<Hex<48>>,
    /// MROWNERCONFIG; by default any.
    #[serde(default = "unasked")]
    pub mrownerconfig: Rule<Hex<48>>,
    /// TDATTRIBUTES.DEBUG; by default false.
    #[serde(default = "no")]
    pub debug: Rule<bool>,
    /// TDATTRIBUTES.MIGRATABLE; by default false.
    #[serde(default = "no")]
    pub migratable: Rule<bool>,
    /// TDATTRIBUTES.SEPT_VE_DISABLE; by default true.
    #[serde(default = "yes")]
    pub sept_ve_disable: Rule<bool>,
    /// TDATTRIBUTES.PERFMON; by default false.
    #[serde(default = "no")]
    pub perfmon: Rule<bool>,
    /// TDATTRIBUTES.KL; by default false.
    #[serde(default = "no")]
    pub key_locker: Rule<bool>,
    /// TDATTRIBUTES.PKS; by default any.
    #[serde(default = "unasked")]
    pub pks: Rule<bool>,
    /// MRSERVICETD, and the SERVTD_HASH at launch and now where the body has them; by default zero: no service TD.
    #[serde(default = "nothing")]
    pub service_td: Rule<Hex<48>>,
    /// VMID: which VM inside the TD asked for the quote. By default 0, the TD itself or its L1; other body types have none.
    #[serde(default = "first")]
    pub vmid: Rule<u8>,
    /// XFAM as its eight bytes stand; by default any that keeps the fixed bits.
    #[serde(default = "unasked")]
    pub xfam: Rule<Hex<8>>,
    /// Events that must be in the replayed event log; by default none, and no log is asked for.
    #[serde(default)]
    pub event: Vec<TdxEvent>,
    /// Guests of bundles of which more than one field was taken.
    #[serde(skip)]
    pub(crate) guests: Vec<ReferenceGuests>,
}

const fn no() -> Rule<bool> {
    Rule::Exactly(false)
}

const fn yes() -> Rule<bool> {
    Rule::Exactly(true)
}

const fn first() -> Rule<u8> {
    Rule::Exactly(0)
}

const fn nothing() -> Rule<Hex<48>> {
    Rule::Exactly(Hex([0; 48]))
}

const fn intel() -> Rule<Hex<16>> {
    Rule::Exactly(Hex(INTEL_QE_VENDOR))
}

const fn up_to_date() -> Rule<TcbStatus> {
    Rule::Exactly(TcbStatus::UpToDate)
}

fn whichever() -> Machines<16> {
    Machines::any("the policy does not ask for it")
}

fn unasked<T>() -> Rule<T> {
    Rule::any("the policy does not ask for it")
}

fn judged_by_tcb_info<T>() -> Rule<T> {
    Rule::any("the TCB info judges the module")
}

fn bounded_by_dates<T>() -> Floor<T> {
    Floor::any("the collateral's own dates bound its age")
}

fn ends_with_next_update() -> Ceiling<u64> {
    Ceiling::any("the collateral's own dates bound its age")
}

impl TdxPolicy {
    pub(super) fn platform_defaults(because: &str) -> Self {
        Self {
            mrtd: Rule::any(because),
            rtmr0: Rule::any(because),
            rtmr1: Rule::any(because),
            rtmr2: Rule::any(because),
            rtmr3: Rule::any(because),
            deployment: Rule::any(because),
            ppid: Machines::any(because),
            platform_instance: whichever(),
            fmspc: unasked(),
            dynamic_platform: unasked(),
            cached_keys: unasked(),
            smt: unasked(),
            tcb_status: up_to_date(),
            tcb_evaluation: bounded_by_dates(),
            collateral_age: ends_with_next_update(),
            crl_number: bounded_by_dates(),
            crl_age: ends_with_next_update(),
            root_crl_number: bounded_by_dates(),
            root_crl_age: ends_with_next_update(),
            qe_vendor: intel(),
            mrseam: judged_by_tcb_info(),
            mrsignerseam: judged_by_tcb_info(),
            mrowner: unasked(),
            mrownerconfig: unasked(),
            debug: no(),
            migratable: no(),
            sept_ve_disable: yes(),
            perfmon: no(),
            key_locker: no(),
            pks: unasked(),
            service_td: nothing(),
            vmid: first(),
            xfam: unasked(),
            event: Vec::new(),
            guests: Vec::new(),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let registers = [&self.mrtd, &self.rtmr0, &self.rtmr1, &self.rtmr2, &self.rtmr3, &self.service_td];
        let others = [&self.mrseam, &self.mrsignerseam, &self.mrowner, &self.mrownerconfig];
        let machines = [&self.ppid, &self.platform_instance];
        let switches =
            [&self.debug, &self.migratable, &self.sept_ve_disable, &self.perfmon, &self.key_locker, &self.pks];
        let configuration = [&self.dynamic_platform, &self.cached_keys, &self.smt];
        let ages = [&self.collateral_age, &self.crl_age, &self.root_crl_age];
        let numbers = [&self.crl_number, &self.root_crl_number];
        let more = [
            self.deployment.is_sound(),
            self.qe_vendor.is_sound(),
            self.fmspc.is_sound(),
            self.tcb_status.is_sound(),
            self.tcb_evaluation.is_sound(),
            self.xfam.is_sound(),
            self.vmid.is_sound(),
            self.event.iter().all(TdxEvent::is_sound),
        ];
        registers.into_iter().chain(others).all(Rule::is_sound)
            && machines.into_iter().all(Machines::is_sound)
            && switches.into_iter().chain(configuration).all(Rule::is_sound)
            && ages.into_iter().all(Ceiling::is_sound)
            && numbers.into_iter().all(Floor::is_sound)
            && more.into_iter().all(|sound| sound)
    }

    /// Refuses a section that names `Revoked` as a status to accept.
    pub(super) fn verify_statuses(&self) -> Result<()> {
        if self.tcb_status.is_fixed() && self.tcb_status.allows(&TcbStatus::Revoked) {
            return Err(Refusal::new(Code::PolicyInvalid, "tdx.tcb-status").got("Revoked").want("another status"));
        }
        Ok(())
    }

    /// Refuses a section that leaves MRTD, RTMR1, RTMR2 or the deployment document open (`no-reference-values`).
    pub(crate) fn fixes_software(&self) -> Result<()> {
        self.fixes_measurement("tdx")?;
        if self.deployment.is_fixed() { Ok(()) } else { Err(unfixed_value("tdx.deployment")) }
    }

    /// The same of the registers alone; `section` is where these rules stand.
    pub(super) fn fixes_measurement(&self, section: &str) -> Result<()> {
        let registers = [("mrtd", &self.mrtd), ("rtmr1", &self.rtmr1), ("rtmr2", &self.rtmr2)];
        let open = registers.into_iter().find(|(_, rule)| !rule.is_fixed());
        open.map_or(Ok(()), |(name, _)| Err(unfixed_value(&format!("{section}.{name}"))))
    }
}

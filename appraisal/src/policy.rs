//! The appraisal policy: one typed TOML document, the same for command line, verifier and client.
//!
//! ```toml
//! version = 1
//! [snp]
//! measurement = { one-of = ["<96 hex digits>"] }
//! deployment  = { exactly = "<64 hex digits>" }                  # HOST_DATA: SHA-256 of the deployment document
//! tcb         = { at-least = { bootloader = 3, tee = 0, snp = 8, microcode = 115 } }
//! product     = { exactly = "Milan" }                              # goes with every floor
//! chip        = { any = { because = "any machine of our provider" } }
//! # with these defaults:
//! # debug = { exactly = false }   vmpl = { exactly = 0 }   migration-agent = { exactly = false }
//! # revocation-list = { exactly = true }                         # a current CRL must be given
//! # provider: absent, only a VCEK may have signed; else whose VLEK may, by its cspID
//! # committed-tcb, current-tcb, launch-tcb: absent, as `tcb`; and what else has a default, see `SnpPolicy`
//! [tdx]                                                          # a policy has a section for at least one platform
//! mrtd        = { one-of = ["<96 hex digits>"] }
//! rtmr0       = { any = { because = "the host's ACPI tables differ from machine to machine" } }
//! rtmr1       = { exactly = "<96 hex digits>" }
//! rtmr2       = { exactly = "<96 hex digits>" }
//! deployment  = { exactly = "<64 hex digits>" }                  # MRCONFIGID: these 32 bytes and 16 zero bytes
//! ppid        = { any = { because = "any machine of our provider" } }
//! # and what has a default, see `TdxPolicy`
//! [[tdx.event]]                                                  # must be in the event log, which must be given
//! rtmr   = 1
//! type   = "EV_EFI_BOOT_SERVICES_APPLICATION"                    # or its number
//! digest = { one-of = ["<96 hex digits>"] }
//! [azure-snp-vtpm]                                               # and [azure-tdx-vtpm], see `AzurePolicy`
//! # any of `measurement`, `deployment`, `product`, the TCB floors, `mrtd`, `rtmr0` to `rtmr3` and `tcb-evaluation` may say
//! # `{ reference-values = "<name>" }` and then takes its value from a bundle of [[reference-values]]: see `ReferenceSource`
//! [model]                                                        # what a client expects to be served
//! manifest = { one-of = ["sha256:<64 hex digits>"] }
//! signer   = { one-of = ["<SHA-256 of a signing key's SPKI>"] }
//! ```
//!
//! Nothing is unset and therefore skipped: what has no safe default must be given, and `any` says because.

mod azure;
mod event;
mod guests;
mod machines;
mod rule;
mod snp;
mod tdx;

use serde::Deserialize;
use std::collections::BTreeSet;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Check, Code, Refusal, Result, document, limits};

use crate::UnixTime;
use crate::inventory::{Inventories, InventorySource};
use crate::reference_values::{Bundles, ReferenceSource, unnamed};
use crate::window::Validity;
pub use azure::{AzurePolicy, Pcr};
pub use event::TdxEvent;
pub(crate) use guests::ReferenceGuests;
pub use machines::{Listing, Machines};
pub(crate) use rule::OciDigest;
pub use rule::{Ceiling, Floor, Hex, Rule};
pub use snp::{Abi, BitSet, Firmware, SnpPolicy};
pub use tdx::TdxPolicy;

/// A whole policy.
#[derive(Debug, Clone)]
pub struct Policy {
    document: Document,
    digest: Sha256,
    /// When the documents are valid that it took values and machines from.
    taken: Vec<Validity>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    snp: Option<SnpPolicy>,
    #[serde(default)]
    tdx: Option<TdxPolicy>,
    #[serde(default)]
    azure_snp_vtpm: Option<AzurePolicy<SnpPolicy>>,
    #[serde(default)]
    azure_tdx_vtpm: Option<AzurePolicy<TdxPolicy>>,
    #[serde(default)]
    model: Option<ModelPolicy>,
    #[serde(default)]
    reference_values: Vec<ReferenceSource>,
    #[serde(default)]
    inventory: Vec<InventorySource>,
}

/// The sections that speak of guests.
#[derive(Debug, Default)]
pub(crate) struct Platforms {
    pub(crate) snp: Option<SnpPolicy>,
    pub(crate) tdx: Option<TdxPolicy>,
    pub(crate) azure_snp_vtpm: Option<AzurePolicy<SnpPolicy>>,
    pub(crate) azure_tdx_vtpm: Option<AzurePolicy<TdxPolicy>>,
}

/// What an enclave must serve. Every model that it serves must satisfy it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelPolicy {
    /// Digest of the manifest.
    #[serde(default = "unfixed")]
    pub manifest: Rule<OciDigest>,
    /// A key that the deployment's trust file demands a signature of: SHA-256 of its SubjectPublicKeyInfo.
    #[serde(default = "unfixed")]
    pub signer: Rule<Sha256>,
}

fn unfixed<T>() -> Rule<T> {
    Rule::any("the other field fixes it")
}

impl Policy {
    /// Parses a policy document of at most [`limits::POLICY`] bytes, with a section for at least one platform.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        let document: Document = document::parse_toml(toml, "policy", limits::POLICY, Code::PolicyInvalid)?;
        Self::sound(document, Sha256::of(toml))
    }

    /// The policy of these sections, which stand in a document of that digest beside others.
    pub(crate) fn of_platforms(
        version: u32,
        platforms: Platforms,
        (reference_values, inventory): (Vec<ReferenceSource>, Vec<InventorySource>),
        digest: Sha256,
    ) -> Result<Self> {
        let Platforms { snp, tdx, azure_snp_vtpm, azure_tdx_vtpm } = platforms;
        let platforms = Document { snp, tdx, azure_snp_vtpm, azure_tdx_vtpm, ..Document::default() };
        Self::sound(Document { version, reference_values, inventory, ..platforms }, digest)
    }

    /// The policy whose fields took the values that `bundles` gives, under a digest that covers them.
    pub(crate) fn taking_from(
        &self,
        bundles: &Bundles<'_>,
        validity: impl IntoIterator<Item = Validity>,
        digest: Sha256,
    ) -> Result<Self> {
        let mut document = self.document.clone();
        document.take(bundles)?;
        document.reference_values.clear();
        let taken = self.taken.iter().cloned().chain(validity).collect();
        Ok(Self { taken, ..Self::sound(document, digest)? })
    }

    /// Whether each document that it took something from is valid at the moment of an appraisal. A policy may be kept for
    /// longer than they are.
    pub(crate) fn validity_checks(&self, at: UnixTime) -> impl Iterator<Item = Check> {
        self.taken.iter().map(move |validity| validity.check(at))
    }

    fn sound(document: Document, digest: Sha256) -> Result<Self> {
        // What takes its value later is sound where it may; then it is looked at again.
        let mut taken = document.clone();
        taken.take(&|name| document.source(name).map(|_| None))?;
        taken.verify_sound()?;
        Ok(Self { document, digest, taken: Vec::new() })
    }

    /// What is demanded of a platform where nobody wrote a policy: no debugging, VMPL 0, no migration agent, TDX status
    /// UpToDate and the safe attributes of a TD. It does not judge software, so its verdict is at most *authentic*.
    pub fn platform_defaults() -> Self {
        let because = "the platform's defaults do not judge this";
        let snp = Some(SnpPolicy::platform_defaults(because));
        let tdx = Some(TdxPolicy::platform_defaults(because));
        Self {
            document: Document { version: 1, snp, tdx, ..Document::default() },
            digest: Sha256::of(b"platform defaults"),
            taken: Vec::new(),
        }
    }

    /// SHA-256 of the document's bytes.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// What it says of SNP guests. Without that section no SNP guest is accepted.
    pub const fn snp(&self) -> Option<&SnpPolicy> {
        self.document.snp.as_ref()
    }

    /// What it says of trust domains. Without that section no trust domain is accepted.
    pub const fn tdx(&self) -> Option<&TdxPolicy> {
        self.document.tdx.as_ref()
    }

    /// What it says of Azure's guests on SNP. Without that section none is accepted.
    pub const fn azure_snp(&self) -> Option<&AzurePolicy<SnpPolicy>> {
        self.document.azure_snp_vtpm.as_ref()
    }

    /// What it says of Azure's guests on TDX. Without that section none is accepted.
    pub const fn azure_tdx(&self) -> Option<&AzurePolicy<TdxPolicy>> {
        self.document.azure_tdx_vtpm.as_ref()
    }

    /// The bundles that it takes values from.
    pub fn reference_sources(&self) -> &[ReferenceSource] {
        &self.document.reference_values
    }

    /// The inventories that it takes machines from.
    pub fn inventory_sources(&self) -> &[InventorySource] {
        &self.document.inventory
    }

    /// The policy with the machines of `inventories`, under a digest that covers them.
    pub(crate) fn listing(&self, inventories: &Inventories<'_>, digest: Sha256) -> Self {
        let mut document = self.document.clone();
        document.list(inventories);
        document.inventory.clear();
        let taken = self.taken.iter().cloned().chain(inventories.values().map(|one| one.validity())).collect();
        Self { document, digest, taken }
    }

    /// What it says of models.
    pub const fn model(&self) -> Option<&ModelPolicy> {
        self.document.model.as_ref()
    }

    /// Refuses a policy that leaves measurement or deployment document open on a platform that it names
    /// (`no-reference-values`).
    pub fn fixes_software(&self) -> Result<()> {
        self.snp().map_or(Ok(()), SnpPolicy::fixes_software)?;
        self.tdx().map_or(Ok(()), TdxPolicy::fixes_software)?;
        self.azure_snp().map_or(Ok(()), AzurePolicy::<SnpPolicy>::fixes_software)?;
        self.azure_tdx().map_or(Ok(()), AzurePolicy::<TdxPolicy>::fixes_software)
    }

    /// Refuses a policy that fixes neither digest nor signer of the models (`no-reference-values`).
    pub fn fixes_model(&self) -> Result<()> {
        let fixed = self.model().is_some_and(|model| model.manifest.is_fixed() || model.signer.is_fixed());
        if fixed { Ok(()) } else { Err(unfixed_value("model")) }
    }

    /// The check of evidence from a platform that this policy has no section for.
    pub(crate) fn platform_not_named(&self, platform: &str) -> Check {
        let named: Vec<&str> = self.document.platforms().collect();
        Check::new("platform", false, Code::PlatformNotApproved, platform, named.join(" or "))
    }
}

impl Document {
    const PLATFORMS: [&str; 4] = ["snp", "tdx", "azure-snp-vtpm", "azure-tdx-vtpm"];

    /// Refuses what says nothing, or not what it seems to.
    fn verify_sound(&self) -> Result<()> {
        if self.version != 1 {
            return Err(Refusal::new(Code::PolicyInvalid, "policy version").got(self.version).want(1));
        }
        if self.platforms().next().is_none() {
            let want = format!("a section [{}]", Document::PLATFORMS.join("] or ["));
            return Err(Refusal::new(Code::PolicyInvalid, "policy").got("no platform").want(want));
        }
        let (azure_snp, azure_tdx) = (self.azure_snp_vtpm.as_ref(), self.azure_tdx_vtpm.as_ref());
        let azure = azure_snp.is_none_or(AzurePolicy::is_sound) && azure_tdx.is_none_or(AzurePolicy::is_sound);
        let snp = self.snp_rules().all(SnpPolicy::is_sound);
        let tdx = self.tdx_rules().all(TdxPolicy::is_sound);
        let model = self.model.as_ref().is_none_or(|model| model.manifest.is_sound() && model.signer.is_sound());
        let names: BTreeSet<&str> = self.reference_values.iter().map(|source| source.name.as_str()).collect();
        if names.len() != self.reference_values.len() {
            let refusal = Refusal::new(Code::PolicyInvalid, "[[reference-values]]");
            return Err(refusal.got("one name twice").want("distinct names"));
        }
        self.verify_inventories()?;
        let sources = self.reference_values.iter().all(ReferenceSource::is_sound);
        if snp && tdx && azure && model && sources {
            self.tdx_rules().try_for_each(TdxPolicy::verify_statuses)?;
            return Ok(());
        }
        Err(Refusal::new(Code::PolicyInvalid, "policy")
            .got("an empty `one-of` or `because`, a floor without `product = { exactly = … }`, an event without RTMR or digest, \
                  or a PCR of the boot chain that is not given"))
    }

    /// Refuses inventories of one name, and machines of an inventory that has no entry.
    fn verify_inventories(&self) -> Result<()> {
        let names: BTreeSet<&str> = self.inventory.iter().map(|source| source.name.as_str()).collect();
        if names.len() != self.inventory.len() || !self.inventory.iter().all(InventorySource::is_sound) {
            let refusal = Refusal::new(Code::PolicyInvalid, "[[inventory]]");
            return Err(refusal.got("one name twice, or an empty `because`").want("distinct names"));
        }
        let chips = self.snp_rules().filter_map(|snp| snp.chip.inventory());
        let platforms = self.tdx_rules().flat_map(|tdx| [tdx.ppid.inventory(), tdx.platform_instance.inventory()]);
        match chips.chain(platforms.flatten()).find(|name| !names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Refusal::new(Code::PolicyInvalid, format!("inventory `{name}`"))
                .got("no entry")
                .want("an entry of [[inventory]] that says who signs it")),
        }
    }

    fn list(&mut self, inventories: &Inventories<'_>) {
        let azure_snp = self.azure_snp_vtpm.iter_mut().map(|section| &mut section.hardware);
        for snp in self.snp.iter_mut().chain(azure_snp) {
            snp.chip.list(|name| Some(inventories.get(name)?.ids(|machine| machine.chip)));
        }
        let azure_tdx = self.azure_tdx_vtpm.iter_mut().map(|section| &mut section.hardware);
        for tdx in self.tdx.iter_mut().chain(azure_tdx) {
            tdx.ppid.list(|name| Some(inventories.get(name)?.ids(|machine| machine.ppid)));
            tdx.platform_instance.list(|name| Some(inventories.get(name)?.ids(|machine| machine.platform_instance)));
        }
    }

    /// The bundle of that name.
    fn source(&self, name: &str) -> Result<&ReferenceSource> {
        self.reference_values.iter().find(|source| source.name == name).ok_or_else(|| unnamed(name))
    }

    fn take(&mut self, bundles: &Bundles<'_>) -> Result<()> {
        let azure_snp = self.azure_snp_vtpm.iter_mut().map(|section| &mut section.hardware);
        let azure_tdx = self.azure_tdx_vtpm.iter_mut().map(|section| &mut section.hardware);
        self.snp.iter_mut().chain(azure_snp).try_for_each(|snp| snp.take(bundles))?;
        self.tdx.iter_mut().chain(azure_tdx).try_for_each(|tdx| tdx.take(bundles))
    }

    /// Those that have a section.
    fn platforms(&self) -> impl Iterator<Item = &'static str> {
        let azure = [self.azure_snp_vtpm.is_some(), self.azure_tdx_vtpm.is_some()];
        let named = [self.snp.is_some(), self.tdx.is_some()].into_iter().chain(azure);
        Self::PLATFORMS.into_iter().zip(named).filter_map(|(name, named)| named.then_some(name))
    }

    /// What it says of SNP, with a paravisor or without.
    fn snp_rules(&self) -> impl Iterator<Item = &SnpPolicy> {
        self.snp.iter().chain(self.azure_snp_vtpm.iter().map(|section| &section.hardware))
    }

    /// What it says of TDX, with a paravisor or without.
    fn tdx_rules(&self) -> impl Iterator<Item = &TdxPolicy> {
        self.tdx.iter().chain(self.azure_tdx_vtpm.iter().map(|section| &section.hardware))
    }
}

fn unfixed_value(name: &str) -> Refusal {
    Refusal::new(Code::NoReferenceValues, format!("policy does not fix `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_platforms_are_a_sound_policy() {
        assert_eq!(Policy::platform_defaults().document.verify_sound(), Ok(()));
    }

    #[test]
    fn model_of_sound_rules_accepted_and_one_of_a_rule_that_nothing_satisfies_refused() {
        let any = "{ any = { because = \"test\" } }";
        let exactly = |kind: &str| format!("{{ exactly = \"{kind}{}\" }}", "00".repeat(32));
        let (digest, key, none) = (exactly("sha256:"), exactly(""), "{ one-of = [] }");
        let code = |manifest: &str, signer: &str| {
            let snp =
                format!("version = 1\n[snp]\nmeasurement = {any}\ndeployment = {any}\ntcb = {any}\nchip = {any}\n");
            let text = format!("{snp}[model]\nmanifest = {manifest}\nsigner = {signer}\n");
            Policy::parse(text.as_bytes()).err().map(|refusal| refusal.code)
        };
        assert_eq!(code(&digest, &key), None);
        assert_eq!(code(none, &key), Some(Code::PolicyInvalid));
        assert_eq!(code(&digest, none), Some(Code::PolicyInvalid));
    }
}

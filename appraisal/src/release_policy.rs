//! The release policy of one key: the appraisal policy of the guests that may have it, and who must have signed the model
//! that it opens.
//!
//! ```toml
//! version = 1
//! [snp]                              # as in every appraisal policy; measurement and deployment must be fixed
//! measurement = { one-of = ["…"] }
//! deployment = { exactly = "…" }
//! tcb = { at-least = { bootloader = 3, tee = 0, snp = 8, microcode = 115 } }
//! product = { exactly = "Milan" }
//! chip = { any = { because = "…" } }
//! [release]                          # how often the key may be released; absent: as often as it is asked for
//! rate = "10/minute"
//! max-releases = 1000                # ever
//! [[release.trust.rule]]             # a trust file
//! repository = "registry.example/models/*"
//! [[release.trust.rule.signer]]
//! name = "release"
//! key = "-----BEGIN PUBLIC KEY----- …"
//! ```
//!
//! It has no section `[model]`: which models count is decided by their signers.

use crate::UnixTime;
use crate::allowance::{Allowance, Rate};
use crate::inventory::{InventorySource, VerifiedInventory};
use crate::policy::{AzurePolicy, Platforms, Policy, SnpPolicy, TdxPolicy};
use crate::reference_values::{ReferenceSource, VerifiedReferenceValues};
use serde::Deserialize;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// A parsed release policy that fixes measurement and deployment document and names signers. Whether their keys are keys is
/// not looked at here, where no signature of a model is verified.
#[derive(Debug, Clone)]
pub struct ReleasePolicy {
    appraisal: Policy,
    trust: TrustFile,
    allowance: Allowance,
}

#[derive(Deserialize)]
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
    reference_values: Vec<ReferenceSource>,
    #[serde(default)]
    inventory: Vec<InventorySource>,
    release: Release,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Release {
    trust: TrustFile,
    #[serde(default)]
    rate: Option<String>,
    #[serde(default)]
    max_releases: Option<u64>,
}

impl ReleasePolicy {
    /// Parses a document of at most [`limits::POLICY`] bytes.
    ///
    /// # Errors
    /// `policy-invalid`, `unknown-field`; `no-reference-values`: measurement or deployment is left open; `too-large`.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        let document: Document = document::parse_toml(toml, "release policy", limits::POLICY, Code::PolicyInvalid)?;
        let Document { version, snp, tdx, azure_snp_vtpm, azure_tdx_vtpm, reference_values, inventory, release } =
            document;
        let Release { trust, rate, max_releases: most } = release;
        let allowance = Allowance { rate: rate.as_deref().map(Rate::parse).transpose()?, most };
        let platforms = Platforms { snp, tdx, azure_snp_vtpm, azure_tdx_vtpm };
        trust.verify_shape().map_err(|refusal| Refusal { code: Code::PolicyInvalid, ..refusal })?;
        // A document does not contain its own digest, and no other one's promotions count here.
        if trust.rules.iter().any(|rule| rule.promotion.as_ref().is_some_and(|promotion| promotion.policy.is_some())) {
            return Err(Refusal::new(Code::PolicyInvalid, "promotion of a release policy")
                .got("`policy`")
                .want("none: a promotion that names a policy must name this one anyway"));
        }
        let appraisal = Policy::of_platforms(version, platforms, (reference_values, inventory), Sha256::of(toml))?;
        appraisal.fixes_software()?;
        Ok(Self { appraisal, trust, allowance })
    }

    /// The release policy with every value and machine that it takes from signed documents
    /// ([`Policy::with_reference_values`], [`Policy::with_inventories`]): those of `reference_values` and `inventories` that
    /// were verified for sources of the same names and signers as its own. Dates and versions are judged at `now`, whenever
    /// they were verified. Which versions were seen is for the caller to compare.
    ///
    /// # Errors
    /// [`crate::SignedDocument::CODES`]: one is not given, not yet or no longer valid; the code of
    /// [`crate::SignedDocument::SEEN`]: below the policy's version; `policy-invalid`: the values make no sound policy.
    pub fn with_documents(
        &self,
        reference_values: &[&VerifiedReferenceValues],
        inventories: &[&VerifiedInventory],
        now: UnixTime,
    ) -> Result<Self> {
        let appraisal = self.appraisal.with_verified_inventories(inventories, now)?;
        let appraisal = appraisal.with_verified_values(reference_values, now)?;
        Ok(Self { appraisal, ..self.clone() })
    }

    /// What a guest and its platform must be.
    pub const fn appraisal(&self) -> &Policy {
        &self.appraisal
    }

    /// Who must have signed the model.
    pub const fn trust(&self) -> &TrustFile {
        &self.trust
    }

    /// How often the key may be released.
    pub const fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// SHA-256 of the whole document.
    pub const fn digest(&self) -> Sha256 {
        self.appraisal.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        format!(
            "version = 1\n[snp]\nmeasurement = {{ exactly = \"{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n\
             [[release.trust.rule]]\nrepository = \"r:1/models/*\"\n\
             [[release.trust.rule.signer]]\nname = \"a\"\nkey = \"k\"\n",
            "00".repeat(48),
            "00".repeat(32),
        )
    }

    fn code(text: &str) -> Option<Code> {
        ReleasePolicy::parse(text.as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn policy_that_fixes_software_and_names_signers_accepted() {
        let policy = ReleasePolicy::parse(text().as_bytes()).unwrap();
        assert_eq!(policy.digest(), Sha256::of(text().as_bytes()));
        assert!(policy.appraisal().snp().is_some() && policy.appraisal().tdx().is_none());
        assert!(policy.trust().rule_for("r:1/models/a").is_ok());
    }

    #[test]
    fn policy_that_leaves_measurement_or_deployment_open_refused() {
        for open in ["measurement", "deployment"] {
            let left_open = |line: &str| match line.starts_with(open) {
                true => format!("{open} = {{ any = {{ because = \"test\" }} }}\n"),
                false => format!("{line}\n"),
            };
            let text: String = text().lines().map(left_open).collect();
            assert_eq!(code(&text), Some(Code::NoReferenceValues), "{open}");
        }
    }

    #[test]
    fn policy_says_how_often_a_key_may_be_released_or_does_not() {
        let parse = |more: &str| {
            ReleasePolicy::parse(
                text().replace("[[release.trust.rule]]", &format!("{more}[[release.trust.rule]]")).as_bytes(),
            )
        };
        assert_eq!(*parse("").unwrap().allowance(), Allowance::default());
        let allowance = *parse("[release]\nrate = \"10/minute\"\nmax-releases = 7\n").unwrap().allowance();
        assert_eq!(allowance, Allowance { rate: Some(Rate { most: 10, seconds: 60 }), most: Some(7) });
        for bad in ["rate = \"0/minute\"", "rate = 10", "max-releases = -1", "max-releases = \"7\""] {
            assert_eq!(parse(&format!("[release]\n{bad}\n")).unwrap_err().code, Code::PolicyInvalid, "{bad}");
        }
    }

    #[test]
    fn policy_without_signers_or_with_other_sections_refused() {
        let text = text();
        let (appraisal, release) = text.split_once("[[release").unwrap();
        assert_eq!(code(appraisal), Some(Code::PolicyInvalid));
        assert_eq!(code(&format!("{appraisal}[release]\ntrust = {{ rule = [] }}\n")), Some(Code::PolicyInvalid));
        assert_eq!(code(&format!("version = 1\n[[release{release}")), Some(Code::PolicyInvalid));
        assert_eq!(code(&format!("{text}[release.more]\n")), Some(Code::UnknownField));
        assert_eq!(code(&format!("{text}[other]\n")), Some(Code::UnknownField));
        assert_eq!(code(&format!("{text}[model]\n")), Some(Code::UnknownField));
        let promotion = "[release.trust.rule.promotion]\nenvironment = \"production\"\n";
        let promoter = "[[release.trust.rule.promotion.promoter]]\nname = \"b\"\nkey = \"l\"\n";
        assert_eq!(code(&format!("{text}{promotion}{promoter}")), None);
        let named = format!("policy = \"{}\"\n", "00".repeat(32));
        assert_eq!(code(&format!("{text}{promotion}{named}{promoter}")), Some(Code::PolicyInvalid));
        assert_eq!(code(&text.replace("version = 1", "version = 2")), Some(Code::PolicyInvalid));
        assert_eq!(code(&text.replace("because = \"test\"", "because = \"\"")), Some(Code::PolicyInvalid));
    }
}

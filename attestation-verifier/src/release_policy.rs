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
//! [[release.trust.rule]]             # a trust file
//! repository = "registry.example/models/*"
//! [[release.trust.rule.signer]]
//! name = "release"
//! key = "-----BEGIN PUBLIC KEY----- …"
//! ```

use serde::Deserialize;
use strongroom_appraisal::Policy;
use strongroom_artifact::PublicKey;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// A parsed release policy that fixes measurement and deployment document and names signers.
#[derive(Debug, Clone)]
pub struct ReleasePolicy {
    appraisal: Policy,
    trust: TrustFile,
    digest: Sha256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    trust: TrustFile,
}

impl ReleasePolicy {
    /// Parses a document of at most [`limits::POLICY`] bytes.
    ///
    /// # Errors
    /// `policy-invalid`, `unknown-field`; `no-reference-values`: measurement or deployment is left open; `too-large`.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        let what = "release policy";
        let mut sections: toml::Table = document::parse_toml(toml, what, limits::POLICY, Code::PolicyInvalid)?;
        let release = sections.remove("release");
        let release = release.ok_or_else(|| Refusal::new(Code::PolicyInvalid, what).want("a section [release]"))?;
        if sections.contains_key("model") {
            return Err(Refusal::new(Code::PolicyInvalid, what)
                .got("a section [model]")
                .want("[release.trust]: which models count is decided by their signers"));
        }
        let Release { trust } = section(&release, "[release]")?;
        trust.verify_shape().map_err(|refusal| Refusal { code: Code::PolicyInvalid, ..refusal })?;
        for signer in trust.rules.iter().flat_map(|rule| rule.signers.iter().chain(&rule.statement_signers)) {
            PublicKey::from_pem(signer.key.as_bytes()).map_err(|refusal| {
                Refusal { code: Code::PolicyInvalid, ..refusal }.within(format!("signer `{}`", signer.name))
            })?;
        }
        let appraisal = Policy::parse(&rendered(&sections)?)?;
        appraisal.fixes_software()?;
        Ok(Self { appraisal, trust, digest: Sha256::of(toml) })
    }

    /// What a guest and its platform must be.
    pub const fn appraisal(&self) -> &Policy {
        &self.appraisal
    }

    /// Who must have signed the model.
    pub const fn trust(&self) -> &TrustFile {
        &self.trust
    }

    /// SHA-256 of the whole document.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }
}

fn section<T: serde::de::DeserializeOwned>(value: &toml::Value, name: &str) -> Result<T> {
    document::parse_toml(&rendered(value)?, name, limits::POLICY.saturating_mul(2), Code::PolicyInvalid)
}

fn rendered<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    toml::to_string(value)
        .map(String::into_bytes)
        .map_err(|e| Refusal::new(Code::PolicyInvalid, "release policy").because(e))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use strongroom_artifact::SigningKey;

    /// A policy that fixes one measurement, by its first byte.
    pub(crate) fn policy_text(first: u8) -> String {
        let key = SigningKey::generate().unwrap().public().pem();
        format!(
            "version = 1\n[snp]\nmeasurement = {{ exactly = \"{first:02x}{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n\
             [[release.trust.rule]]\nrepository = \"r:1/models/*\"\n\
             [[release.trust.rule.signer]]\nname = \"a\"\nkey = \"\"\"{key}\"\"\"\n",
            "00".repeat(47),
            "00".repeat(32),
        )
    }

    fn code(text: &str) -> Option<Code> {
        ReleasePolicy::parse(text.as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn policy_that_fixes_software_and_names_signers_accepted() {
        let text = policy_text(1);
        let policy = ReleasePolicy::parse(text.as_bytes()).unwrap();
        assert_eq!(policy.digest(), Sha256::of(text.as_bytes()));
        assert!(policy.trust().rule_for("r:1/models/a").is_ok());
    }

    #[test]
    fn policy_that_leaves_measurement_or_deployment_open_refused() {
        for open in ["measurement", "deployment"] {
            let text: String = policy_text(1)
                .lines()
                .map(|line| match line.starts_with(open) {
                    true => format!("{open} = {{ any = {{ because = \"test\" }} }}\n"),
                    false => format!("{line}\n"),
                })
                .collect();
            assert_eq!(code(&text), Some(Code::NoReferenceValues), "{open}");
        }
    }

    #[test]
    fn policy_without_signers_or_with_other_sections_refused() {
        let text = policy_text(1);
        let (appraisal, _) = text.split_once("[[release").unwrap();
        assert_eq!(code(appraisal), Some(Code::PolicyInvalid));
        assert_eq!(code(&format!("{appraisal}[release]\ntrust = {{ rule = [] }}\n")), Some(Code::PolicyInvalid));
        assert_eq!(code(&format!("{text}[release.more]\n")), Some(Code::UnknownField));
        assert_eq!(code(&format!("{text}[other]\n")), Some(Code::UnknownField));
        assert_eq!(code(&format!("{text}[model]\n")), Some(Code::PolicyInvalid));
        assert_eq!(code(&text.replace("BEGIN PUBLIC", "BEGIN SECRET")), Some(Code::PolicyInvalid));
        assert_eq!(code(&text.replace("version = 1", "version = 2")), Some(Code::PolicyInvalid));
    }
}

//! The trust file: who may sign which model. Never empty; part of the deployment document, and a file of its own for the
//! command line.
//!
//! ```toml
//! [[rule]]
//! repository = "registry.example/models/*"     # exact, or a prefix followed by `*`
//! threshold = 1                                # distinct signers of the manifest
//! forms = ["bundle", "sig"]                    # of cosign 3, of cosign 2; absent: both
//! statement = "required"                       # the OMS statement over the files; or "optional"; absent: required
//! [[rule.signer]]
//! name = "release"
//! key = """-----BEGIN PUBLIC KEY----- …"""     # PEM SubjectPublicKeyInfo
//! [[rule.signer]]
//! name = "workflow"                            # an identity in place of a key, or `subject-pattern` with `*` and `**`
//! identity = { issuer = "https://token.actions.githubusercontent.com", subject = "https://github.com/acme/models/…" }
//! [[rule.statement-signer]]                    # of the OMS statement over the files; absent: the signers above
//! name = "training"
//! key = """…"""
//! ```
//!
//! `[rule.promotion]` demands that a model was promoted to an environment ([`PromotionRule`]); absent, it need not be.
//! `trusted-root`, before the rules, is Sigstore's `trusted_root.json` as text: who vouches for identities, logs and times.
//! Absent, it is the public instance's, as it is built in.

mod promotion;
mod signer;

use crate::{Code, Refusal, Result, document, limits};
pub use promotion::{Environment, PromotionRule};
use serde::{Deserialize, Serialize};
pub use signer::{Identity, SignedBy, Signer};
use std::collections::BTreeSet;

/// A whole trust file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    /// Sigstore's trusted root (`trusted_root.json`) for the identities of all rules. Absent: the public instance's.
    #[serde(rename = "trusted-root", default, skip_serializing_if = "Option::is_none")]
    pub trusted_root: Option<String>,
    /// The rules, of which the first that covers a repository decides. None may stand behind one that covers all of it.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// Who may sign the models of some repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// `host[:port]/repo`, or a prefix of it that ends in `/*`.
    pub repository: String,
    /// How many distinct signers must have signed the manifest. At least one.
    #[serde(default = "one")]
    pub threshold: usize,
    /// The forms in which the manifest may be signed. Not empty.
    #[serde(default = "all_forms", skip_serializing_if = "is_all_forms")]
    pub forms: Vec<SignatureForm>,
    /// Whether there must be a statement over the files. One that is there must hold.
    #[serde(default, skip_serializing_if = "is_required")]
    pub statement: StatementDemand,
    /// Those who may sign the manifest.
    #[serde(rename = "signer")]
    pub signers: Vec<Signer>,
    /// Those who may sign the statement over the files. Empty: the same as [`Self::signers`].
    #[serde(rename = "statement-signer", default, skip_serializing_if = "Vec::is_empty")]
    pub statement_signers: Vec<Signer>,
    /// What the model must be promoted to. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionRule>,
}

/// A form of cosign's signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureForm {
    /// The bundle that refers to the manifest, of cosign 3.
    Bundle,
    /// The tag `sha256-<hex>.sig`, of cosign 1 and 2: by key alone.
    Sig,
}

/// Whether a model must have a signed statement over its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatementDemand {
    /// It must.
    #[default]
    Required,
    /// It need not: the signature over the manifest, which names every file's digest as stored, is enough.
    Optional,
}

const fn one() -> usize {
    1
}

fn all_forms() -> Vec<SignatureForm> {
    vec![SignatureForm::Bundle, SignatureForm::Sig]
}

fn is_all_forms(forms: &[SignatureForm]) -> bool {
    [SignatureForm::Bundle, SignatureForm::Sig].iter().all(|form| forms.contains(form))
}

fn is_required(demand: &StatementDemand) -> bool {
    *demand == StatementDemand::Required
}

impl TrustFile {
    /// One with these rules, and the public instance of Sigstore for identities.
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self { trusted_root: None, rules }
    }

    /// Parses a trust file and refuses one that could never accept, or accepts nobody in particular.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file: Self = document::parse_toml(bytes, "trust file", limits::POLICY, Code::ConfigurationInvalid)?;
        file.verify_shape()?;
        Ok(file)
    }

    /// Refuses an empty file, a rule without signers, and a threshold that is zero or above the number of signers.
    pub fn verify_shape(&self) -> Result<()> {
        let wrong = |what: &str| Err(Refusal::new(Code::ConfigurationInvalid, format!("trust file: {what}")));
        if self.rules.is_empty() {
            return wrong("no rule: name at least one repository and its signers");
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let prefix = rule.repository.strip_suffix("/*").unwrap_or(&rule.repository);
            let earlier = self.rules.iter().take(at);
            if earlier.into_iter().any(|earlier| earlier.repository == rule.repository || earlier.covers(prefix)) {
                return wrong("a rule stands behind one that already covers its repository");
            }
            for signers in [&rule.signers, &rule.statement_signers] {
                verify_distinct(signers)?;
            }
            if let Some(promotion) = &rule.promotion {
                promotion.verify_shape()?;
            }
            if prefix.is_empty() || prefix.contains('*') {
                return wrong("a repository is `host/repo` or `host/prefix/*`");
            }
            if rule.forms.is_empty() {
                return wrong("a rule without a form of signatures accepts none");
            }
            if rule.threshold == 0 || rule.threshold > rule.signers.len() {
                return wrong("a threshold is at least 1 and at most the number of signers");
            }
        }
        Ok(())
    }

    /// The first rule that covers `host[:port]/repo`.
    pub fn rule_for(&self, repository: &str) -> Result<&Rule> {
        self.rules.iter().find(|rule| rule.covers(repository)).ok_or_else(|| {
            let known = self.rules.iter().map(|rule| rule.repository.as_str()).collect::<Vec<_>>().join(", ");
            Refusal::new(Code::RepositoryUntrusted, "repository").got(repository).want(known)
        })
    }
}

/// Refuses signers of whom two share a name, a key or an identity, and identities of anybody.
fn verify_distinct(signers: &[Signer]) -> Result<()> {
    let names: BTreeSet<&str> = signers.iter().map(|signer| signer.name.as_str()).collect();
    let others: BTreeSet<String> = signers.iter().map(Signer::sameness).collect();
    if names.len() < signers.len() || others.len() < signers.len() {
        let what = "trust file: two signers of a rule share a name, a key or an identity";
        return Err(Refusal::new(Code::ConfigurationInvalid, what));
    }
    for signer in signers {
        if let SignedBy::Identity(identity) = &signer.by {
            identity.verify_shape().map_err(|refusal| refusal.within(format!("signer `{}`", signer.name)))?;
        }
    }
    Ok(())
}

impl Rule {
    /// One signer of these is enough for `repository`, in any form, and for the statement that there must be.
    pub fn new(repository: impl Into<String>, signers: Vec<Signer>) -> Self {
        Self {
            repository: repository.into(),
            threshold: 1,
            forms: all_forms(),
            statement: StatementDemand::Required,
            signers,
            statement_signers: Vec::new(),
            promotion: None,
        }
    }

    /// Whether a signature of this form counts.
    pub fn allows(&self, form: SignatureForm) -> bool {
        self.forms.contains(&form)
    }

    fn covers(&self, repository: &str) -> bool {
        match self.repository.strip_suffix("/*") {
            Some(prefix) => repository.strip_prefix(prefix).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')),
            None => self.repository == repository,
        }
    }

    /// Those who may sign the statement over the files.
    pub fn statement_signers(&self) -> &[Signer] {
        if self.statement_signers.is_empty() { &self.signers } else { &self.statement_signers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rule: &str) -> Result<TrustFile> {
        TrustFile::parse(format!("[[rule]]\n{rule}\n[[rule.signer]]\nname='a'\nkey='k'\n").as_bytes())
    }

    #[test]
    fn prefix_covers_what_is_below_it_and_nothing_beside_it() {
        let file = file("repository = 'r:5000/models/*'").unwrap();
        assert!(file.rule_for("r:5000/models/a").is_ok());
        assert!(file.rule_for("r:5000/models/a/b").is_ok());
        for beside in ["r:5000/models", "r:5000/models/", "r:5000/models-evil/a", "q:5000/models/a"] {
            assert_eq!(file.rule_for(beside).unwrap_err().code, Code::RepositoryUntrusted, "{beside}");
        }
    }

    #[test]
    fn form_that_the_rule_does_not_name_counts_for_nothing() {
        let file = file("repository = 'r/a'\nforms = ['bundle']").unwrap();
        assert!(file.rules[0].allows(SignatureForm::Bundle) && !file.rules[0].allows(SignatureForm::Sig));
    }

    #[test]
    fn statement_is_signed_by_its_own_signers_or_by_those_of_the_manifest() {
        let names = |more: &str| {
            let text = format!("[[rule]]\nrepository='h/a'\n[[rule.signer]]\nname='a'\nkey='k'\n{more}");
            let file = TrustFile::parse(text.as_bytes()).unwrap();
            file.rules[0].statement_signers().iter().map(|signer| signer.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["a"]);
        assert_eq!(names("[[rule.statement-signer]]\nname='b'\nkey='l'\n"), ["b"]);
    }

    #[test]
    fn exact_repository_covers_only_itself() {
        let file = file("repository = 'r/a'").unwrap();
        assert!(file.rule_for("r/a").is_ok());
        assert_eq!(file.rule_for("r/a/b").unwrap_err().code, Code::RepositoryUntrusted);
    }

    #[test]
    fn rule_behind_a_wider_one_refused_and_before_it_accepted() {
        let rules = |repositories: &[&str]| {
            let rule = |r: &&str| format!("[[rule]]\nrepository='{r}'\n[[rule.signer]]\nname='a'\nkey='k'\n");
            TrustFile::parse(repositories.iter().map(rule).collect::<String>().as_bytes()).map(|_| ())
        };
        assert_eq!(rules(&["h/m/a", "h/m/*", "h/*"]), Ok(()));
        for shadowed in [["h/m/*", "h/m/a"], ["h/*", "h/m/*"], ["h/m/a", "h/m/a"], ["h/m/*", "h/m/*"]] {
            assert_eq!(rules(&shadowed).unwrap_err().code, Code::ConfigurationInvalid, "{shadowed:?}");
        }
    }

    #[test]
    fn two_signers_of_one_name_or_key_refused() {
        let two = |name: &str, key: &str| {
            let second = format!("[[rule.signer]]\nname='{name}'\nkey='{key}'\n");
            let text = format!("[[rule]]\nrepository='h/a'\n[[rule.signer]]\nname='a'\nkey='k e y'\n{second}");
            TrustFile::parse(text.as_bytes()).map(|_| ())
        };
        assert_eq!(two("b", "other"), Ok(()));
        assert_eq!(two("a", "other").unwrap_err().code, Code::ConfigurationInvalid);
        assert_eq!(two("b", "k  ey").unwrap_err().code, Code::ConfigurationInvalid);
    }

    #[test]
    fn empty_file_and_senseless_rules_refused() {
        assert_eq!(TrustFile::parse(b"rule = []").unwrap_err().code, Code::ConfigurationInvalid);
        for rule in [
            "repository='*'",
            "repository='/*'",
            "repository='a/*/b'",
            "repository='a'\nthreshold=0",
            "repository='a'\nthreshold=2",
        ] {
            assert_eq!(file(rule).unwrap_err().code, Code::ConfigurationInvalid, "{rule}");
        }
        assert_eq!(file("repository='a'\nkeys=[]").unwrap_err().code, Code::UnknownField);
    }

    #[test]
    fn old_file_means_both_forms_a_statement_and_the_public_root() {
        let file = file("repository='h/a'").unwrap();
        let rule = &file.rules[0];
        assert!(rule.allows(SignatureForm::Bundle) && rule.allows(SignatureForm::Sig));
        assert_eq!((rule.statement, &file.trusted_root), (StatementDemand::Required, &None));
        assert_eq!(file, TrustFile::new(vec![Rule::new("h/a", vec![Signer::with_key("a", "k")])]));
    }

    #[test]
    fn file_with_every_member_reads_back() {
        let identity = Identity { issuer: "https://i".into(), subject: Some("s".into()), subject_pattern: None };
        let mut rule = Rule::new("h/a", vec![Signer::with_key("a", "k"), Signer::with_identity("b", identity)]);
        rule.threshold = 2;
        rule.forms = vec![SignatureForm::Bundle];
        rule.statement = StatementDemand::Optional;
        rule.statement_signers = vec![Signer::with_key("c", "l")];
        let file = TrustFile { trusted_root: Some("{}".into()), rules: vec![rule] };
        assert_eq!(TrustFile::parse(toml::to_string(&file).unwrap().as_bytes()).unwrap(), file);
    }

    #[test]
    fn member_that_is_as_it_would_be_read_without_is_not_written_and_any_other_is() {
        let written = |change: fn(&mut Rule)| {
            let mut rule = Rule::new("h/a", vec![Signer::with_key("a", "k")]);
            change(&mut rule);
            let text = toml::to_string(&TrustFile::new(vec![rule])).unwrap();
            (text.contains("forms"), text.contains("statement"))
        };
        assert_eq!(written(|_| ()), (false, false));
        assert_eq!(written(|rule| rule.forms = vec![SignatureForm::Sig]), (true, false));
        assert_eq!(written(|rule| rule.statement = StatementDemand::Optional), (false, true));
    }

    #[test]
    fn signer_with_key_or_identity_accepted_and_with_both_none_or_an_open_one_refused() {
        let signer = |by: &str| {
            let text = format!("[[rule]]\nrepository='h/a'\n[[rule.signer]]\nname='a'\n{by}\n");
            TrustFile::parse(text.as_bytes()).err().map(|refusal| refusal.code)
        };
        assert_eq!(signer("key='k'"), None);
        assert_eq!(signer("identity={issuer='i',subject='s'}"), None);
        assert_eq!(signer("identity={issuer='i',subject-pattern='https://h/*'}"), None);
        for by in [
            "",
            "key='k'\nidentity={issuer='i',subject='s'}",
            "identity={issuer='i'}",
            "identity={issuer='i',subject-pattern='*'}",
        ] {
            assert_eq!(signer(by), Some(Code::ConfigurationInvalid), "{by}");
        }
        assert_eq!(signer("identity={issuer='i',subject='s',regexp='.*'}"), Some(Code::UnknownField));
        assert_eq!(file("repository='h/a'\nforms=[]").unwrap_err().code, Code::ConfigurationInvalid);
        assert!(file("repository='h/a'\nforms=['sig']").is_ok());
        assert_eq!(file("repository='h/a'\nforms=['gpg']").unwrap_err().code, Code::ConfigurationInvalid);
    }
}

//! The recipe of a decision:
//!
//! 1. put the question in Cedar's words;
//! 2. evaluate every policy whose scope may hold what is asked for: a `forbid` that applies decides, else a `permit` that does;
//! 3. refuse where any policy could not be evaluated, whatever the others say.

use crate::policies::{Policies, shown};
use crate::question::{Asked, Question};
use cedar_policy::{AuthorizationError, Authorizer, Decision as CedarDecision};
use serde::{Deserialize, Serialize};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Proof that policies permit what was asked. Only [`Decision::allowed`] makes one.
///
/// ```compile_fail,E0451
/// // There is no other way to one than a decision that permits.
/// let forged = strongroom_policy::Allowed { by: Vec::new(), digest: todo!() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    by: Vec<String>,
    digest: Sha256,
}

impl Allowed {
    /// The ids of the policies that permit it, sorted.
    pub fn by(&self) -> &[String] {
        &self.by
    }

    /// Which policies were asked: SHA-256 of their text.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }
}

/// What policies come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// One permits it, and none forbids it.
    Permit,
    /// One forbids it.
    Forbid,
    /// None permits it.
    None,
    /// There are no policies.
    Empty,
    /// One could not be evaluated.
    Failed,
}

/// What policies say of a question, whichever way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decision {
    /// What they come to.
    pub verdict: Verdict,
    /// The ids of those that decide it, sorted: that permit, forbid, or could not be evaluated.
    pub by: Vec<String>,
    /// Which policies were asked: SHA-256 of their text.
    pub digest: Sha256,
    /// Why the first of them could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Verdict {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
            Self::None => "none",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

impl Decision {
    /// The proof, where they permit it.
    ///
    /// # Errors
    /// `policy-denied`: no policy permits it, or one forbids it, which is named; `policy-failed`: one could not be evaluated;
    /// `authorization-empty`: there is none.
    pub fn allowed(self) -> Result<Allowed> {
        let policies = format!("policies {}", self.digest);
        let by = self.by.join(", ");
        Err(match self.verdict {
            Verdict::Permit => return Ok(Allowed { by: self.by, digest: self.digest }),
            Verdict::Forbid => Refusal::new(Code::PolicyDenied, policies)
                .got(format!("forbidden by {by}"))
                .want("none that forbids it"),
            Verdict::None => {
                Refusal::new(Code::PolicyDenied, policies).got("none that permits it").want("at least one")
            }
            Verdict::Empty => Refusal::new(Code::AuthorizationEmpty, policies).got("none").want("at least one"),
            Verdict::Failed => {
                let refusal = Refusal::new(Code::PolicyFailed, policies).got(format!("{by} without an answer"));
                refusal.because(self.error.unwrap_or_default())
            }
        })
    }
}

impl Policies {
    /// Decides a question, in time linear in the number of policies that are not about another place.
    ///
    /// # Errors
    /// Those of [`Decision::allowed`]; `internal`: the question is none.
    pub fn decide(&self, question: &Question) -> Result<Allowed> {
        self.ask(question)?.allowed()
    }

    /// What the policies say of a question, whichever way.
    ///
    /// # Errors
    /// `internal`: the question is none.
    pub fn ask(&self, question: &Question) -> Result<Decision> {
        self.answer(&question.asked(None)?) // 1
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Result<Decision> {
        let Asked { request, entities, places } = asked;
        let authorizer = Authorizer::new();
        let (mut permits, mut forbids, mut failed, mut error) = (Vec::new(), Vec::new(), Vec::new(), None);
        let parts = self.scoped.about(places);
        for part in parts.filter(|part| !part.is_idle(&authorizer, request, entities)) {
            let response = authorizer.is_authorized(request, &part.each, entities); // 2
            // Of a set that permits those that permit, else those that forbid.
            let by = if response.decision() == CedarDecision::Allow { &mut permits } else { &mut forbids };
            by.extend(response.diagnostics().reason().map(ToString::to_string));
            for wrong in response.diagnostics().errors() {
                let AuthorizationError::PolicyEvaluationError(e) = wrong;
                failed.push(e.policy_id().to_string());
                error = error.or_else(|| Some(shown(wrong)));
            }
        }
        let (verdict, mut by) = match () {
            () if !failed.is_empty() => (Verdict::Failed, failed), // 3
            () if !forbids.is_empty() => (Verdict::Forbid, forbids),
            () if !permits.is_empty() => (Verdict::Permit, permits),
            () if self.set.is_empty() => (Verdict::Empty, Vec::new()),
            () => (Verdict::None, Vec::new()),
        };
        by.sort();
        Ok(Decision { verdict, by, digest: self.digest(), error })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::question::{Action, Key, Model, Promotion, Snp, Workload};

    const NOW: u64 = 1_790_000_000;

    pub(crate) fn question() -> Question {
        let workload = Workload {
            id: "thumbprint".into(),
            platform: "snp".into(),
            root: "amd".into(),
            measurement: "aa".into(),
            deployment: "bb".into(),
            machine: Some("cc".into()),
            zone: None,
            snp: Some(Snp {
                product: "Milan".into(),
                debug: false,
                vmpl: 0,
                fmc: 0,
                bootloader: 3,
                tee: 0,
                snp: 8,
                microcode: 115,
            }),
            tdx: None,
        };
        let promotion = Promotion { environment: "prod".into(), sequence: 7, expires: NOW + 60 };
        let action = Action::ReleaseKey {
            key: Key { id: "models/embed/v1".into(), owner: None, labels: ["eu".to_owned()].into() },
            model: Model {
                repository: "registry.example/models/embed".into(),
                manifest: "sha256:00".into(),
                signers: ["release".to_owned()].into(),
                promotion: Some(promotion),
            },
        };
        Question { workload, action, now: NOW }
    }

    pub(crate) fn policies(cedar: &str) -> Policies {
        Policies::parse(cedar.as_bytes()).unwrap()
    }

    fn decide(cedar: &str, question: &Question) -> core::result::Result<Vec<String>, Code> {
        policies(cedar).decide(question).map(|allowed| allowed.by().to_vec()).map_err(|refusal| refusal.code)
    }

    pub(crate) fn when(condition: &str) -> String {
        format!(
            r#"@id("p") permit (principal, action == Strongroom::Action::"ReleaseKey", resource) when {{ {condition} }};"#
        )
    }

    #[test]
    fn nothing_is_permitted_that_no_policy_permits() {
        assert_eq!(decide("", &question()), Err(Code::AuthorizationEmpty));
        assert_eq!(decide("// nothing", &question()), Err(Code::AuthorizationEmpty));
        assert_eq!(decide(r#"@id("f") forbid (principal, action, resource);"#, &question()), Err(Code::PolicyDenied));
        assert_eq!(decide(&when("false"), &question()), Err(Code::PolicyDenied));
        assert_eq!(decide(r#"@id("p") permit (principal, action, resource);"#, &question()), Ok(vec!["p".into()]));
    }

    #[test]
    fn each_thing_that_a_question_says_decides() {
        for condition in [
            r#"principal == Strongroom::Workload::"thumbprint""#,
            r#"principal.platform == "snp" && principal.root == "amd""#,
            r#"principal.measurement == "aa" && principal.deployment == "bb""#,
            r#"principal has machine && principal.machine == "cc""#,
            r#"!(principal has zone) && !(principal has tdx)"#,
            r#"principal has snp && principal.snp.product == "Milan" && !principal.snp.debug && principal.snp.vmpl == 0"#,
            r#"principal has snp && principal.snp.tcb.bootloader >= 3 && principal.snp.tcb.microcode >= 115"#,
            r#"resource in Strongroom::Folder::"models/embed""#,
            r#"resource in Strongroom::Folder::"models""#,
            r#"resource == Strongroom::Key::"models/embed/v1" && resource.labels.contains("eu")"#,
            r#"!(resource has owner)"#,
            r#"context.model.repository like "registry.example/models/*""#,
            r#"context.model.manifest == "sha256:00" && context.model.signers.contains("release")"#,
            r#"context.model has promotion && context.model.promotion.environment == "prod" && context.model.promotion.sequence >= 7"#,
            r#"context.model has promotion && context.now < context.model.promotion.expires"#,
            r#"context.now == datetime("2026-09-21T14:13:20Z")"#,
        ] {
            assert_eq!(decide(&when(condition), &question()), Ok(vec!["p".into()]), "{condition}");
            assert_eq!(decide(&when(&format!("!({condition})")), &question()), Err(Code::PolicyDenied), "{condition}");
        }
    }

    #[test]
    fn folder_that_a_path_only_begins_with_is_not_above_it() {
        for beside in ["model", "models/", "models/embed/v1", "models/em", ""] {
            let condition = format!(r#"resource in Strongroom::Folder::"{beside}""#);
            assert_eq!(decide(&when(&condition), &question()), Err(Code::PolicyDenied), "{beside}");
        }
    }

    #[test]
    fn policy_of_another_action_decides_nothing() {
        let issue = |id: &str| Question { action: Action::IssueIdentity { id: id.into() }, ..question() };
        let permit = r#"@id("p") permit (principal, action == Strongroom::Action::"IssueIdentity", resource in Strongroom::Folder::"spiffe://example.org/models");"#;
        assert_eq!(decide(permit, &question()), Err(Code::PolicyDenied));
        assert_eq!(decide(permit, &issue("spiffe://example.org/models/embed")), Ok(vec!["p".into()]));
        assert_eq!(decide(permit, &issue("spiffe://example.org/other/embed")), Err(Code::PolicyDenied));
        let route = Question { action: Action::Route { name: "embed".into() }, ..question() };
        let permit = r#"@id("p") permit (principal, action, resource == Strongroom::Route::"embed");"#;
        assert_eq!(decide(permit, &route), Ok(vec!["p".into()]));
        assert_eq!(decide(permit, &question()), Err(Code::PolicyDenied));
    }

    #[test]
    fn decision_names_who_made_it_whichever_way_it_went() {
        let said = |cedar: &str, question: &Question| {
            let decision = policies(cedar).ask(question).unwrap();
            assert_eq!(decision.digest, policies(cedar).digest());
            (decision.verdict, decision.by.join(" "))
        };
        let [permit, other] = ["b", "a"].map(|id| format!(r#"@id("{id}") permit (principal, action, resource);"#));
        let forbid = r#"@id("f") forbid (principal, action, resource in Strongroom::Folder::"models");"#;
        let both = permit.clone() + &other;
        assert_eq!(said(&both, &question()), (Verdict::Permit, "a b".into()));
        assert_eq!(said(&(both + forbid), &question()), (Verdict::Forbid, "f".into()));
        let route = Question { action: Action::Route { name: "models".into() }, ..question() };
        assert_eq!(said(&(permit.clone() + forbid), &route), (Verdict::Permit, "b".into()));
        assert_eq!(said(forbid, &route), (Verdict::None, String::new()));
        assert_eq!(said("", &question()), (Verdict::Empty, String::new()));
        assert_eq!(said(&(permit + OVERFLOWS), &over()), (Verdict::Failed, "o".into()));
    }

    /// The sum is past 64 bits for [`over`] alone: no validation sees that.
    const OVERFLOWS: &str = r#"@id("o") forbid (principal, action == Strongroom::Action::"ReleaseKey", resource)
        when { principal has snp && principal.snp.vmpl + 9223372036854775807 == 5 };"#;

    fn over() -> Question {
        let mut over = question();
        if let Some(snp) = &mut over.workload.snp {
            snp.vmpl = 1;
        }
        over
    }

    #[test]
    fn policy_that_cannot_be_evaluated_refuses_whatever_the_others_say() {
        let permit = r#"@id("p") permit (principal, action, resource);"#;
        assert_eq!(decide(&format!("{permit}{OVERFLOWS}"), &question()), Ok(vec!["p".into()]));
        assert_eq!(decide(&format!("{permit}{OVERFLOWS}"), &over()), Err(Code::PolicyFailed));
    }

    #[test]
    fn number_or_time_past_what_cedar_counts_refused() {
        let mut late = question();
        late.now = 253_402_300_800;
        assert_eq!(decide(&when("true"), &late), Err(Code::Internal));
        late.now -= 1;
        assert_eq!(decide(&when("true"), &late), Ok(vec!["p".into()]));
    }
}

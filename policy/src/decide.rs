//! The recipe of a decision:
//!
//! 1. put the question in Cedar's words, and validate it against the schema;
//! 2. evaluate every policy: a `forbid` that applies decides, else a `permit` that does;
//! 3. refuse where any policy could not be evaluated, whatever the others say.

use crate::policies::{Policies, shown};
use crate::question::Question;
use cedar_policy::{Authorizer, Decision, Effect as CedarEffect, PolicySet, Response};
use serde::Serialize;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Proof that policies permit what was asked. Only [`Policies::decide`] makes one.
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

/// What a policy does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It permits, unless another forbids.
    Permit,
    /// It forbids, whatever others permit.
    Forbid,
}

/// What one policy says of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Its id.
    pub id: String,
    /// What it does where it applies.
    pub effect: Effect,
    /// Whether it does here.
    pub applies: bool,
    /// Why that could not be found out; then the question is refused.
    pub error: Option<String>,
}

impl Policies {
    /// Decides a question, in time linear in the number of policies.
    ///
    /// # Errors
    /// `policy-denied`: no policy permits it, or one forbids it, which is named; `policy-failed`: one could not be evaluated.
    pub fn decide(&self, question: &Question) -> Result<Allowed> {
        let response = self.ask(question, &self.set)?; // 1, 2
        let mut by: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        by.sort();
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(Refusal::new(Code::PolicyFailed, format!("policies {}", self.digest())).because(shown(error))); // 3
        }
        if response.decision() == Decision::Allow {
            return Ok(Allowed { by, digest: self.digest() });
        }
        let refusal = Refusal::new(Code::PolicyDenied, format!("policies {}", self.digest()));
        Err(if by.is_empty() {
            refusal.got("none that permits it").want("at least one")
        } else {
            refusal.got(format!("forbidden by {}", by.join(", "))).want("none that forbids it")
        })
    }

    /// What each policy says of a question by itself, in the order of their ids.
    ///
    /// # Errors
    /// `internal`: the question is none.
    pub fn explain(&self, question: &Question) -> Result<Vec<Explained>> {
        let one = |policy: &cedar_policy::Policy| {
            let set = PolicySet::from_policies([policy.clone()]);
            let set = set.map_err(|e| Refusal::new(Code::Internal, "one policy").because(shown(&e)))?;
            let response = self.ask(question, &set)?;
            let effect = if policy.effect() == CedarEffect::Permit { Effect::Permit } else { Effect::Forbid };
            Ok(Explained {
                id: policy.id().to_string(),
                effect,
                applies: response.diagnostics().reason().next().is_some(),
                error: response.diagnostics().errors().next().map(|error| shown(error)),
            })
        };
        let mut explained = self.set.policies().map(one).collect::<Result<Vec<_>>>()?;
        explained.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(explained)
    }

    fn ask(&self, question: &Question, set: &PolicySet) -> Result<Response> {
        let (request, entities) = question.request(self)?;
        Ok(Authorizer::new().is_authorized(&request, set, &entities))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Action, Key, Model, Promotion, Snp, Workload};

    const NOW: u64 = 1_790_000_000;

    fn question() -> Question {
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

    fn policies(cedar: &str) -> Policies {
        Policies::parse(cedar.as_bytes()).unwrap()
    }

    fn decide(cedar: &str, question: &Question) -> core::result::Result<Vec<String>, Code> {
        policies(cedar).decide(question).map(|allowed| allowed.by().to_vec()).map_err(|refusal| refusal.code)
    }

    fn when(condition: &str) -> String {
        format!(
            r#"@id("p") permit (principal, action == Strongroom::Action::"ReleaseKey", resource) when {{ {condition} }};"#
        )
    }

    #[test]
    fn nothing_is_permitted_that_no_policy_permits() {
        assert_eq!(decide("", &question()), Err(Code::PolicyDenied));
        assert_eq!(decide(r#"@id("f") forbid (principal, action, resource);"#, &question()), Err(Code::PolicyDenied));
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
    fn policy_that_cannot_be_evaluated_refuses_whatever_the_others_say() {
        let permit = r#"@id("p") permit (principal, action, resource);"#;
        // The sum is past 64 bits for this question alone: no validation sees that.
        let forbid = r#"@id("f") forbid (principal, action == Strongroom::Action::"ReleaseKey", resource)
            when { principal has snp && principal.snp.vmpl + 9223372036854775807 == 5 };"#;
        assert_eq!(decide(&format!("{permit}{forbid}"), &question()), Ok(vec!["p".into()]));
        let mut over = question();
        if let Some(snp) = &mut over.workload.snp {
            snp.vmpl = 1;
        }
        assert_eq!(decide(&format!("{permit}{forbid}"), &over), Err(Code::PolicyFailed));
        let explained = policies(&format!("{permit}{forbid}")).explain(&over).unwrap();
        assert!(explained[0].error.is_some() && explained[1].applies, "{explained:?}");
    }

    #[test]
    fn each_policy_is_explained_by_itself() {
        let text = r#"@id("b") permit (principal, action, resource);
            @id("c") permit (principal, action, resource in Strongroom::Folder::"other");
            @id("a") forbid (principal, action, resource) when { principal.platform == "snp" };"#;
        let explained = policies(text).explain(&question()).unwrap();
        let shown: Vec<_> = explained.iter().map(|one| (one.id.as_str(), one.effect, one.applies)).collect();
        assert_eq!(shown, [("a", Effect::Forbid, true), ("b", Effect::Permit, true), ("c", Effect::Permit, false)]);
        let refusal = policies(text).decide(&question()).unwrap_err();
        assert_eq!((refusal.code, refusal.got.as_deref()), (Code::PolicyDenied, Some("forbidden by a")));
    }

    #[test]
    fn number_or_time_past_what_cedar_counts_refused() {
        let mut late = question();
        late.now = 253_402_300_800;
        assert_eq!(decide("", &late), Err(Code::Internal));
        late.now -= 1;
        assert_eq!(decide("", &late), Err(Code::PolicyDenied));
    }
}

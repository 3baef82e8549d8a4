//! Prohibitions of one scope asked together, because most of a decision's time goes to policies that do not apply.
//!
//! Of several, Cedar is asked about one whose condition is that any of theirs holds. Where that neither holds nor fails, each of theirs
//! was found not to hold: none is asked for itself. Otherwise each is, so that a decision names the same policies either way.

use crate::policies::shown;
use cedar_policy::{Authorizer, Effect, Entities, Policy, PolicySet, Request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_wire::{Code, Refusal, Result};

/// How many are asked together at the most: where one applies, so many are asked for themselves.
const TOGETHER: usize = 64;

/// Policies that are asked for themselves, where it is not known at once that none of them applies.
#[derive(Clone, Default)]
pub(crate) struct Part {
    pub(crate) each: PolicySet,
    /// One that applies where any of them does.
    any: Option<PolicySet>,
}

impl Part {
    /// Whether none applies, and none fails.
    pub(crate) fn is_idle(&self, authorizer: &Authorizer, request: &Request, entities: &Entities) -> bool {
        self.any.as_ref().is_some_and(|any| {
            let response = authorizer.is_authorized(request, any, entities);
            let mut failed = response.diagnostics().errors();
            failed.next().is_none() && response.diagnostics().reason().next().is_none()
        })
    }
}

/// All of `policies`, each in one part.
///
/// # Errors
/// `internal`: two of them have one id.
pub(crate) fn parts(policies: &[&Policy]) -> Result<Vec<Part>> {
    let (mut alone, mut of_scope) = (Vec::new(), BTreeMap::<String, Vec<(&Policy, Value)>>::new());
    for policy in policies {
        match prohibition(policy) {
            Some((scope, condition)) => of_scope.entry(scope).or_default().push((policy, condition)),
            None => alone.push(*policy),
        }
    }
    let mut parts = vec![Part { each: set(alone)?, any: None }];
    for (scope, policies) in of_scope {
        for chunk in policies.chunks(TOGETHER) {
            let conditions = chunk.iter().map(|(_, condition)| condition.clone()).collect();
            let any = (chunk.len() > 1).then(|| any(&scope, conditions)).flatten();
            parts.push(Part { each: set(chunk.iter().map(|(policy, _)| *policy))?, any });
        }
    }
    parts.retain(|part| !part.each.is_empty());
    Ok(parts)
}

/// The scope of a prohibition and what its conditions come to, in Cedar's JSON.
fn prohibition(policy: &Policy) -> Option<(String, Value)> {
    let written = (policy.effect() == Effect::Forbid).then(|| policy.to_json().ok()).flatten()?;
    let scope = ["principal", "action", "resource"]
        .map(|name| written.get(name).unwrap_or(&Value::Null).to_string())
        .join("\n");
    let mut conditions = Vec::new();
    for condition in written.get("conditions")?.as_array()? {
        let body = condition.get("body")?.clone();
        conditions.push(match condition.get("kind")?.as_str()? {
            "when" => body,
            "unless" => json!({"!": {"arg": body}}),
            _ => return None,
        });
    }
    Some((scope, joined("&&", conditions)?))
}

/// A policy of this scope whose condition is that any of `conditions` holds. `None`: Cedar does not write it so.
fn any(scope: &str, conditions: Vec<Value>) -> Option<PolicySet> {
    let scope = scope.split('\n').map(serde_json::from_str).collect::<core::result::Result<Vec<Value>, _>>().ok()?;
    let [principal, action, resource] = <[Value; 3]>::try_from(scope).ok()?;
    let condition = json!({"kind": "when", "body": joined("||", conditions)?});
    let written = json!({
        "effect": "forbid", "principal": principal, "action": action, "resource": resource, "conditions": [condition],
    });
    PolicySet::from_policies([Policy::from_json(None, written).ok()?]).ok()
}

/// Expressions as operands of one operator in their order, in a tree as low as can be. `None`: there are none.
fn joined(operator: &str, mut expressions: Vec<Value>) -> Option<Value> {
    if expressions.len() < 2 {
        return expressions.pop();
    }
    let right = expressions.split_off(expressions.len() / 2);
    let (left, right) = (joined(operator, expressions)?, joined(operator, right)?);
    Some(json!({operator: {"left": left, "right": right}}))
}

fn set<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Result<PolicySet> {
    let set = PolicySet::from_policies(policies.into_iter().cloned());
    set.map_err(|e| Refusal::new(Code::Internal, "policies by place").because(shown(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{policies, question};
    use crate::question::Asked;
    use crate::{Policies, Verdict};
    use cedar_policy::AuthorizationError;

    /// Conditions of prohibitions: those that do not hold, that hold, that fail, and of more than one clause; each of Cedar's constructs.
    const CONDITIONS: [&str; 18] = [
        r#"when { resource.labels.contains("us") }"#,
        r#"when { resource.labels.contains("eu") }"#,
        r#"unless { resource.labels.contains("eu") }"#,
        r#"when { resource.labels.contains("eu") } unless { principal.platform == "snp" }"#,
        r#"when { resource.labels.contains("eu") } when { principal.platform == "snp" }"#,
        "when { principal has snp && principal.snp.vmpl + 9223372036854775807 == 5 }",
        "when { context.now < datetime(\"2020-01-01\") || principal.root like \"i*\" }",
        r#"when { context.now >= datetime("2020-01-01") && principal.root like "a*" }"#,
        r#"when { if principal has zone then principal.zone == "eu" else resource.labels == ["eu"] }"#,
        r#"when { if principal has snp then principal.snp.debug else true }"#,
        r#"when { resource is Strongroom::Key in Strongroom::Folder::"models" && principal is Strongroom::Workload }"#,
        r#"when { resource in [Strongroom::Folder::"other", Strongroom::Folder::"tools"] }"#,
        r#"when { resource.labels.containsAll(["eu"]) && resource.labels.containsAny(["us", "eu"]) && !resource.labels.isEmpty() }"#,
        r#"when { resource.labels.containsAll(["eu", "us"]) || resource.labels.containsAny(["us"]) || resource.labels.isEmpty() }"#,
        r#"when { principal has snp && -principal.snp.vmpl * 2 - 3 != -5 || principal.root == "z" }"#,
        r#"when { principal has snp && (principal.snp.tcb.microcode <= 114 || principal.snp.tcb.microcode > 115) }"#,
        r#"when { principal == Strongroom::Workload::"thumbprint" && context.model has promotion.environment }"#,
        r#"when { {"a": 1, "b c": [true]}["b c"].contains(false) || ip("10.0.0.1").isInRange(ip("10.0.0.0/8")) == false }"#,
    ];

    fn forbid(id: &str, condition: &str) -> String {
        format!(r#"@id("{id}") forbid (principal, action == Strongroom::Action::"ReleaseKey", resource) {condition};"#)
    }

    fn asked_together(policies: &Policies) -> usize {
        let all: Vec<_> = policies.set.policies().collect();
        parts(&all).unwrap().iter().filter(|part| part.any.is_some()).map(|part| part.each.num_of_policies()).sum()
    }

    #[test]
    fn decision_together_is_that_of_the_whole_set_whichever_hold_or_fail() {
        let mut question = question();
        if let Some(snp) = &mut question.workload.snp {
            snp.vmpl = 1;
        }
        let mut seen = [0, 0, 0];
        let all = CONDITIONS.len();
        for (a, b) in (0..all).flat_map(|a| (a..all).map(move |b| (a, b))) {
            let both = [("a", a), ("b", b)].map(|(id, n)| forbid(id, CONDITIONS[n])).concat();
            let policies = policies(&(r#"@id("p") permit (principal, action, resource);"#.to_owned() + &both));
            assert_eq!(asked_together(&policies), 2);
            let Asked { request, entities, .. } = question.asked(None).unwrap();
            let whole = Authorizer::new().is_authorized(&request, &policies.set, &entities);
            let failing = |AuthorizationError::PolicyEvaluationError(e): &AuthorizationError| e.policy_id().to_string();
            let mut failed: Vec<_> = whole.diagnostics().errors().map(failing).collect();
            let mut by: Vec<_> = whole.diagnostics().reason().map(ToString::to_string).collect();
            failed.sort();
            by.sort();
            let decision = policies.ask(&question).unwrap();
            if failed.is_empty() {
                assert_eq!(decision.by, by, "{both}");
                seen[usize::from(decision.verdict == Verdict::Permit)] += 1;
            } else {
                assert_eq!((decision.verdict, decision.by), (Verdict::Failed, failed), "{both}");
                seen[2] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }

    #[test]
    fn prohibition_that_holds_or_fails_among_many_decides_wherever_it_stands() {
        let mut question = question();
        if let Some(snp) = &mut question.workload.snp {
            snp.vmpl = 1;
        }
        for (at, condition, verdict) in [0, 63, 64, 129].into_iter().flat_map(|at| {
            [
                (at, CONDITIONS[1], Verdict::Forbid),
                (at, CONDITIONS[5], Verdict::Failed),
                (at, CONDITIONS[0], Verdict::Permit),
            ]
        }) {
            let one = |n: usize| forbid(&format!("f{n:03}"), if n == at { condition } else { CONDITIONS[0] });
            let all = (0..130).map(one).collect::<String>() + r#"@id("p") permit (principal, action, resource);"#;
            let decision = policies(&all).ask(&question).unwrap();
            let by = if verdict == Verdict::Permit { "p".to_owned() } else { format!("f{at:03}") };
            assert_eq!((decision.verdict, decision.by), (verdict, vec![by]), "{at} {condition}");
        }
    }

    #[test]
    fn prohibitions_of_one_scope_alone_are_asked_together() {
        let never = CONDITIONS[0];
        let many: String = (0..150).map(|n| forbid(&format!("f{n}"), never)).collect();
        assert_eq!(asked_together(&policies(&many)), 150);
        let other = r#"@id("o") forbid (principal, action, resource is Strongroom::Key) when { resource.labels.contains("us") };"#;
        assert_eq!(asked_together(&policies(&(forbid("f", never) + other))), 0);
        let permit = |id: &str| format!(r#"@id("{id}") permit (principal, action, resource);"#);
        assert_eq!(asked_together(&policies(&(permit("p") + &permit("q")))), 0);
        let always = |id: &str| format!(r#"@id("{id}") forbid (principal, action, resource);"#);
        assert_eq!(asked_together(&policies(&(always("f") + &always("g")))), 0);
    }
}

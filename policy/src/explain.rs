//! What each policy says of a question by itself, and where it does not apply, because of what.
//!
//! A policy is a conjunction: of its scope, and of each `when`, which is one of its own where it is written with `&&`. Cedar
//! evaluates it from left to right, and so does this: the first part that does not hold is why the policy does not apply,
//! and what comes after it is not looked at, as it may make sense only where that part holds.

use crate::policies::{Policies, shown};
use crate::question::{Asked, Question};
use cedar_policy::{
    ActionConstraint, Authorizer, Effect as CedarEffect, EvalResult, Expression, Policy, PolicySet,
    PrincipalConstraint, ResourceConstraint, eval_expression,
};
use core::str::FromStr as _;
use serde::Serialize;
use serde_json::{Value, json};
use strongroom_wire::{Code, Refusal, Result};

/// What a policy does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It permits, unless another forbids.
    Permit,
    /// It forbids, whatever others permit.
    Forbid,
}

impl Effect {
    pub(crate) fn of(policy: &Policy) -> Self {
        if policy.effect() == CedarEffect::Permit { Self::Permit } else { Self::Forbid }
    }
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
    /// The first part of it that does not hold, in Cedar, where it does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<String>,
    /// Why that could not be found out; then the question is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Policies {
    /// What each policy says of a question by itself, in the order of their ids.
    ///
    /// # Errors
    /// `internal`: the question is none.
    pub fn explain(&self, question: &Question) -> Result<Vec<Explained>> {
        let asked = question.asked(None)?;
        let mut explained = self.set.policies().map(|policy| asked.explain(policy)).collect::<Result<Vec<_>>>()?;
        explained.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(explained)
    }
}

impl Asked {
    fn explain(&self, policy: &Policy) -> Result<Explained> {
        let (applies, error) = self.applies(policy)?;
        let unmet = if applies || error.is_some() { None } else { self.unmet(policy)? };
        Ok(Explained { id: policy.id().to_string(), effect: Effect::of(policy), applies, unmet, error })
    }

    /// Whether a policy applies, or why that cannot be said.
    fn applies(&self, policy: &Policy) -> Result<(bool, Option<String>)> {
        let set = PolicySet::from_policies([policy.clone()]).map_err(|e| wrong(&e))?;
        let response = Authorizer::new().is_authorized(&self.request, &set, &self.entities);
        let error = response.diagnostics().errors().next().map(|error| shown(error));
        Ok((response.diagnostics().reason().next().is_some(), error))
    }

    /// The first part that does not hold.
    fn unmet(&self, policy: &Policy) -> Result<Option<String>> {
        for part in scope(policy) {
            let expression = Expression::from_str(&part).map_err(|e| wrong(&e))?;
            if eval_expression(&self.request, &self.entities, &expression) != Ok(EvalResult::Bool(true)) {
                return Ok(Some(part));
            }
        }
        for condition in conditions(policy)? {
            let part = Policy::from_json(None, condition).map_err(|e| wrong(&e))?;
            if self.applies(&part)? != (true, None) {
                return Ok(Some(condition_text(&part)));
            }
        }
        Ok(None)
    }
}

/// What a policy's scope demands, as expressions.
fn scope(policy: &Policy) -> Vec<String> {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Any => None,
        PrincipalConstraint::In(above) => Some(format!("principal in {above}")),
        PrincipalConstraint::Eq(one) => Some(format!("principal == {one}")),
        PrincipalConstraint::Is(kind) => Some(format!("principal is {kind}")),
        PrincipalConstraint::IsIn(kind, above) => Some(format!("principal is {kind} in {above}")),
    };
    let action = match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::In(some) => {
            let some: Vec<_> = some.iter().map(ToString::to_string).collect();
            Some(format!("action in [{}]", some.join(", ")))
        }
        ActionConstraint::Eq(one) => Some(format!("action == {one}")),
    };
    let resource = match policy.resource_constraint() {
        ResourceConstraint::Any => None,
        ResourceConstraint::In(above) => Some(format!("resource in {above}")),
        ResourceConstraint::Eq(one) => Some(format!("resource == {one}")),
        ResourceConstraint::Is(kind) => Some(format!("resource is {kind}")),
        ResourceConstraint::IsIn(kind, above) => Some(format!("resource is {kind} in {above}")),
    };
    [principal, action, resource].into_iter().flatten().collect()
}

/// Each condition of a policy as a policy of its own, in Cedar's JSON: every `unless`, and every `when` taken apart at its `&&`.
fn conditions(policy: &Policy) -> Result<Vec<Value>> {
    let mut policy = policy.to_json().map_err(|e| wrong(&e))?;
    let Some(Value::Array(clauses)) = policy.get_mut("conditions").map(Value::take) else { return Ok(Vec::new()) };
    let any = json!({ "op": "All" });
    let alone = |kind: &str, body: Value| {
        let conditions = json!([{ "kind": kind, "body": body }]);
        json!({ "effect": "permit", "principal": any, "action": any, "resource": any, "conditions": conditions })
    };
    let mut conditions = Vec::new();
    for mut clause in clauses {
        let Some(mut body) = clause.get_mut("body").map(Value::take) else { continue };
        if clause.get("kind").is_some_and(|kind| kind == "unless") {
            conditions.push(alone("unless", body));
            continue;
        }
        // `a && b && c` is `(a && b) && c`.
        let mut parts = Vec::new();
        while let Some(both) = body.get_mut("&&") {
            let [left, right] = ["left", "right"].map(|side| both.get_mut(side).map(Value::take).unwrap_or_default());
            parts.push(right);
            body = left;
        }
        parts.push(body);
        conditions.extend(parts.into_iter().rev().map(|part| alone("when", part)));
    }
    Ok(conditions)
}

/// What stands between the braces of a policy of one condition; with `unless` before it where it is one.
fn condition_text(policy: &Policy) -> String {
    let text = policy.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let (head, rest) = text.split_once('{').unwrap_or(("", &text));
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside).trim();
    if head.contains("unless") { format!("unless {{ {inside} }}") } else { inside.to_owned() }
}

fn wrong(error: &dyn core::error::Error) -> Refusal {
    Refusal::new(Code::Internal, "taking a policy apart").because(shown(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{policies, question, when};

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

    fn unmet(cedar: &str) -> Option<String> {
        let explained = policies(cedar).explain(&question()).unwrap().remove(0);
        assert_eq!(explained.applies, explained.unmet.is_none(), "{explained:?}");
        explained.unmet
    }

    #[test]
    fn policy_that_does_not_apply_names_the_first_part_that_does_not_hold() {
        for (condition, first) in [
            (r#"principal.platform == "snp""#, None),
            (r#"principal.platform == "tdx""#, Some(r#"principal.platform == "tdx""#)),
            (r#"principal.root == "amd" && principal has tdx && principal.tdx.debug"#, Some("principal has tdx")),
            (
                r#"principal has snp && principal.snp.tcb.snp >= 9 && principal.platform == "tdx""#,
                Some("principal.snp.tcb.snp >= 9"),
            ),
            (
                r#"principal has snp && (principal.platform == "tdx" || principal.root == "intel")"#,
                Some(r#"(principal.platform == "tdx") || (principal.root == "intel")"#),
            ),
        ] {
            let bare = |text: String| text.replace(['(', ')'], "");
            assert_eq!(unmet(&when(condition)).map(bare), first.map(str::to_owned).map(bare), "{condition}");
        }
        let two = when("true").replace(';', r#" unless { principal.platform == "snp" } when { 1 == 2 };"#);
        assert_eq!(unmet(&two).as_deref(), Some(r#"unless { principal.platform == "snp" }"#));
    }

    #[test]
    fn policy_whose_scope_is_another_names_that_part_of_it() {
        for (scope, first) in [
            ("principal, action, resource", None),
            (
                r#"principal == Strongroom::Workload::"x", action, resource"#,
                Some(r#"principal == Strongroom::Workload::"x""#),
            ),
            (
                r#"principal, action == Strongroom::Action::"Route", resource"#,
                Some(r#"action == Strongroom::Action::"Route""#),
            ),
            (
                r#"principal, action in [Strongroom::Action::"ReleaseKey", Strongroom::Action::"Route"], resource is Strongroom::Route"#,
                Some("resource is Strongroom::Route"),
            ),
            (
                r#"principal is Strongroom::Workload, action, resource in Strongroom::Folder::"other""#,
                Some(r#"resource in Strongroom::Folder::"other""#),
            ),
            (
                r#"principal, action, resource is Strongroom::Key in Strongroom::Folder::"other""#,
                Some(r#"resource is Strongroom::Key in Strongroom::Folder::"other""#),
            ),
            (r#"principal, action, resource is Strongroom::Key in Strongroom::Folder::"models""#, None),
        ] {
            assert_eq!(unmet(&format!(r#"@id("p") permit ({scope});"#)).as_deref(), first, "{scope}");
        }
    }

    #[test]
    fn policy_that_cannot_be_evaluated_says_why() {
        let text = when("principal has snp && principal.snp.vmpl + 9223372036854775807 == 5");
        let mut over = question();
        over.workload.snp.as_mut().unwrap().vmpl = 1;
        let [sound, failed] = [question(), over].map(|question| policies(&text).explain(&question).unwrap().remove(0));
        assert_eq!((sound.applies, sound.error.is_some()), (false, false));
        assert!(sound.unmet.unwrap().contains("== 5"));
        assert_eq!((failed.applies, failed.unmet), (false, None));
        assert!(failed.error.unwrap().contains("overflow"));
    }
}

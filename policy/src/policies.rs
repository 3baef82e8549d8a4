//! A set of policies, read once.

use crate::explain::Effect;
use crate::scoped::Scoped;
use crate::source::located;
use cedar_policy::{Policy, PolicySet, Schema, ValidationMode, Validator};
use core::fmt;
use core::str::FromStr as _;
use std::sync::{Arc, LazyLock};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What policies may ask about, in Cedar's schema language.
pub const SCHEMA: &str = include_str!("strongroom.cedarschema");

static PARSED: LazyLock<core::result::Result<Arc<Schema>, String>> = LazyLock::new(|| {
    let parsed = Schema::from_cedarschema_str(SCHEMA);
    parsed.map(|(schema, _)| Arc::new(schema)).map_err(|e| e.to_string())
});

/// The schema, which is ours: that it does not parse would be a bug.
pub(crate) fn schema() -> Result<Arc<Schema>> {
    PARSED.clone().map_err(|e| Refusal::new(Code::Internal, "schema of policies").because(e))
}

/// Policies that are valid against [`SCHEMA`], or, within [`crate::CallPolicies`], against theirs. None of them at all is valid too, and permits nothing.
#[derive(Clone)]
pub struct Policies {
    pub(crate) set: PolicySet,
    pub(crate) scoped: Scoped,
    digest: Sha256,
    warnings: Vec<String>,
}

impl Policies {
    /// Parses policies in Cedar and validates them strictly. Each has an annotation `@id("…")`, by which decisions name it.
    ///
    /// # Errors
    /// `policy-invalid`: not Cedar, not valid against the schema, a template, or without an id of its own; what is wrong is
    /// named with its line and column, all of it where the schema is what it offends; `too-large`.
    pub fn parse(cedar: &[u8]) -> Result<Self> {
        Self::of(cedar, &*schema()?)
    }

    /// [`Self::parse`] against another schema.
    pub(crate) fn of(cedar: &[u8], schema: &Schema) -> Result<Self> {
        if cedar.len() > limits::POLICY {
            return Err(Refusal::too_large("policies", cedar.len(), limits::POLICY));
        }
        let wrong = |what: &str| Refusal::new(Code::PolicyInvalid, what);
        let text = core::str::from_utf8(cedar).map_err(|e| wrong("policies").because(e))?;
        let numbered = PolicySet::from_str(text).map_err(|e| wrong("policies").because(located(text, &(&e).into())))?;
        let templates = numbered.num_of_templates();
        if templates > 0 {
            return Err(wrong("policies").got(format!("{templates} templates")).want("policies without slots"));
        }
        let count = numbered.num_of_policies();
        if count > limits::CEDAR_POLICIES {
            return Err(Refusal::too_large("policies", count, limits::CEDAR_POLICIES));
        }
        let named = numbered.policies().map(name).collect::<Result<Vec<_>>>()?;
        let set = PolicySet::from_policies(named).map_err(|e| wrong("two policies of one id").because(shown(&e)))?;
        let outcome = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        let errors: Vec<_> = outcome.validation_errors().map(|error| located(text, &error.into())).collect();
        if !errors.is_empty() {
            return Err(wrong("policies").because(errors.join("; ")));
        }
        // What validates is no deeper than Cedar goes.
        let scoped = Scoped::of(&set)?;
        let warnings = outcome.validation_warnings().map(|warning| located(text, &warning.into())).collect();
        Ok(Self { set, scoped, digest: Sha256::of(cedar), warnings })
    }

    /// SHA-256 of their text.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// What is allowed and probably not meant, such as a condition that never holds.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The ids of all of them, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.effects().into_iter().map(|(id, _)| id).collect()
    }

    /// The id of each and what it does where it applies, sorted by ids.
    pub fn effects(&self) -> Vec<(String, Effect)> {
        let one = |policy: &Policy| (policy.id().to_string(), Effect::of(policy));
        let mut all: Vec<_> = self.set.policies().map(one).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("digest", &self.digest).field("ids", &self.ids()).finish_non_exhaustive()
    }
}

/// The policy under the id that its annotation gives it.
fn name(policy: &Policy) -> Result<Policy> {
    let id = policy.annotation("id").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || id.len() > limits::POLICY_ID || !id.chars().all(allowed) {
        let text: String = policy.to_string().chars().take(200).collect();
        let want = format!("@id(\"…\") of at most {} letters, digits, `-`, `_` and `.`", limits::POLICY_ID);
        return Err(Refusal::new(Code::PolicyInvalid, "id of a policy").got(text).want(want));
    }
    Ok(policy.new_id(id.parse().map_err(|e| Refusal::new(Code::PolicyInvalid, "id of a policy").because(e))?))
}

/// An error of Cedar's with what caused it, in one line.
pub(crate) fn shown(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(cedar: &str) -> Option<Code> {
        Policies::parse(cedar.as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn policies_that_ask_about_what_there_is_accepted_and_others_refused() {
        let asking = |what: &str| {
            format!(
                r#"@id("a") permit (principal, action == Strongroom::Action::"ReleaseKey", resource) when {{ {what} }};"#
            )
        };
        assert_eq!(code(&asking(r#"principal.platform == "snp""#)), None);
        assert_eq!(code(&asking(r#"principal has snp && principal.snp.tcb.microcode >= 115"#)), None);
        assert_eq!(
            code(&asking(r#"context.model has promotion && context.now < context.model.promotion.expires"#)),
            None
        );
        for wrong in [
            // An attribute that does not exist, one that may be absent, another type, another action's.
            r#"principal.firmware == 3"#,
            r#"principal.snp.vmpl == 0"#,
            r#"principal.platform == 3"#,
            r#"resource.owner == "a""#,
            r#"context.caller == "a""#,
        ] {
            assert_eq!(code(&asking(wrong)), Some(Code::PolicyInvalid), "{wrong}");
        }
    }

    #[test]
    fn policy_without_an_id_of_its_own_refused() {
        let policy = "permit (principal, action, resource);";
        assert_eq!(code(&format!(r#"@id("a") {policy} @id("b") {policy}"#)), None);
        for wrong in [
            policy.to_owned(),
            format!(r#"@id("") {policy}"#),
            format!(r#"@id("a b") {policy}"#),
            format!(r#"@id("{}") {policy}"#, "a".repeat(limits::POLICY_ID + 1)),
            format!(r#"@id("a") {policy} @id("a") {policy}"#),
        ] {
            assert_eq!(code(&wrong), Some(Code::PolicyInvalid), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_cedar_or_a_template_refused() {
        assert_eq!(code(""), None);
        assert_eq!(code("// nothing"), None);
        for wrong in [
            "permit",
            "permit (principal, action, resource)",
            r#"@id("a") permit (principal == ?principal, action, resource);"#,
        ] {
            assert_eq!(code(wrong), Some(Code::PolicyInvalid), "{wrong}");
        }
        assert_eq!(Policies::parse(b"\xff").unwrap_err().code, Code::PolicyInvalid);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |cedar: &str| Policies::parse(cedar.as_bytes()).unwrap_err().to_string();
        let syntax = wrong("// a comment\n@id(\"a\") permit (principal, action, resource)\n  when ( true };");
        assert!(syntax.contains("line 3, column 8: unexpected token `(`"), "{syntax}");
        let two = "@id(\"a\")\npermit (principal, action, resource)\nwhen { principal.colour == 1 };\n\
                   @id(\"b\") permit (principal, action, resource in Strongroom::Shelf::\"x\");";
        let schema = wrong(two);
        for part in ["line 3, column 8: ", "colour", "line 4, column ", "Strongroom::Shelf"] {
            assert!(schema.contains(part), "{part}: {schema}");
        }
    }

    #[test]
    fn as_much_as_the_limits_accepted_and_more_refused() {
        let policies = |count: usize| -> String {
            (0..count).map(|n| format!("@id(\"{n}\") permit (principal, action, resource);")).collect()
        };
        assert_eq!(code(&policies(limits::CEDAR_POLICIES)), None);
        assert_eq!(code(&policies(limits::CEDAR_POLICIES + 1)), Some(Code::TooLarge));
        assert_eq!(code(&format!("//{}", " ".repeat(limits::POLICY - 2))), None);
        assert_eq!(code(&format!("//{}", " ".repeat(limits::POLICY - 1))), Some(Code::TooLarge));
    }

    #[test]
    fn condition_that_never_holds_is_warned_of() {
        let policies = Policies::parse(br#"@id("a") permit (principal, action, resource) when { 1 == 2 };"#).unwrap();
        assert_eq!(policies.warnings().len(), 1);
        assert_eq!(policies.ids(), ["a"]);
    }
}

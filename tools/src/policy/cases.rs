//! `strongroom policy test`: questions whose answers are known, asked of Cedar policies.
//!
//! ```toml
//! [question]                         # what every case asks, but for what it says itself
//! now = 1790000000
//! [question.workload]
//! id = "guest"
//! …
//! [[case]]
//! name = "key that is kept to one zone"
//! with = { action.release-key.key.labels = ["eu-only"] }
//! expect = "deny"
//! by = ["eu-only"]
//! ```

use super::cedar::{load, load_value, parse_question, verdict};
use crate::output;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use strongroom_policy::{Decision, Policies, Verdict};
use strongroom_wire::{Code, Fault, Refusal, Result};

/// Cases of one file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    /// What they all ask.
    #[serde(default)]
    question: Value,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Merged into the question (RFC 7396).
    #[serde(default)]
    with: Value,
    expect: Expect,
    /// The ids of the policies that decide it; any where absent.
    #[serde(default)]
    by: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expect {
    Allow,
    Deny,
}

/// What a case came to.
#[derive(Serialize)]
struct Outcome {
    name: String,
    ok: bool,
    expect: Expect,
    #[serde(skip_serializing_if = "Option::is_none")]
    want_by: Option<Vec<String>>,
    #[serde(flatten)]
    decision: Decision,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Tested {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    passed: usize,
    failed: usize,
    cases: Vec<Outcome>,
}

/// Asks every case; exit code 1 where one did not come out as it expects.
///
/// # Errors
/// Those of the files; `malformed`: a case whose question is none, or no case at all.
pub(crate) fn test(file: &Path, cases: &Path, json: bool) -> Result<ExitCode> {
    let (policies, _) = load(file)?;
    let outcomes = ask(&policies, load_value(cases)?);
    let outcomes = outcomes.map_err(|refusal| refusal.within(format!("`{}`", cases.display())))?;
    let passed = outcomes.iter().filter(|outcome| outcome.ok).count();
    let failed = outcomes.len().saturating_sub(passed);
    let code = (failed > 0).then_some(Code::PolicyTestFailed);
    let verdict = if failed > 0 { "refused" } else { "accepted" };
    let tested = Tested { verdict, code, passed, failed, cases: outcomes };
    let printed = if json { output::json(&tested) } else { output::line(&for_people(&tested)) };
    printed.map(|()| if failed > 0 { Fault::Refused.exit_code().into() } else { ExitCode::SUCCESS })
}

fn ask(policies: &Policies, file: Value) -> Result<Vec<Outcome>> {
    let cases: Cases = serde_json::from_value(file).map_err(|e| Refusal::malformed("cases", e))?;
    if cases.case.is_empty() {
        return Err(Refusal::malformed("cases", "there is none"));
    }
    let one = |case: Case| {
        let mut question = cases.question.clone();
        merge(&mut question, case.with);
        let question = parse_question(&question).map_err(|refusal| refusal.within(format!("case `{}`", case.name)))?;
        let decision = policies.ask(&question)?;
        let expected = (decision.verdict == Verdict::Permit) == (case.expect == Expect::Allow);
        let want_by = case.by.map(|mut by| {
            by.sort();
            by
        });
        let ok = expected && want_by.as_ref().is_none_or(|by| *by == decision.by);
        Ok(Outcome { name: case.name, ok, expect: case.expect, want_by, decision })
    };
    cases.case.into_iter().map(one).collect()
}

/// RFC 7396: what an object says takes the place of what is there, member by member; null takes it away.
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (_, Value::Null) => {}
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                match value {
                    Value::Null => drop(target.remove(&name)),
                    value => merge(target.entry(name).or_insert(Value::Null), value),
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

fn for_people(tested: &Tested) -> String {
    let row = |outcome: &Outcome| {
        let expect = if outcome.expect == Expect::Allow { "allow" } else { "deny" };
        let by = outcome.want_by.as_ref().map(|by| format!(" by {}", by.join(", "))).unwrap_or_default();
        let held = if outcome.ok { "ok" } else { "FAILED" };
        vec![held.to_owned(), outcome.name.clone(), format!("{expect}{by}"), verdict(&outcome.decision)]
    };
    let rows: Vec<_> = tested.cases.iter().map(row).collect();
    let table = output::table(&["", "CASE", "EXPECTED", "GOT"], &rows);
    format!("{table}{} passed, {} failed\n", tested.passed, tested.failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of RFC 7396, appendix A, that this takes: a patch that is itself null says nothing here.
    #[test]
    fn patches_are_merged_as_the_specification_says() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({}), json!({"a": {"bb": {"ccc": 1}}}), json!({"a": {"bb": {"ccc": 1}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, patch);
            assert_eq!(merged, result, "{target}");
        }
    }
}

//! Cedar policies in a file, looked at without asking anybody.

use crate::{files, output};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use strongroom_policy::{Decision, Effect, Explained, Policies, Question};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// Whether a file is one of Cedar policies: its name ends in `.cedar`.
pub(crate) fn is_cedar(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "cedar")
}

/// The policies in a file, and their text. Warnings go to stderr.
///
/// # Errors
/// `io`; `policy-invalid`, `too-large`.
pub(crate) fn load(file: &Path) -> Result<(Policies, String)> {
    let within = |refusal: Refusal| refusal.within(format!("`{}`", file.display()));
    let bytes = files::read(file, limits::POLICY)?;
    let policies = Policies::parse(&bytes).map_err(within)?;
    policies.warnings().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let text =
        String::from_utf8(bytes).map_err(|e| within(Refusal::new(Code::PolicyInvalid, "policies").because(e)))?;
    Ok((policies, text))
}

/// What [`check`] prints.
#[derive(Serialize)]
struct Checked<'a> {
    kind: &'static str,
    digest: Sha256,
    policies: Vec<Listed>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Listed {
    id: String,
    effect: Effect,
}

/// Says which policies a file has.
pub(crate) fn check(file: &Path, json: bool) -> Result<()> {
    let (policies, _) = load(file)?;
    let listed = policies.effects().into_iter().map(|(id, effect)| Listed { id, effect });
    let checked =
        Checked { kind: "cedar", digest: policies.digest(), policies: listed.collect(), warnings: policies.warnings() };
    if json {
        return output::json(&checked);
    }
    let rows: Vec<_> = checked.policies.iter().map(|one| vec![one.id.clone(), effect(one.effect).into()]).collect();
    let nobody = if rows.is_empty() { "without a policy nobody may have anything\n" } else { "" };
    output::line(&format!(
        "Cedar policies sha256:{}\n{}{nobody}",
        checked.digest,
        output::table(&["POLICY", "EFFECT"], &rows)
    ))
}

/// What [`explain`] prints.
#[derive(Serialize)]
struct Explanation {
    #[serde(flatten)]
    decision: Decision,
    policies: Vec<Explained>,
}

/// Says what policies say of a question, all together and each by itself.
pub(crate) fn explain(file: &Path, question: &Path, json: bool) -> Result<()> {
    let (policies, _) = load(file)?;
    let question = load_question(question)?;
    let explanation = Explanation { decision: policies.ask(&question)?, policies: policies.explain(&question)? };
    if json {
        return output::json(&explanation);
    }
    let row = |one: &Explained| {
        let (says, because) = match (one.applies, &one.error, &one.unmet) {
            (true, ..) => ("applies", String::new()),
            (false, Some(error), _) => ("failed", error.clone()),
            (false, None, Some(unmet)) => ("no", format!("not: {unmet}")),
            (false, None, None) => ("no", String::new()),
        };
        vec![one.id.clone(), effect(one.effect).to_owned(), says.to_owned(), because]
    };
    // What permits comes first: where nothing does, it is what the question lacks.
    let (permits, forbids): (Vec<_>, Vec<_>) =
        explanation.policies.iter().partition(|one| one.effect == Effect::Permit);
    let rows: Vec<_> = permits.into_iter().chain(forbids).map(row).collect();
    let table = output::table(&["POLICY", "EFFECT", "SAYS", "BECAUSE"], &rows);
    output::line(&format!("{}\n{table}", verdict(&explanation.decision)))
}

/// What a decision comes to, in words.
pub(crate) fn verdict(decision: &Decision) -> String {
    match decision.clone().allowed() {
        Ok(allowed) => format!("permitted by {}", allowed.by().join(", ")),
        Err(refusal) => match refusal.got {
            Some(got) => format!("{}: {got}", refusal.code),
            None => refusal.code.to_string(),
        },
    }
}

/// A question in JSON or, where the file's name ends in `.toml`, TOML: by itself, or in a row of the audit log.
fn load_question(file: &Path) -> Result<Question> {
    let value = load_value(file)?;
    let question = value.pointer("/detail/question").unwrap_or(&value);
    parse_question(question).map_err(|refusal| refusal.within(format!("`{}`", file.display())))
}

/// A document in JSON or TOML.
pub(crate) fn load_value(file: &Path) -> Result<Value> {
    let bytes = files::read(file, limits::POLICY)?;
    let what = format!("`{}`", file.display());
    match file.extension().is_some_and(|extension| extension == "toml") {
        true => document::parse_toml(&bytes, &what, limits::POLICY, Code::Malformed),
        false => document::parse_json(&bytes, &what, limits::POLICY, Code::Malformed),
    }
}

pub(crate) fn parse_question(value: &Value) -> Result<Question> {
    serde_json::from_value(value.clone()).map_err(|e| Refusal::malformed("question", e))
}

const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    }
}

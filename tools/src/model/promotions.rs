//! `strongroom model promotions`: who promoted and demoted a model, and whether it is promoted by all of that.

use super::told::kept;
use crate::admin::Service;
use crate::registry::RegistryArguments;
use crate::{block_on, evidence, output, trust};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_artifact::promotion::{Action, Promotion, Statement, Statements, parse_attached};
use strongroom_registry_client::{Reference, fetch_promotions};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Refusal, Result};

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model promotions registry.example/models/embed:v1 --trust trust.toml\n\n\
    With --trust, exits 1 unless the model is promoted as the trust file demands, by what registry and verifier say. Without \
    it nothing is verified."
)]
pub(crate) struct Arguments {
    /// `host[:port]/repo[:tag|@sha256:…]`.
    reference: Reference,
    /// Who may promote this model, and how many of them must.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Show this environment alone. With --trust, it is the one of the trust file.
    #[arg(long, value_name = "ENV", value_parser = Environment::parse, conflicts_with = "trust")]
    environment: Option<Environment>,
    #[command(flatten)]
    service: Option<Service>,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// A statement as it was found, and what is known of it.
struct Found {
    bundle: Vec<u8>,
    statement: Result<Statement>,
    from: &'static str,
    /// With a trust file: the promoters whom the signature is of, or why it is none's.
    promoters: Option<Result<Vec<String>>>,
}

/// 1. Resolve the reference.
/// 2. Fetch what the registry shows and what the verifier keeps.
/// 3. Judge all of it.
pub(super) fn run(arguments: &Arguments, json: bool) -> Result<ExitCode> {
    let repository = arguments.reference.name();
    let trust = arguments.trust.as_deref().map(trust::load).transpose()?;
    let mut demanded = match &trust {
        Some(trust) => Statements::demanded(trust, &repository)?,
        None => None,
    };
    let client = arguments.registry.client(&arguments.reference)?;
    let verifier = arguments.service.as_ref().map(Service::client).transpose()?;
    let environment = demanded.as_ref().map(Statements::environment).or(arguments.environment.as_ref()).cloned();
    let (manifest, mut found) = block_on(async {
        // 1.
        let manifest = match arguments.reference.digest() {
            Some(digest) => digest,
            None => client.manifest(&arguments.reference).await?.digest,
        };
        // 2.
        let shown = fetch_promotions(&client, &arguments.reference, manifest).await?;
        let mut found: Vec<Found> = shown.into_iter().map(|bundle| Found::new(bundle, "registry")).collect();
        if let Some(verifier) = &verifier {
            for kept in kept(verifier, &repository, environment.as_ref()).await? {
                let bundle = kept.bundle()?;
                match found.iter_mut().find(|found| found.bundle == bundle) {
                    Some(both) => both.from = "both",
                    None => found.push(Found::new(bundle, "verifier")),
                }
            }
        }
        Ok((manifest, found))
    })?;
    // 3.
    let elsewhere = |statement: &Statement| {
        statement.repository != repository || environment.as_ref().is_some_and(|only| *only != statement.environment)
    };
    found.retain(|found| !found.statement.as_ref().is_ok_and(elsewhere));
    let judged = demanded.as_mut().map(|promoters| {
        for found in &mut found {
            found.promoters = Some(promoters.add(&found.bundle).map(|signed| signed.promoters().to_vec()));
        }
        promoters.judge(&manifest, evidence::now())
    });
    found.sort_by_key(|found| found.statement.as_ref().map(|s| (s.environment.clone(), u64::MAX - s.sequence)).ok());
    let reference = arguments.reference.pinned(manifest);
    print(&reference, manifest, trust.is_some(), judged.as_ref(), &found, json)?;
    Ok(match judged {
        Some(Err(refusal)) => ExitCode::from(refusal.fault().exit_code()),
        _ => ExitCode::SUCCESS,
    })
}

impl Found {
    fn new(bundle: Vec<u8>, from: &'static str) -> Self {
        let none = || Err(Refusal::malformed("promotion", "another statement"));
        let statement = parse_attached(&bundle).unwrap_or_else(none);
        Self { bundle, statement, from, promoters: None }
    }

    fn json(&self) -> Value {
        let mut shown = json!({ "from": self.from, "verified": matches!(self.promoters, Some(Ok(_))) });
        let Some(members) = shown.as_object_mut() else { return shown };
        match &self.promoters {
            Some(Ok(names)) => members.insert("promoters".into(), json!(names)),
            Some(Err(refusal)) => members.insert("refused".into(), json!(refusal)),
            None => None,
        };
        match &self.statement {
            Ok(statement) => {
                let (action, expires, policy, reason) = parts(&statement.action);
                members.insert("action".into(), json!(action));
                members.insert("environment".into(), json!(statement.environment));
                members.insert("manifest".into(), json!(statement.manifest.oci()));
                members.insert("sequence".into(), json!(statement.sequence));
                members.insert("issued".into(), json!(statement.issued));
                members.insert("expires".into(), json!(expires));
                members.insert("policy".into(), json!(policy));
                members.insert("reason".into(), json!(reason));
            }
            Err(refusal) => drop(members.insert("refused".into(), json!(refusal))),
        }
        shown
    }

    fn row(&self, manifest: Sha256) -> Vec<String> {
        let by = match &self.promoters {
            Some(Ok(names)) => names.join(" or "),
            Some(Err(refusal)) => format!("nobody ({})", refusal.code),
            None => "not verified".to_owned(),
        };
        let Ok(statement) = &self.statement else {
            return vec![
                "?".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                self.from.to_owned(),
                by,
            ];
        };
        let (action, expires, _, _) = parts(&statement.action);
        let of = if statement.manifest == manifest { "this".to_owned() } else { statement.manifest.oci() };
        vec![
            action.to_owned(),
            statement.environment.to_string(),
            statement.sequence.to_string(),
            output::utc(statement.issued),
            expires.map_or_else(|| "never".to_owned(), output::utc),
            of,
            self.from.to_owned(),
            by,
        ]
    }
}

fn parts(action: &Action) -> (&'static str, Option<u64>, Option<Sha256>, Option<&str>) {
    match action {
        Action::Promote { expires, policy } => ("promote", Some(*expires), *policy, None),
        Action::Demote { reason } => ("demote", None, None, Some(reason)),
    }
}

fn print(
    reference: &Reference,
    manifest: Sha256,
    trusted: bool,
    judged: Option<&Result<Promotion>>,
    found: &[Found],
    json: bool,
) -> Result<()> {
    let verdict = match judged {
        Some(Ok(_)) => "promoted",
        Some(Err(_)) => "refused",
        None if trusted => "not-demanded",
        None => "not-judged",
    };
    if json {
        let refusal = judged.and_then(|judged| judged.as_ref().err());
        return output::json(&json!({
            "verdict": verdict,
            "code": refusal.map(|refusal| refusal.code),
            "refused": refusal,
            "promotion": judged.and_then(|judged| judged.as_ref().ok()).map(describe),
            "reference": reference.to_string(),
            "manifest": manifest.oci(),
            "statements": found.iter().map(Found::json).collect::<Vec<_>>(),
        }));
    }
    let header = ["ACTION", "ENVIRONMENT", "SEQUENCE", "ISSUED", "EXPIRES", "MODEL", "FROM", "BY"];
    let rows: Vec<_> = found.iter().map(|found| found.row(manifest)).collect();
    let says = match judged {
        Some(Ok(promotion)) => {
            let names: Vec<_> = promotion.promoters().iter().map(|(name, _)| name.as_str()).collect();
            let until = output::utc(promotion.expires());
            format!("promoted to {} until {until} by {}", promotion.environment(), names.join(", "))
        }
        Some(Err(refusal)) => format!("{refusal}\n{}", output::advice(refusal.code)).trim_end().to_owned(),
        None if trusted => "the trust file demands no promotion".to_owned(),
        None => "nothing was verified: --trust says who may promote".to_owned(),
    };
    output::line(&format!("{}{reference}\n  {says}\n", output::table(&header, &rows)))
}

/// A promotion that holds, as JSON.
/// A promotion that holds, in a line. That there is no later demotion is the registry's word alone.
pub(super) fn say(promotion: &Promotion) -> String {
    let by: Vec<_> = promotion.promoters().iter().map(|(name, by)| format!("{name}: {by}")).collect();
    format!(
        "promoted to {} until {}, sequence {}, by {}; that it was not taken back is the registry's word",
        promotion.environment(),
        output::utc(promotion.expires()),
        promotion.sequence(),
        by.join(", ")
    )
}

pub(super) fn describe(promotion: &Promotion) -> Value {
    let by = promotion.promoters().iter().map(|(name, by)| json!({ "name": name, "signed_by": by.to_string() }));
    json!({
        "environment": promotion.environment(),
        "sequence": promotion.sequence(),
        "expires": promotion.expires(),
        "policy": promotion.policy(),
        "promoters": by.collect::<Vec<_>>(),
    })
}

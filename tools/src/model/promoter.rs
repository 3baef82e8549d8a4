//! What promoting and demoting have in common: who says it, with which sequence, and to whom it is told.

use super::keyless::KeylessArguments;
use super::told::{Told, said_by_verifier, verified_in_registry};
use crate::admin::{AdminClient, Service};
use crate::registry::RegistryArguments;
use crate::{block_on, evidence, output, signer, trust};
use clap::Args;
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use strongroom_artifact::promotion::{Action, Statement, Statements};
use strongroom_artifact::{Credential, Sign};
use strongroom_registry_client::{Reference, RegistryClient, attach_bundle};
use strongroom_transport::http as body;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result};

/// Who promotes or demotes which model.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("promoter-by").required(true).args(["sign_key", "keyless"]))]
pub(super) struct Promoter {
    /// `host[:port]/repo@sha256:…`. A tag would leave it to the registry which model it is.
    reference: Reference,
    /// Signs the statement: a file, of which an encrypted one opens with the password in COSIGN_PASSWORD, or a PKCS #11 URI.
    #[arg(long, value_name = "FILE|URI")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    keyless: KeylessArguments,
    /// The statement's place among all about this repository and environment. Without it, one more than the highest that is
    /// known; a promotion that other promoters already began is joined.
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    /// Whose statements in the registry count where the sequence is looked for: those of the trust file's promoters; without it,
    /// those by the same key.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    service: Option<Service>,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Promoter {
    /// 1. Find out what was said before, by whoever's word counts.
    /// 2. Sign.
    /// 3. Tell the verifier, where one is named: it refuses what does not count, before anybody sees it.
    /// 4. Attach the statement to the model in the registry.
    pub(super) fn say(&self, environment: &Environment, action: Action, json: bool) -> Result<()> {
        let manifest = self.reference.digest().ok_or_else(|| {
            let refusal = Refusal::new(Code::ReferenceInvalid, "reference to promote or demote").got(&self.reference);
            refusal.want("one with a digest: a tag is what the registry says it is")
        })?;
        let client = self.registry.client(&self.reference)?;
        let verifier = self.service.as_ref().map(Service::client).transpose()?;
        let key = self.sign_key.as_deref().map(signer::open).transpose()?;
        let key = key.as_deref().map(|key| -> &dyn Sign { key });
        let statement = Statement {
            manifest,
            repository: self.reference.name(),
            environment: environment.clone(),
            sequence: 0,
            issued: evidence::now(),
            action,
        };
        let (statement, attached) = block_on(async {
            // 1.
            let sequence = match self.sequence {
                Some(sequence) => sequence,
                None => {
                    let own = key.map(|key| Credential::Key(key.public().fingerprint()).to_string());
                    let told = self.told(&client, verifier.as_ref(), key, &statement).await?;
                    next_sequence(&told, own.as_deref(), &statement)
                }
            };
            let statement = Statement { sequence, ..statement };
            // 2.
            let bundle = match key {
                Some(key) => statement.sign(key)?,
                None => self.keyless.sign(&statement.render()?).await?,
            };
            // 3.
            if let Some(verifier) = &verifier {
                let content = body::full(bundle.clone());
                let _: Value = verifier.send_json(Method::POST, "promotions", content).await?;
            }
            // 4.
            let attached = attach_bundle(&client, &self.reference, bundle, statement.issued).await?;
            Ok((statement, attached))
        })?;
        self.print(&statement, attached, json)
    }

    async fn told(
        &self,
        client: &RegistryClient,
        verifier: Option<&AdminClient>,
        key: Option<&dyn Sign>,
        statement: &Statement,
    ) -> Result<Vec<Told>> {
        let (repository, environment) = (&statement.repository, &statement.environment);
        let demanded = match &self.trust {
            Some(path) => Statements::demanded(&trust::load(path)?, repository)?,
            None => None,
        };
        if let Some(demanded) = demanded.as_ref().filter(|demanded| demanded.environment() != environment) {
            return Err(Refusal::new(Code::Usage, "environment of the trust file")
                .got(environment)
                .want(demanded.environment()));
        }
        let own = key.map(Sign::public);
        let mut told = verified_in_registry(client, &self.reference, statement.manifest, demanded, own).await?;
        if let Some(verifier) = verifier {
            told.extend(said_by_verifier(verifier, repository, Some(environment)).await?);
        }
        told.retain(|told| (&told.statement.repository, &told.statement.environment) == (repository, environment));
        Ok(told)
    }

    fn print(&self, statement: &Statement, attached: Sha256, json: bool) -> Result<()> {
        let delivered = self.service.is_some();
        let Statement { environment, sequence, .. } = statement;
        let (verb, expires, policy, reason) = match &statement.action {
            Action::Promote { expires, policy } => ("promote", Some(*expires), *policy, None),
            Action::Demote { reason } => ("demote", None, None, Some(reason)),
        };
        if json {
            return output::json(&json!({
                "reference": self.reference.to_string(),
                "manifest": statement.manifest.oci(),
                "action": verb,
                "environment": environment,
                "sequence": sequence,
                "issued": statement.issued,
                "expires": expires,
                "policy": policy,
                "reason": reason,
                "attached": attached.oci(),
                "delivered": delivered,
            }));
        }
        let until = expires.map(|expires| format!(", until {}", output::utc(expires))).unwrap_or_default();
        let to = if statement.promotes() { "promoted to" } else { "demoted from" };
        let told = match delivered {
            true => "told to the verifier, and attached in the registry",
            false => "attached in the registry alone, which can hide it: --verifier tells a verifier too",
        };
        output::line(&format!("{}\n  {to} {environment} with sequence {sequence}{until}\n  {told}\n", self.reference))
    }
}

/// The sequence with which a statement counts after what was told: one more than the highest; or the highest itself, where others
/// promote the same by it, the promotion has not ended, and we did not say so yet.
fn next_sequence(told: &[Told], own: Option<&str>, statement: &Statement) -> u64 {
    let highest = told.iter().map(|told| told.statement.sequence).max().unwrap_or(0);
    let Action::Promote { policy: ours, .. } = &statement.action else { return highest.saturating_add(1) };
    let mut there = told.iter().filter(|told| told.statement.sequence == highest).peekable();
    let joins = |told: &Told| match &told.statement.action {
        Action::Promote { expires, policy } => {
            policy == ours
                && told.statement.manifest == statement.manifest
                && *expires >= statement.issued
                && own.is_some_and(|own| told.signed_by != own)
        }
        Action::Demote { .. } => false,
    };
    if there.peek().is_some() && there.all(joins) { highest } else { highest.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(manifest: u8, sequence: u64, action: Action) -> Statement {
        Statement {
            manifest: Sha256([manifest; 32]),
            repository: "h/m".into(),
            environment: Environment::parse("production").unwrap(),
            sequence,
            issued: 100,
            action,
        }
    }

    fn promotion(policy: Option<u8>, expires: u64) -> Action {
        Action::Promote { expires, policy: policy.map(|fill| Sha256([fill; 32])) }
    }

    fn by(signed_by: &str, statement: Statement) -> Told {
        Told { statement, signed_by: signed_by.into() }
    }

    #[test]
    fn same_promotion_of_others_is_joined_and_after_anything_else_comes_the_next() {
        let next = |told: &[Told]| next_sequence(told, Some("me"), &statement(1, 0, promotion(Some(2), 200)));
        let same = || statement(1, 7, promotion(Some(2), 200));
        assert_eq!(next(&[]), 1);
        assert_eq!(next(&[by("anna", same())]), 7);
        assert_eq!(next(&[by("anna", same()), by("ben", same()), by("anna", statement(3, 6, promotion(None, 1)))]), 7);
        assert_eq!(next(&[by("anna", same()), by("me", same())]), 8, "ours is there");
        assert_eq!(next(&[by("anna", statement(9, 7, promotion(Some(2), 200)))]), 8, "another model");
        assert_eq!(next(&[by("anna", statement(1, 7, promotion(None, 200)))]), 8, "another policy");
        assert_eq!(next(&[by("anna", statement(1, 7, promotion(Some(2), 99)))]), 8, "it has ended");
        let demoted = statement(1, 7, Action::Demote { reason: "x".into() });
        assert_eq!(next(&[by("anna", same()), by("ben", demoted.clone())]), 8);
        assert_eq!(next_sequence(&[by("anna", same())], Some("me"), &demoted), 8, "a demotion joins nothing");
        assert_eq!(next_sequence(&[by("anna", same())], None, &same()), 8, "who we are is not known yet");
    }
}

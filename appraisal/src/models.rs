//! What an enclave serves, against the `[model]` section of a policy.

use crate::Policy;
use crate::pem::read_pem;
use crate::policy::{OciDigest, Rule};
use std::collections::BTreeSet;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Workload, WorkloadModel};
use strongroom_wire::trust::SignedBy;
use strongroom_wire::{Check, Code, Refusal, Result};

/// Judges every model of `workload`. The caller has compared `deployment` with the hardware's field and `workload` with
/// report data; a policy without a `[model]` section gives one check that did not hold.
///
/// Each model must be one that the deployment document names with that very digest, or lets be replaced, and satisfy manifest and signer
/// rules. Those that it does not let be replaced must all be there.
/// A signer rule holds where the document's trust rule for the model's repository cannot be met without an allowed key.
pub fn appraise_models(policy: &Policy, deployment: &Deployment, workload: &Workload) -> Vec<Check> {
    let Some(wanted) = policy.model() else {
        return vec![Check::new("model", false, Code::NoReferenceValues, "no [model] section", "manifest or signer")];
    };
    let named = &deployment.settings().models;
    let may_change = |name: &str| named.iter().any(|entry| entry.name == name && entry.replaceable);
    let got = workload.models.iter().filter(|model| !may_change(&model.name)).count();
    let want = named.iter().filter(|entry| !entry.replaceable).count();
    let mut checks = vec![Check::new("models", got == want, Code::WorkloadMismatch, got, want)];
    for model in &workload.models {
        let name = |check: &str| format!("{check} of model {}", model.name);
        let repository = named_repository(deployment, model);
        let found = repository.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        checks.push(Check::new(
            &name("deployment entry"),
            repository.is_ok(),
            Code::WorkloadMismatch,
            found,
            "one that the deployment document names",
        ));
        checks.push(Check::new(
            &name("manifest"),
            wanted.manifest.allows(&OciDigest(model.manifest)),
            // Whoever pinned what was served before is told what became of it.
            if may_change(&model.name) { Code::WorkloadChanged } else { Code::ModelNotApproved },
            model.manifest.oci(),
            wanted.manifest.describe(|digest| digest.0.oci()),
        ));
        let (held, shown) = repository
            .and_then(|repository| signer_is_needed(deployment, &repository, &wanted.signer))
            .unwrap_or_else(|refusal| (!wanted.signer.is_fixed(), refusal.to_string()));
        checks.push(Check::new(
            &name("signer"),
            held,
            Code::SignerUntrusted,
            shown,
            wanted.signer.describe(Sha256::to_string),
        ));
    }
    checks
}

/// The repository of the deployment document's entry with this model's name, and its digest where it may not change.
fn named_repository(deployment: &Deployment, model: &WorkloadModel) -> Result<String> {
    let entry = deployment.settings().models.iter().find(|entry| entry.name == model.name);
    let entry = entry.ok_or_else(|| Refusal::new(Code::WorkloadMismatch, "model that the document does not name"))?;
    let (repository, digest) = entry.repository_and_digest()?;
    match digest {
        _ if entry.replaceable => Ok(repository.to_owned()),
        Some(digest) if digest == model.manifest => Ok(repository.to_owned()),
        other => {
            let want = other.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            Err(Refusal::new(Code::WorkloadMismatch, "manifest").got(model.manifest).want(want))
        }
    }
}

/// Whether the trust rule of `repository` cannot be met without a key that `wanted` allows, and the rule's keys in words.
fn signer_is_needed(deployment: &Deployment, repository: &str, wanted: &Rule<Sha256>) -> Result<(bool, String)> {
    let trust = deployment.settings().trust.rule_for(repository)?;
    let keys = trust.signers.iter().filter_map(|signer| match &signer.by {
        SignedBy::Key(pem) => Some(key_digest(pem)),
        SignedBy::Identity(_) => None,
    });
    let keys = keys.collect::<Result<BTreeSet<_>>>()?;
    // An identity is no key that a rule could allow: it signs beside them.
    let identities = trust.signers.iter().filter(|signer| matches!(signer.by, SignedBy::Identity(_))).count();
    let others = keys.iter().filter(|key| !wanted.allows(key)).count().saturating_add(identities);
    let mut shown: Vec<String> = keys.iter().map(Sha256::to_string).collect();
    if identities > 0 {
        shown.push(format!("{identities} by identity"));
    }
    // A policy that asks for no signer is met by whoever signs.
    let held = !wanted.is_fixed() || others < trust.threshold;
    Ok((held, format!("{} of {}", trust.threshold, shown.join(", "))))
}

fn key_digest(pem: &str) -> Result<Sha256> {
    match read_pem(pem.as_bytes())?.as_slice() {
        [(label, der)] if label == "PUBLIC KEY" => Ok(Sha256::of(der)),
        _ => Err(Refusal::malformed("signer key", "not exactly one PUBLIC KEY")),
    }
}

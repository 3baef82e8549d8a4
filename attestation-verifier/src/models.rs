//! Which key a signed model is sealed with, found out by ourselves: from the registry, by the digest that the hash-checked
//! deployment document names, judged by the trust file of the key's own release policy. Where the document lets a model be replaced,
//! that is also the digest that was promoted last in the repository it names, by what is kept here of promotions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom_appraisal::{ReleasePolicy, UnixTime};
use strongroom_artifact::Manifest;
use strongroom_artifact::promotion::Statements;
use strongroom_registry_client::{Reference, RegistryClient, verify_signed};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

use crate::config::Registry;
use crate::promotions::{Held, Known};

/// How long one release may wait for registries: less than the minute after which KBS clients give up.
const PATIENCE: Duration = Duration::from_secs(45);

/// Verified manifests that are remembered.
const CAPACITY: usize = 1024;

/// The registries of the configuration, and what was verified before.
#[derive(Debug)]
pub(crate) struct Models {
    clients: BTreeMap<String, RegistryClient>,
    facts: Mutex<HashMap<Question, Fact>>,
}

/// The signatures of a manifest hold or do not under a policy; a registry can add nothing to the answer later on but the
/// refusal to repeat it. The repository belongs to the question, since rules of a trust file do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    reference: String,
    policy: Sha256,
}

/// What is known of a model whose signatures hold, and its promotion where one is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// `host[:port]/repo@sha256:…`.
    pub reference: String,
    /// The key that it is sealed with, if it is.
    pub key: Option<ResourcePath>,
    /// Who signed it, as the trust file calls them.
    pub signers: Vec<String>,
    /// What its promotion hangs on, where the policy demands one.
    pub promotion: Option<Held>,
}

impl Models {
    /// Models from these registries and no others.
    ///
    /// # Errors
    /// Those of [`Registry::access`] and of [`RegistryClient::new`].
    pub(crate) fn new(registries: &[Registry]) -> Result<Self> {
        let client = |registry: &Registry| {
            let client = registry.access().and_then(|access| RegistryClient::new(&registry.host, access));
            client.map(|client| (registry.host.clone(), client)).map_err(|refusal| refusal.within(&registry.host))
        };
        Ok(Self { clients: registries.iter().map(client).collect::<Result<_>>()?, facts: Mutex::default() })
    }

    /// The model of the deployment that is signed, and promoted at `now`, as the policy demands and sealed with this key.
    /// Whatever comes of it, what registries show of promotions is added to what is known of them.
    ///
    /// All that are sealed with this key must be, and be one artifact: one key would open all of them, and what policies are asked
    /// about is one. A model that cannot be judged does not stand in the way
    /// of another that can, where it is sealed with another key. Where none is found and some could not be judged, the reason of the
    /// first such one is the answer.
    ///
    /// # Errors
    /// `key-not-in-deployment`: every model was judged, none is sealed with this key; `key-shared`: two manifests are;
    /// `registry-not-allowed`;
    /// `timeout`; those of [`verify_signed`] and of a promotion.
    pub(crate) async fn find(
        &self,
        deployment: &Deployment,
        key: &ResourcePath,
        policy: &ReleasePolicy,
        known: &mut Known,
        now: UnixTime,
    ) -> Result<Fact> {
        match tokio::time::timeout(PATIENCE, self.search(deployment, key, policy, known, now)).await {
            Ok(found) => found,
            Err(_) => Err(Refusal::new(Code::Timeout, "models of the deployment").want(format!("{PATIENCE:?}"))),
        }
    }

    async fn search(
        &self,
        deployment: &Deployment,
        key: &ResourcePath,
        policy: &ReleasePolicy,
        known: &mut Known,
        now: UnixTime,
    ) -> Result<Fact> {
        let (mut found, mut unjudged, mut untrusted) = (None::<Fact>, None, None);
        for Candidate { name, reference, is_named } in candidates(deployment, policy, known, now)? {
            let judged = match &reference {
                Ok(reference) => self.judge(reference, policy, known, now).await,
                Err(refusal) => Err(refusal.clone()),
            };
            match judged {
                Ok(fact) if fact.key.as_ref() == Some(key) => match &found {
                    Some(first) if first.reference != fact.reference => {
                        let shared = Refusal::new(Code::KeyShared, format!("key `{key}`"));
                        let both = format!("`{}` and `{}`", first.reference, fact.reference);
                        untrusted.get_or_insert(shared.got(both).want("one artifact a key"));
                    }
                    _ => found = Some(fact),
                },
                Ok(_) => {}
                Err(refusal) => {
                    let refusal = refusal.within(format!("model `{name}`"));
                    if let Ok(reference) = &reference
                        && self.may_be_sealed_with(reference, is_named, key, policy).await
                    {
                        untrusted.get_or_insert_with(|| refusal.clone());
                    }
                    unjudged.get_or_insert(refusal);
                }
            }
        }
        match (found, untrusted) {
            (_, Some(refusal)) => Err(refusal),
            (Some(fact), None) => Ok(fact),
            (None, None) => Err(unjudged.unwrap_or_else(|| Refusal::new(Code::KeyNotInDeployment, "key").got(key))),
        }
    }

    /// Whether the key of a model that is not trusted is this one, by its manifest, which the document names by digest. What it is
    /// sealed with where the manifest cannot be had is not known: that counts where its promotion is demanded, since the guest may
    /// be shown what is hidden from here. Where the document does not name it, somebody's promotion of what is not there stops no other key.
    async fn may_be_sealed_with(
        &self,
        reference: &Reference,
        is_named: bool,
        key: &ResourcePath,
        policy: &ReleasePolicy,
    ) -> bool {
        let manifest = match self.clients.get(reference.host()) {
            Some(client) => client.manifest(reference).await.ok(),
            None => None,
        };
        let demanded =
            || is_named && policy.trust().rule_for(&reference.name()).is_ok_and(|rule| rule.promotion.is_some());
        manifest.map_or_else(demanded, |fetched| {
            Manifest::parse(&fetched.bytes)
                .is_ok_and(|manifest| manifest.sealing().is_some_and(|sealing| sealing.key == *key))
        })
    }

    async fn judge(
        &self,
        reference: &Reference,
        policy: &ReleasePolicy,
        known: &mut Known,
        now: UnixTime,
    ) -> Result<Fact> {
        let question = Question { reference: reference.to_string(), policy: policy.digest() };
        if let Some(fact) = self.facts.lock().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return Ok(fact.clone());
        }
        let client = self.clients.get(reference.host()).ok_or_else(|| {
            let known = self.clients.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Refusal::new(Code::RegistryNotAllowed, "registry").got(reference.host()).want(known)
        })?;
        // Nobody's signature counts in a repository without a rule, so nothing is fetched from it.
        let repository = reference.name();
        policy.trust().rule_for(&repository)?;
        let shown = verify_signed(client, reference, policy.trust()).await?;
        // Kept first, whatever is refused below: a demotion is shown once, perhaps.
        let mut statements = Statements::demanded(policy.trust(), &repository)?;
        if let Some(statements) = &mut statements {
            known.add_to(statements, &repository, &shown.statements, now);
        }
        let mut signed = shown.signed?;
        if let (Some(demanded), Some(statements)) = (signed.promotions(), statements) {
            shown.unread.map_or(Ok(()), |unread| Err(unread.within("promotions of the model")))?;
            *demanded = statements;
        }
        let trusted = signed.promoted(now)?;
        let fact = Fact {
            reference: reference.to_string(),
            key: trusted.manifest().sealing().map(|sealing| sealing.key.clone()),
            signers: trusted.signers().to_vec(),
            promotion: trusted.promotion().map(|promotion| known.held(&repository, promotion)).transpose()?,
        };
        // A promotion ends, and what was promoted since may be known by then.
        if fact.promotion.is_some() {
            return Ok(fact);
        }
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.len() >= CAPACITY {
            facts.clear();
        }
        facts.insert(question, fact.clone());
        Ok(fact)
    }
}

/// A model that a deployment may serve.
struct Candidate {
    /// As the document calls it.
    name: String,
    /// By digest; or why it is none.
    reference: Result<Reference>,
    /// Whether the document names this very digest.
    is_named: bool,
}

/// The models that a deployment may serve.
///
/// # Errors
/// Those of [`Known::newest`].
fn candidates(deployment: &Deployment, policy: &ReleasePolicy, known: &Known, now: UnixTime) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for model in &deployment.settings().models {
        let name = &model.name;
        let reference = match Reference::parse(&model.reference) {
            Ok(reference) => reference,
            Err(refusal) => {
                candidates.push(Candidate { name: name.clone(), reference: Err(refusal), is_named: true });
                continue;
            }
        };
        // Without a rule for the repository the model is refused when it is judged.
        let newest = match model.replaceable && policy.trust().rule_for(&reference.name()).is_ok() {
            true => known.newest(policy.trust(), &reference.name(), now)?,
            false => None,
        };
        let newest = newest.filter(|newest| reference.digest() != Some(*newest));
        let newest = newest.map(|newest| Ok(reference.untagged(newest)));
        candidates.extend(newest.map(|reference| Candidate { name: name.clone(), reference, is_named: false }));
        // What a tag names is nothing that the hardware vouches for.
        if reference.digest().is_some() {
            candidates.push(Candidate { name: name.clone(), reference: Ok(reference), is_named: true });
        }
    }
    Ok(candidates)
}

//! Promotions as this service decides by them: what was delivered to it and what registries ever showed it are kept for good,
//! and each release is judged by all of it. A registry that hides a demotion, or shows an old promotion, gains nothing.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_artifact::promotion::{Action, Fact, Promotion, SignedStatement, Statement, Statements, parse_attached};
use strongroom_registry_client::Reference;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::deployment::{Deployment, Model};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::{Environment, TrustFile};
use strongroom_wire::{Code, Refusal, Result, limits};

use crate::store::{Kept, Place, StoredPolicy, StoredPromotion, Transaction};

/// What is known of promotions while one release is decided.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By repository: a rule names one environment.
    kept: BTreeMap<String, OfRepository>,
    /// SHA-256 of the policy's document.
    policy: Option<Sha256>,
    /// What registries showed, by promoters of the policy.
    found: Vec<SignedStatement>,
}

/// What was kept about a repository.
#[derive(Debug)]
struct OfRepository {
    place: Place,
    kept: Kept,
    facts: Vec<Fact>,
    /// These, and what the statements come to by which it was judged last.
    weighed: Vec<Fact>,
    /// Those whose statements counted when it was judged.
    promoters: BTreeSet<String>,
}

/// A promotion that a release hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    place: Place,
    promotion: Promotion,
    /// The statements that were looked at.
    judged: BTreeSet<Told>,
    /// What was known to speak against promotions.
    weighed: Vec<Fact>,
    /// Those whose statements counted.
    promoters: BTreeSet<String>,
}

/// Which statement by whom.
type Told = (Sha256, String);

impl Known {
    /// What the store keeps about the models of a deployment, in the environments that a policy demands.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`.
    pub(crate) async fn load(
        store: &mut Transaction<'_>,
        deployment: &Deployment,
        policy: &StoredPolicy,
    ) -> Result<Self> {
        let trust = policy.policy.trust();
        let mut kept = BTreeMap::new();
        for model in &deployment.settings().models {
            // Without a rule, or where there is no such repository, the model is refused when it is judged.
            let Ok(repository) = Reference::parse(&model.reference).map(|reference| reference.name()) else { continue };
            let Ok(rule) = trust.rule_for(&repository) else { continue };
            if let (Some(demand), false) = (&rule.promotion, kept.contains_key(&repository)) {
                let rows = store.promotions(&repository, &demand.environment).await?;
                let place = place(policy, &repository, &demand.environment);
                let facts = store.promotion_facts(&place).await?;
                let (weighed, promoters) = (Vec::new(), BTreeSet::new());
                kept.insert(repository, OfRepository { place, kept: rows, facts, weighed, promoters });
            }
        }
        Ok(Self { kept, policy: Some(policy.metadata.digest), found: Vec::new() })
    }

    /// Adds what is known to what a manifest's promotion is judged by at `now`: what was kept, and what its registry shows.
    pub(crate) fn add_to(&mut self, statements: &mut Statements, repository: &str, shown: &[Vec<u8>], now: UnixTime) {
        if let Some(policy) = self.policy {
            statements.ask_for(policy);
        }
        // What is by nobody who is a promoter, or is not any more, is nobody's.
        let shown = shown.iter().filter_map(|bundle| statements.add(bundle).ok().cloned());
        self.found.extend(shown.collect::<Vec<_>>());
        if let Some(OfRepository { kept, facts, weighed, promoters, .. }) = self.kept.get_mut(repository) {
            kept.rows.iter().for_each(|row| drop(statements.add(&row.bundle)));
            promoters.extend(statements.all().iter().map(|signed| signed.credential().to_string()));
            statements.raise_floor(kept.floor(|promoter| promoters.contains(promoter)));
            // What spoke against a promotion once still does, whoever is a promoter today.
            facts.iter().for_each(|fact| statements.remember(*fact));
            *weighed = facts.iter().copied().chain(statements.facts(now)).collect();
        }
    }

    /// The manifest that was promoted last in a repository, by what was kept: what a replaceable model may be by now.
    ///
    /// # Errors
    /// Those of [`Statements::demanded`].
    pub(crate) fn newest(&self, trust: &TrustFile, repository: &str, now: UnixTime) -> Result<Option<Sha256>> {
        let (Some(kept), Some(mut statements)) = (self.kept.get(repository), Statements::demanded(trust, repository)?)
        else {
            return Ok(None);
        };
        kept.kept.rows.iter().for_each(|row| drop(statements.add(&row.bundle)));
        let reached = statements.facts(now).into_iter().filter_map(|fact| match fact {
            Fact::Reached { manifest, sequence } => Some((sequence, manifest)),
            Fact::Demoted { .. } => None,
        });
        Ok(reached.max().map(|(_, manifest)| manifest))
    }

    /// What the release hangs on, for a promotion that was judged by all that [`Self::add_to`] added.
    ///
    /// # Errors
    /// `internal`: nothing was added of that repository.
    pub(crate) fn held(&self, repository: &str, promotion: &Promotion) -> Result<Held> {
        let of = self.kept.get(repository);
        let of = of.ok_or_else(|| Refusal::new(Code::Internal, "what is known of a repository").got(repository))?;
        let kept = of.kept.rows.iter().map(told);
        let found = self.found.iter().map(|signed| (signed.payload(), signed.credential().to_string()));
        Ok(Held {
            place: of.place.clone(),
            promotion: promotion.clone(),
            judged: kept.chain(found).collect(),
            weighed: of.weighed.clone(),
            promoters: of.promoters.clone(),
        })
    }

    /// Keeps what registries showed, whatever came of it.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`; those of the stored policies.
    pub(crate) async fn keep(&self, store: &mut Transaction<'_>, now: UnixTime) -> Result<()> {
        match self.found.is_empty() {
            true => Ok(()),
            false => keep(store, &self.found, now).await,
        }
    }
}

/// Keeps statements, and what they speak against, under every policy that is in force.
async fn keep(store: &mut Transaction<'_>, statements: &[SignedStatement], now: UnixTime) -> Result<()> {
    if !store.keep_promotions(statements, now).await? {
        return Ok(());
    }
    let of = |signed: &SignedStatement| (signed.statement().repository.clone(), signed.statement().environment.clone());
    let policies = store.policies().await?;
    for (repository, environment) in statements.iter().map(of).collect::<BTreeSet<_>>() {
        for policy in policies.iter() {
            learn(store, policy, &repository, &environment, statements, now).await?;
        }
    }
    Ok(())
}

/// Keeps what all that is known by now speaks against under a policy, before anybody is a promoter no more: once it is put.
///
/// # Errors
/// `store-failed`, `store-tampered`; those of the stored policy.
pub(crate) async fn learn_under(store: &mut Transaction<'_>, id: &ResourcePath, now: UnixTime) -> Result<()> {
    let policy = store.policy(id).await?;
    for (repository, environment) in store.promotion_places().await? {
        learn(store, &policy, &repository, &environment, &[], now).await?;
    }
    Ok(())
}

async fn learn(
    store: &mut Transaction<'_>,
    policy: &StoredPolicy,
    repository: &str,
    environment: &Environment,
    new: &[SignedStatement],
    now: UnixTime,
) -> Result<()> {
    let mut statements = match Statements::demanded(policy.policy.trust(), repository) {
        Err(refusal) if refusal.code == Code::RepositoryUntrusted => return Ok(()),
        Ok(Some(statements)) if statements.environment() == environment => statements,
        demanded => return demanded.map(drop),
    };
    // What is by none of its promoters, or about another place, is nothing to it.
    let kept = store.promotions(repository, environment).await?;
    kept.rows.iter().for_each(|row| drop(statements.add(&row.bundle)));
    new.iter().for_each(|signed| drop(statements.add(signed.bundle())));
    store.keep_promotion_facts(&place(policy, repository, environment), &statements.facts(now)).await
}

/// Verifies that a model of a deployment is promoted at `now` as a policy demands, by all that is kept; what is noted of the promotion
/// is the answer, nothing where none is demanded.
///
/// # Errors
/// Those of [`Statements::demanded`] and [`Statements::judge`]; `internal`: the deployment has no such model; `store-failed`,
/// `store-tampered`.
pub(crate) async fn still_holds(
    store: &mut Transaction<'_>,
    deployment: &Deployment,
    policy: &StoredPolicy,
    reference: &str,
    now: UnixTime,
) -> Result<Option<Value>> {
    let opened = Reference::parse(reference)?;
    let repository = opened.name();
    let is_named = |model: &Model| model.repository_and_digest().is_ok_and(|(named, _)| named == repository);
    let manifest = opened.digest().filter(|_| deployment.settings().models.iter().any(is_named));
    let manifest = manifest.ok_or_else(|| Refusal::new(Code::Internal, "model of the deployment").got(reference))?;
    let Some(mut statements) = Statements::demanded(policy.policy.trust(), &repository)? else { return Ok(None) };
    let mut known = Known::load(store, deployment, policy).await?;
    known.add_to(&mut statements, &repository, &[], now);
    let promotion = statements.judge(&manifest, now)?;
    Ok(Some(known.held(&repository, &promotion)?.note()))
}

fn place(policy: &StoredPolicy, repository: &str, environment: &Environment) -> Place {
    Place { policy: policy.metadata.id.clone(), repository: repository.to_owned(), environment: environment.clone() }
}

fn told(row: &StoredPromotion) -> Told {
    (row.payload, row.promoter.clone())
}

impl Held {
    /// The promotion.
    pub(crate) const fn promotion(&self) -> &Promotion {
        &self.promotion
    }

    /// Verifies that it still holds at `now`, and that nothing is known by `store` that it was not judged by.
    ///
    /// # Errors
    /// `promotion-expired`; `busy`: somebody promoted or demoted meanwhile; `store-failed`, `store-tampered`.
    pub(crate) async fn confirm(&self, store: &mut Transaction<'_>, now: UnixTime) -> Result<()> {
        if now > self.promotion.expires() {
            let refusal = Refusal::new(Code::PromotionExpired, "promotion of the model").got(self.promotion.expires());
            return Err(refusal.want(format!("{now} or later")));
        }
        let kept = store.promotions(&self.place.repository, &self.place.environment).await?;
        let floor = kept.floor(|promoter| self.promoters.contains(promoter));
        let told = kept.rows.iter().all(|row| self.judged.contains(&told(row)));
        // Of who is no promoter today there is no statement among these: it may have been hidden while this was decided.
        let facts = store.promotion_facts(&self.place).await?;
        let weighed = facts.iter().all(|fact| self.weighed.iter().any(|known| known.with(*fact) == Some(*known)));
        match told && weighed && floor <= self.promotion.sequence() {
            true => Ok(()),
            false => Err(Refusal::new(Code::Busy, "promotions of the model changed meanwhile")),
        }
    }

    /// What the audit log says of it.
    pub(crate) fn note(&self) -> Value {
        json!({
            "environment": self.promotion.environment(),
            "sequence": self.promotion.sequence(),
            "expires": self.promotion.expires(),
            "promoters": self.promotion.promoters().iter().map(|(name, _)| name).collect::<Vec<_>>(),
        })
    }
}

/// Keeps a statement that an administrator delivers; gives it as [`list`] does, and whether it is new.
///
/// 1. It is a statement.
/// 2. A release policy demands promotions of that repository to that environment, and the signature is one of its promoters'.
/// 3. A promotion has begun and has not ended.
/// 4. It is known already, or has a higher sequence than all that this promoter said before.
/// 5. A demotion has at least the sequence of every promotion that it is to end.
///
/// # Errors
/// `promotion-invalid`; `repository-untrusted`, or the refusal of the signature; `promotion-not-yet-valid`,
/// `promotion-expired`; `promotion-superseded`; `store-failed`, `store-tampered`; those of the stored policies.
pub(crate) async fn put(store: &mut Transaction<'_>, bundle: &[u8], now: UnixTime) -> Result<(Value, bool)> {
    // 1.
    let none = || Refusal::new(Code::PromotionInvalid, "body").want("the bundle of a promotion or demotion");
    let claimed = parse_attached(bundle).ok_or_else(none)??;
    // 2.
    let (signed, mut demanding) = verify(&store.policies().await?, &claimed, bundle)?;
    // 3.
    if let Action::Promote { expires, .. } = signed.statement().action {
        let issued = signed.statement().issued;
        if issued > now.saturating_add(limits::PROMOTION_SKEW) {
            return Err(Refusal::new(Code::PromotionNotYetValid, "promotion").got(issued).want(now));
        }
        if now > expires {
            return Err(Refusal::new(Code::PromotionExpired, "promotion").got(expires).want(format!("{now} or later")));
        }
    }
    // 4.
    let kept = store.promotions(&claimed.repository, &claimed.environment).await?;
    let is_it = |row: &&StoredPromotion| told(row) == (signed.payload(), signed.credential().to_string());
    let known = kept.rows.iter().any(|row| is_it(&row));
    let superseded = || Refusal::new(Code::PromotionSuperseded, "sequence of this promoter").got(claimed.sequence);
    let highest = store.highest_promotion(&signed).await?;
    if let (false, Some(highest)) = (known, highest.filter(|highest| claimed.sequence <= *highest)) {
        return Err(superseded().want(format!("more than {highest}")));
    }
    // 5.
    for statements in &mut demanding {
        kept.rows.iter().for_each(|row| drop(statements.add(&row.bundle)));
    }
    let promotes = |of: &Statement| of.promotes() && of.manifest == claimed.manifest;
    let promotions = demanding.iter().flat_map(Statements::all).map(SignedStatement::statement);
    let highest = promotions.filter(|of| promotes(of)).map(|of| of.sequence).max();
    if let (false, false, Some(least)) = (known, claimed.promotes(), highest.filter(|least| claimed.sequence < *least))
    {
        let refusal = Refusal::new(Code::PromotionSuperseded, "sequence of the demotion").got(claimed.sequence);
        return Err(refusal.want(format!("at least {least}, which the model is promoted with")));
    }
    keep(store, core::slice::from_ref(&signed), now).await?;
    let kept = store.promotions(&claimed.repository, &claimed.environment).await?;
    let row = kept.rows.iter().find(is_it).ok_or_else(superseded)?;
    Ok((shown(row)?, !known))
}

/// The statement, and what the policies demand whose promoter signed it.
fn verify(
    policies: &[Arc<StoredPolicy>],
    claimed: &Statement,
    bundle: &[u8],
) -> Result<(SignedStatement, Vec<Statements>)> {
    let (mut signed, mut demanding, mut closest) = (None, Vec::new(), None);
    for policy in policies {
        let demanded = match Statements::demanded(policy.policy.trust(), &claimed.repository) {
            Err(refusal) if refusal.code == Code::RepositoryUntrusted => continue,
            demanded => demanded?,
        };
        let ours = |statements: &Statements| *statements.environment() == claimed.environment;
        let Some(mut statements) = demanded.filter(ours) else { continue };
        match statements.add(bundle) {
            Ok(added) => {
                signed.get_or_insert_with(|| added.clone());
                demanding.push(statements);
            }
            Err(refusal) => closest = Some(refusal),
        }
    }
    let signed = signed.ok_or_else(|| {
        closest.unwrap_or_else(|| {
            Refusal::new(Code::RepositoryUntrusted, "release policies that demand this promotion")
                .got("none")
                .want(format!("one for {} and `{}`", claimed.repository, claimed.environment))
        })
    })?;
    Ok((signed, demanding))
}

/// What is known of a repository, in one environment or in all, the newest first in each.
///
/// # Errors
/// `store-failed`, `store-tampered`.
pub(crate) async fn list(
    store: &mut Transaction<'_>,
    repository: &str,
    environment: Option<&Environment>,
) -> Result<Vec<Value>> {
    let environments = match environment {
        Some(one) => vec![one.clone()],
        None => store.environments(repository).await?,
    };
    let mut all = Vec::new();
    for environment in &environments {
        for row in &store.promotions(repository, environment).await?.rows {
            all.push(shown(row)?);
        }
    }
    Ok(all)
}

fn shown(row: &StoredPromotion) -> Result<Value> {
    let damaged = || Refusal::new(Code::StoreFailed, "stored promotion");
    let statement = parse_attached(&row.bundle).ok_or_else(damaged)??;
    let (expires, policy, reason) = match &statement.action {
        Action::Promote { expires, policy } => (Some(expires), *policy, None),
        Action::Demote { reason } => (None, None, Some(reason)),
    };
    Ok(json!({
        "action": if statement.promotes() { "promote" } else { "demote" },
        "repository": row.repository,
        "environment": row.environment,
        "manifest": statement.manifest.oci(),
        "sequence": row.sequence,
        "issued": statement.issued,
        "expires": expires,
        "policy": policy,
        "reason": reason,
        "signed_by": row.promoter,
        "received": row.created,
        "bundle": to_base64(&row.bundle),
    }))
}

#[cfg(test)]
mod tests;

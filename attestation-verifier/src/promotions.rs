//! Promotions as this service decides by them: what was delivered to it and what registries ever showed it are kept for good,
//! and each release is judged by all of it. A registry that hides a demotion, or shows an old promotion, gains nothing.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_appraisal::{ReleasePolicy, UnixTime};
use strongroom_artifact::promotion::{Action, Promotion, SignedStatement, Statement, Statements, parse_attached};
use strongroom_registry_client::Reference;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result, limits};

use crate::store::{Kept, StoredPolicy, StoredPromotion, Transaction};

/// What is known of promotions while one release is decided.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By repository: a rule names one environment.
    kept: BTreeMap<String, Kept>,
    /// SHA-256 of the policy's document.
    policy: Option<Sha256>,
    /// What registries showed, by promoters of the policy.
    found: Vec<SignedStatement>,
}

/// A promotion that a release hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    repository: String,
    promotion: Promotion,
    /// The statements that were looked at.
    judged: BTreeSet<Told>,
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
                let known = store.promotions(&repository, &demand.environment).await?;
                kept.insert(repository, known);
            }
        }
        Ok(Self { kept, policy: Some(policy.metadata.digest), found: Vec::new() })
    }

    /// Adds what is known to what a manifest's promotion is judged by: what was kept, and what its registry shows.
    pub(crate) fn add_to(&mut self, statements: &mut Statements, repository: &str, attached: &[Vec<u8>]) {
        if let Some(policy) = self.policy {
            statements.ask_for(policy);
        }
        // What is by nobody who is a promoter, or is not any more, is nobody's.
        let shown = attached.iter().filter_map(|bundle| statements.add(bundle).ok().cloned());
        self.found.extend(shown.collect::<Vec<_>>());
        if let Some(kept) = self.kept.get(repository) {
            kept.rows.iter().for_each(|row| drop(statements.add(&row.bundle)));
            statements.raise_floor(kept.floor);
        }
    }

    /// What the release hangs on, for a promotion that was judged by all that [`Self::add_to`] added.
    pub(crate) fn held(&self, repository: &str, promotion: &Promotion) -> Held {
        let kept = self.kept.get(repository).into_iter().flat_map(|kept| kept.rows.iter().map(told));
        let found = self.found.iter().map(|signed| (signed.payload(), signed.credential().to_string()));
        Held { repository: repository.to_owned(), promotion: promotion.clone(), judged: kept.chain(found).collect() }
    }

    /// Keeps what registries showed, whatever came of it.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`.
    pub(crate) async fn keep(&self, store: &mut Transaction<'_>, now: UnixTime) -> Result<()> {
        match self.found.is_empty() {
            true => Ok(()),
            false => store.keep_promotions(&self.found, now).await.map(drop),
        }
    }
}

fn told(row: &StoredPromotion) -> Told {
    (row.payload, row.promoter.clone())
}

impl Held {
    /// Verifies that it still holds at `now`, and that nothing is known by `store` that it was not judged by.
    ///
    /// # Errors
    /// `promotion-expired`; `busy`: somebody promoted or demoted meanwhile; `store-failed`, `store-tampered`.
    pub(crate) async fn confirm(&self, store: &mut Transaction<'_>, now: UnixTime) -> Result<()> {
        if now > self.promotion.expires() {
            let refusal = Refusal::new(Code::PromotionExpired, "promotion of the model").got(self.promotion.expires());
            return Err(refusal.want(format!("{now} or later")));
        }
        let kept = store.promotions(&self.repository, self.promotion.environment()).await?;
        match kept.rows.iter().all(|row| self.judged.contains(&told(row))) {
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
///
/// # Errors
/// `promotion-invalid`; `repository-untrusted`, or the refusal of the signature; `promotion-not-yet-valid`,
/// `promotion-expired`; `promotion-superseded`; `store-failed`, `store-tampered`; those of the stored policies.
pub(crate) async fn put(store: &mut Transaction<'_>, bundle: &[u8], now: UnixTime) -> Result<(Value, bool)> {
    // 1.
    let none = || Refusal::new(Code::PromotionInvalid, "body").want("the bundle of a promotion or demotion");
    let claimed = parse_attached(bundle).ok_or_else(none)??;
    // 2.
    let signed =
        verify(&store.policies().await?.iter().map(|stored| &stored.policy).collect::<Vec<_>>(), &claimed, bundle)?;
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
    let highest = store.highest_promotion(&signed).await?;
    let kept = store.promotions(&claimed.repository, &claimed.environment).await?;
    let is_it = |row: &&StoredPromotion| told(row) == (signed.payload(), signed.credential().to_string());
    if let Some(row) = kept.rows.iter().find(is_it) {
        return Ok((shown(row)?, false));
    }
    if let Some(highest) = highest.filter(|highest| claimed.sequence <= *highest) {
        let refusal = Refusal::new(Code::PromotionSuperseded, "sequence of this promoter").got(claimed.sequence);
        return Err(refusal.want(format!("more than {highest}")));
    }
    store.keep_promotions([&signed], now).await?;
    let kept = store.promotions(&claimed.repository, &claimed.environment).await?;
    let row = kept.rows.iter().find(is_it).ok_or_else(|| {
        let refusal = Refusal::new(Code::PromotionSuperseded, "sequence").got(claimed.sequence);
        refusal.want(format!("at least {}", kept.floor))
    })?;
    Ok((shown(row)?, true))
}

fn verify(policies: &[&ReleasePolicy], claimed: &Statement, bundle: &[u8]) -> Result<SignedStatement> {
    let mut closest = None;
    for policy in policies {
        let demanded = match Statements::demanded(policy.trust(), &claimed.repository) {
            Err(refusal) if refusal.code == Code::RepositoryUntrusted => continue,
            demanded => demanded?,
        };
        let ours = |statements: &Statements| *statements.environment() == claimed.environment;
        let Some(mut statements) = demanded.filter(ours) else { continue };
        match statements.add(bundle) {
            Ok(signed) => return Ok(signed.clone()),
            Err(refusal) => closest = Some(refusal),
        }
    }
    Err(closest.unwrap_or_else(|| {
        Refusal::new(Code::RepositoryUntrusted, "release policies that demand this promotion")
            .got("none")
            .want(format!("one for {} and `{}`", claimed.repository, claimed.environment))
    }))
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

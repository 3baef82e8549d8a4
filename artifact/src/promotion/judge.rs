//! Whether a manifest is promoted, by all statements that are known.

use super::statement::Action;
use super::{Fact, SignedStatement, Statement};
use crate::ladder::match_up;
use crate::signers::{Credential, Signers};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::time::rfc3339;
use strongroom_wire::trust::{Environment, PromotionRule, Rule, TrustFile};
use strongroom_wire::{Code, Refusal, Result, limits};

/// The statements of a rule's promoters about one repository and the rule's environment. Only ever grows.
#[derive(Debug, Clone)]
pub struct Statements {
    rule: PromotionRule,
    repository: String,
    promoters: Signers,
    all: Vec<SignedStatement>,
    /// What is known beside them.
    remembered: Vec<Fact>,
    /// Why the first that is none of theirs was not taken.
    passed_over: Option<Refusal>,
    /// What is below counts as little as what is below the rule's minimum.
    floor: u64,
    /// The release policy that is asked, where it is one that asks.
    asked: Option<Sha256>,
}

/// That a manifest is promoted: enough distinct promoters said so, and nothing that is known says otherwise.
/// [`Statements::judge`] alone makes one.
///
/// ```compile_fail,E0451
/// use strongroom_artifact::promotion::Promotion;
/// let (environment, sequence, expires, policy, promoters) = todo!();
/// let forged = Promotion { environment, sequence, expires, policy, promoters };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    environment: Environment,
    sequence: u64,
    expires: u64,
    policy: Option<Sha256>,
    promoters: Vec<(String, Credential)>,
}

/// What statements must share to be about the same promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Content {
    sequence: u64,
    manifest: Sha256,
    policy: Option<Sha256>,
}

/// A promoter's word for a content, until a time.
type Vote<'s> = (&'s SignedStatement, u64);

impl Statements {
    /// None yet, for `repository` (`host[:port]/repo`) and its rule in `trust`; `None` where the rule demands no promotion.
    ///
    /// # Errors
    /// `repository-untrusted`; `key-invalid`, `trusted-root-invalid`.
    pub fn demanded(trust: &TrustFile, repository: &str) -> Result<Option<Self>> {
        Self::of_rule(trust.rule_for(repository)?, trust.trusted_root.as_deref(), repository)
    }

    pub(crate) fn of_rule(rule: &Rule, trusted_root: Option<&str>, repository: &str) -> Result<Option<Self>> {
        let Some(rule) = &rule.promotion else { return Ok(None) };
        Ok(Some(Self {
            promoters: Signers::parse(&rule.promoters, trusted_root)?,
            rule: rule.clone(),
            repository: repository.to_owned(),
            all: Vec::new(),
            remembered: Vec::new(),
            passed_over: None,
            floor: 0,
            asked: None,
        }))
    }

    /// Also demands that a promotion which names a release policy names this one.
    pub const fn ask_for(&mut self, policy: Sha256) {
        self.asked = Some(policy);
    }

    /// Also demands that the sequence is at least this: of what is below, not all is known any more.
    pub fn raise_floor(&mut self, sequence: u64) {
        self.floor = self.floor.max(sequence);
    }

    /// Also judges by a fact that was known before, of this repository and environment.
    pub fn remember(&mut self, fact: Fact) {
        self.remembered.push(fact);
    }

    /// What is to be remembered of these statements at `now`, in seconds of Unix time.
    pub fn facts(&self, now: u64) -> Vec<Fact> {
        let (present, _) = self.votes(now.saturating_add(limits::PROMOTION_SKEW));
        let reached = present.iter().filter(|(_, votes)| self.enough(votes));
        let reached = reached
            .map(|(Content { manifest, sequence, .. }, _)| Fact::Reached { manifest: *manifest, sequence: *sequence });
        let mut facts: Vec<Fact> = Vec::new();
        for fact in reached.chain(self.demotions(now).map(|(fact, _)| fact)) {
            match facts.iter_mut().find_map(|known| known.with(fact).map(|both| (known, both))) {
                Some((known, both)) => *known = both,
                None => facts.push(fact),
            }
        }
        facts
    }

    /// Takes the statement in a bundle, once.
    ///
    /// # Errors
    /// As [`SignedStatement::verify`]; `promotion-invalid`: it is about another repository or environment. It is then passed over.
    pub fn add(&mut self, bundle: &[u8]) -> Result<&SignedStatement> {
        let signed = match SignedStatement::verify(bundle, &self.promoters).and_then(|signed| self.of_ours(signed)) {
            Ok(signed) => signed,
            Err(refusal) => {
                self.passed_over.get_or_insert_with(|| refusal.clone());
                return Err(refusal);
            }
        };
        let at = self.all.iter().position(|known| known.is(&signed)).unwrap_or_else(|| {
            self.all.push(signed);
            self.all.len().saturating_sub(1)
        });
        self.all.get(at).ok_or_else(|| Refusal::new(Code::Internal, "statements"))
    }

    fn of_ours(&self, signed: SignedStatement) -> Result<SignedStatement> {
        let Statement { repository, environment, .. } = signed.statement();
        if (repository, environment) == (&self.repository, &self.rule.environment) {
            return Ok(signed);
        }
        Err(Refusal::new(Code::PromotionInvalid, "place of a promotion")
            .got(format!("{repository}, {environment}"))
            .want(format!("{}, {}", self.repository, self.rule.environment)))
    }

    /// All that were taken.
    pub fn all(&self) -> &[SignedStatement] {
        &self.all
    }

    /// What the promotion is to.
    pub const fn environment(&self) -> &Environment {
        &self.rule.environment
    }

    /// Whether `manifest` is promoted at `now`, in seconds of Unix time, by the rules of [the module](super).
    ///
    /// 1. Who promoted what; a statement of the future says nothing yet.
    /// 2. What of it enough distinct promoters said.
    /// 3. Of that, what has the highest sequence is about this manifest alone, and not below a minimum.
    /// 4. No promoter demoted it since: neither with that sequence or a higher one, nor after enough of them promoted it.
    /// 5. It names the policy that it must name.
    /// 6. As many still stand by it.
    ///
    /// # Errors
    /// In this order: `promotion-not-yet-valid`, `promotion-missing`; `promotion-superseded`; `promotion-demoted`;
    /// `promotion-policy-mismatch`; `promotion-expired`.
    pub fn judge(&self, manifest: &Sha256, now: u64) -> Result<Promotion> {
        let refused = |code| Refusal::new(code, format!("promotion to `{}`", self.rule.environment));
        // 1.
        let (present, future) = self.votes(now.saturating_add(limits::PROMOTION_SKEW));
        // 2.
        let reached = present.iter().filter(|(_, votes)| self.enough(votes));
        let mut reached: Vec<_> = reached.map(|(content, votes)| (*content, votes.clone())).collect();
        let own = reached.iter().filter(|(content, _)| content.manifest == *manifest);
        let Some(sequence) = own.map(|(content, _)| content.sequence).max() else {
            if future.iter().any(|content| content.manifest == *manifest) {
                let want = format!("issued at {} or before", rfc3339(now));
                return Err(refused(Code::PromotionNotYetValid).want(want));
            }
            return Err(self.missing(refused(Code::PromotionMissing), manifest, &present));
        };
        // 3.
        reached.retain(|(content, _)| content.sequence >= sequence);
        let reached_now = reached.iter().map(|(content, _)| (content.manifest, content.sequence));
        let reached_once = self.remembered.iter().filter_map(|fact| match fact {
            Fact::Reached { manifest, sequence } => Some((*manifest, *sequence)),
            Fact::Demoted { .. } => None,
        });
        let since = |(other, highest): &(Sha256, u64)| other != manifest && *highest >= sequence;
        if let Some((other, highest)) = reached_now.chain(reached_once).find(since) {
            let want = format!("{} with sequence {highest}", other.oci());
            return Err(refused(Code::PromotionSuperseded).got(format!("sequence {sequence}")).want(want));
        }
        let least = self.rule.minimum_sequence.max(self.floor);
        if sequence < least {
            let want = format!("at least {least}");
            return Err(refused(Code::PromotionSuperseded).got(format!("sequence {sequence}")).want(want));
        }
        // 4.
        let mut demotions: Vec<_> = self.demotions(now).filter(|(fact, _)| fact.manifest() == *manifest).collect();
        demotions.sort_by(|a, b| b.cmp(a));
        for (fact, by) in demotions {
            let Fact::Demoted { sequence: since, issued, .. } = fact else { continue };
            reached.iter_mut().for_each(|(_, votes)| votes.retain(|(vote, _)| vote.statement().issued >= issued));
            reached.retain(|(_, votes)| self.enough(votes));
            if since >= sequence || reached.is_empty() {
                let got = format!("demoted with sequence {since} at {}{by}", rfc3339(issued));
                let want = format!("a promotion with more than {since} and not made before that");
                return Err(refused(Code::PromotionDemoted).got(got).want(want));
            }
        }
        // 5.
        let policies: Vec<_> = reached.iter().map(|(content, _)| content.policy).collect();
        reached.retain(|(content, _)| self.fits(content.policy));
        // 6.
        let until = |(content, votes): &(Content, Vec<Vote<'_>>)| Some((self.until(votes)?, content.policy));
        let Some((expires, policy)) = reached.iter().filter_map(until).max() else {
            let shown = |policy: &Option<Sha256>| policy.map_or_else(|| "none".to_owned(), |policy| policy.oci());
            let got = policies.iter().map(shown).collect::<Vec<_>>().join(", ");
            let want = shown(&self.rule.policy.or(self.asked));
            return Err(refused(Code::PromotionPolicyMismatch).got(got).want(want));
        };
        if now > expires {
            return Err(refused(Code::PromotionExpired)
                .got(rfc3339(expires))
                .want(format!("{} or later", rfc3339(now))));
        }
        let votes = reached.iter().filter(|(content, _)| content.policy == policy).flat_map(|(_, votes)| votes.iter());
        let standing: Vec<Vote<'_>> = votes.filter(|(_, until)| *until >= now).copied().collect();
        let promoters = self.distinct(&standing);
        Ok(Promotion { environment: self.rule.environment.clone(), sequence, expires, policy, promoters })
    }

    /// The promotions of at latest `latest`, by what they say, and what later ones say.
    fn votes(&self, latest: u64) -> (BTreeMap<Content, Vec<Vote<'_>>>, Vec<Content>) {
        let (mut present, mut future) = (BTreeMap::<Content, Vec<Vote<'_>>>::new(), Vec::new());
        for signed in &self.all {
            let Statement { manifest, sequence, issued, .. } = *signed.statement();
            let Action::Promote { expires, policy } = signed.statement().action else { continue };
            let content = Content { sequence, manifest, policy };
            match issued <= latest {
                true => present.entry(content).or_default().push((signed, expires)),
                false => future.push(content),
            }
        }
        (present, future)
    }

    /// As many promoters as there can be of those votes, each by a credential of its own.
    fn distinct(&self, votes: &[Vote<'_>]) -> Vec<(String, Credential)> {
        let names: Vec<&str> = self.promoters.iter().map(|promoter| promoter.name.as_str()).collect();
        let proves = |name: &&str| {
            let theirs = votes.iter().filter(|(vote, _)| vote.promoters().iter().any(|promoter| promoter == name));
            theirs.map(|(vote, _)| vote.credential().clone()).collect::<Vec<_>>()
        };
        let proven: Vec<Vec<Credential>> = names.iter().map(proves).collect();
        let matched = match_up(&proven.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let named = |(at, credential): (usize, &Credential)| Some(((*names.get(at)?).to_owned(), credential.clone()));
        matched.into_iter().filter_map(named).collect()
    }

    /// The last second at which enough of those votes hold.
    fn until(&self, votes: &[Vote<'_>]) -> Option<u64> {
        let mut ends: Vec<u64> = votes.iter().map(|(_, until)| *until).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.into_iter().find(|end| {
            let standing: Vec<Vote<'_>> = votes.iter().filter(|(_, until)| until >= end).copied().collect();
            self.enough(&standing)
        })
    }

    fn enough(&self, votes: &[Vote<'_>]) -> bool {
        self.distinct(votes).len() >= self.rule.threshold.max(1)
    }

    /// What was taken out, and by whom and why where that is known. None is of later than `now`, so that a promoter's clock cannot
    /// stop what is promoted after.
    fn demotions(&self, now: u64) -> impl Iterator<Item = (Fact, String)> {
        let stated = self.all.iter().filter_map(move |signed| {
            let Statement { manifest, sequence, issued, .. } = *signed.statement();
            let Action::Demote { reason } = &signed.statement().action else { return None };
            let by = format!(" by {}: {reason}", signed.promoters().join(" or "));
            Some((Fact::Demoted { manifest, sequence, issued: issued.min(now) }, by))
        });
        let known = self.remembered.iter().filter(|fact| matches!(fact, Fact::Demoted { .. }));
        stated.chain(known.map(|fact| (*fact, String::new())))
    }

    fn fits(&self, named: Option<Sha256>) -> bool {
        self.rule.policy.is_none_or(|wanted| named == Some(wanted))
            && self.asked.is_none_or(|asked| named.is_none_or(|named| named == asked))
    }

    /// Adds how close it came.
    fn missing(&self, refusal: Refusal, manifest: &Sha256, votes: &BTreeMap<Content, Vec<Vote<'_>>>) -> Refusal {
        let own = votes.iter().filter(|(content, _)| content.manifest == *manifest);
        let counted = own.map(|(content, votes)| (self.distinct(votes), content.sequence));
        let got = match counted.max_by_key(|(promoters, sequence)| (promoters.len(), *sequence)) {
            Some((promoters, sequence)) => {
                let names: Vec<_> = promoters.iter().map(|(name, _)| name.as_str()).collect();
                format!("{} ({}) with sequence {sequence}", promoters.len(), names.join(", "))
            }
            None => self.passed_over.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
        };
        refusal.got(got).want(format!("{} distinct promoters", self.rule.threshold))
    }
}

impl Promotion {
    /// What it is to.
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Its sequence.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The last second at which enough promoters stand by it, in Unix time.
    pub const fn expires(&self) -> u64 {
        self.expires
    }

    /// SHA-256 of the release policy that they named, if they named one.
    pub const fn policy(&self) -> Option<Sha256> {
        self.policy
    }

    /// Those who stand by it, as the rule calls them, and what each was recognised by. No two are the same.
    pub fn promoters(&self) -> &[(String, Credential)] {
        &self.promoters
    }
}

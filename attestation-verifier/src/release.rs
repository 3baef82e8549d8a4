//! The recipe of key release, in one file, since who reviews it reads all of its steps. Two requests of one session walk it:
//!
//! 1. parse: the attestation has the shape of its format, and its nonce is taken, which nobody can do twice;
//! 2. authenticate: the vendor's chain, revocation and the signature over the evidence hold now; endorsements that the evidence
//!    came without are those that are kept, or that the vendor is asked for (`vendors.rs`); no revocation list is older than
//!    one that was seen before;
//! 3. appraise: report data commits to nonce and key, the hardware names the document, and a release policy accepts the guest;
//! 4. decide: the key exists and is enabled, its own policy accepts the guest, a model of the document that is signed
//!    and promoted as that policy demands is sealed with it, and the Cedar policies in force permit that such a guest has that
//!    key for that model, and none forbids it; then the key's custody opens it;
//! 5. append the decision, accepted or refused, durably to the audit log; what the key's own state, policy, promotion and
//!    session are, how often the key may still be released, which Cedar policies are in force, whether the endorsements of step 2 still hold, and that
//!    nothing about guest, models and key is revoked or quarantined, is looked at (once more) in the very transaction, since step 4 may
//!    have waited for a registry;
//! 6. release: the key leaves the service, wrapped to the attested key.
//!
//! `attest` makes steps 1, 2, 3 and 5; `release` makes steps 3 (by the policy of the very key, as it is now), 4, 5 and 6.
//! Step 6 takes the proof of step 5 by value: without it, it does not compile.
//!
//! Refusals of evidence that is not authentic, or was not made for this session, and of whoever has no session, are anybody's to cause:
//! of those, step 5 records the first of a minute and the number of the others (`unproven.rs`).

use std::net::IpAddr;
use std::sync::Arc;

use strongroom_appraisal::{Seen, Sightings};
use strongroom_tlog::EntryProof;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::AUDIENCE;
use strongroom_wire::kbs::{Attestation, Jwe, ResourcePath, RuntimeData};
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::attest::{Attested, Claim, Judgement, Shown, judge};
use crate::audit::Kind;
use crate::authorization::{Permitted, release_question};
use crate::custody::KeyValue;
use crate::platform::{Authentic, Verified};
use crate::promotions::{Held, Known};
use crate::revocation::Subject;
use crate::sessions::Challenged;
use crate::store::{Opening, Recorded, StoredKey, StoredPolicy, Transaction};
use crate::token::{self, About};
use crate::trail::Trail;
use crate::vendors::Supplied;

/// A key that was released.
#[derive(Debug)]
pub struct Released {
    /// It, wrapped to the attested key.
    pub jwe: Jwe,
    /// That its release is in the log, with the entry itself.
    pub proof: EntryProof,
}

/// What step 4 approved by.
struct Approved {
    /// What its custody opened before a transaction begins, which may wait for nothing else. An id never has another value.
    value: KeyValue,
    policy: Arc<StoredPolicy>,
    /// The model that the key is for, as the document names it.
    model: String,
    promotion: Option<Held>,
    permitted: Permitted,
}

/// What step 3 says of a guest beside its evidence.
pub(crate) struct Accepted {
    pub(crate) deployment: Deployment,
    /// Digests of the policies that accept it.
    pub(crate) policies: Vec<Sha256>,
}

impl Verifier {
    /// Judges the evidence of `POST /attest` in a session and answers with a token for what it accepted.
    ///
    /// # Errors
    /// The reason of the first step that did not hold; the session's nonce is used up unless the request had no shape at
    /// all or the session none to give. `peer` is on whose behalf endorsements may be asked for.
    pub async fn attest(&self, session: &str, body: impl AsRef<[u8]>, peer: Option<IpAddr>) -> Result<String> {
        let now = self.clock.now();
        let mut trail = Trail::new(Kind::Attestation, "-");
        let parsed = Attestation::parse(body.as_ref())
            .and_then(|attestation| Claim::parse(attestation, self.sessions.take(&self.store, session, now)?));
        // Not held while others are waited for.
        drop(body);
        let claim = match parsed {
            Ok(claim) => claim, // 1
            Err(refusal) => {
                self.refused_unproven(trail, &refusal).await?;
                return Err(refusal);
            }
        };
        let Claim { mut shown, runtime, recipient, session } = claim;
        let thumbprint = shown.holder.clone();
        trail.note("key", &thumbprint);
        let (authentic, Accepted { deployment, policies }, recorded) =
            self.accept(&mut shown, &session, Some(&runtime), peer, now, trail).await?; // 2, 3, 5

        let about = About { runtime, thumbprint: &thumbprint, id: &session.id(), audience: AUDIENCE };
        let claims = token::claims(about, &authentic, shown.bound.document, &policies, now);
        let token = self.tokens.signer_for(&deployment.settings().verifier.token_key).sign(&claims)?;
        let (bound, seq) = (shown.bound, recorded.seq());
        let attested = Attested { authentic, bound, deployment, recipient, thumbprint, seq, session };
        self.sessions.remember(&Arc::new(attested), now);
        Ok(token)
    }

    /// What was attested in a session, here or at another verifier that shares the store: then it is verified again, by the bytes that it
    /// was accepted on.
    ///
    /// # Errors
    /// `session-unknown`: also where nothing was accepted in it; `session-expired`; why the evidence is not authentic any more;
    /// `store-failed`; `store-tampered`.
    async fn attested(&self, id: &str, now: u64) -> Result<Arc<Attested>> {
        let session = Challenged::of(&self.store, id, now)?;
        if let Some(attested) = self.sessions.find(&session) {
            return Ok(attested);
        }
        let stored = self.store.begin_reading().await?.session(&session).await?;
        let Claim { shown, recipient, session, .. } = Claim::of_kept(&stored.shown, session)?;
        let thumbprint = shown.holder.clone();
        let (mut checks, mut sightings) = (Vec::new(), Sightings::default());
        let Shown { evidence, endorsements, bound, document, .. } = shown;
        let under = (&self.roots, &self.known);
        let authentic = evidence.authenticate(&bound, &endorsements, under, now, &mut checks, &mut sightings)?;
        let (deployment, seq) = (Deployment::parse(&document)?, stored.seq);
        let attested = Arc::new(Attested { authentic, bound, deployment, recipient, thumbprint, seq, session });
        self.sessions.remember(&attested, now);
        Ok(attested)
    }

    /// Steps 2, 3 and 5 of what a guest shows for the nonce of `session`, which is used up. What is accepted for `keys`, bound to those,
    /// is kept for every verifier that shares the store.
    ///
    /// # Errors
    /// The reason of the first step that did not hold; it is on record, or counted.
    pub(crate) async fn accept(
        &self,
        shown: &mut Shown,
        session: &Challenged,
        keys: Option<&RuntimeData>,
        peer: Option<IpAddr>,
        now: u64,
        mut trail: Trail,
    ) -> Result<(Authentic, Accepted, Recorded)> {
        trail.about(shown.bound.document.oci());
        trail.note("platform", shown.evidence.tee().platform());
        trail.note("measurement", shown.evidence.measurement());
        if let Some(report) = shown.evidence.report() {
            trail.note("chip", hex::encode(report.chip_id));
        }
        let (authentic, without_list) = match self.authenticate(shown, peer, now, &mut trail).await {
            Ok(authentic) => authentic,
            Err(refusal) => {
                self.refused_unproven(trail, &refusal).await?;
                return Err(refusal);
            }
        };
        let fresh = authentic.is_made_for(&shown.bound);
        let accepted = self.appraise(shown, &authentic, &mut trail).await.map_err(|refusal| match without_list {
            // The guest can do nothing about it but try again.
            Some(why) if refusal.code == Code::CrlMissing => why,
            _ => refusal,
        });
        if let (Err(refusal), false) = (&accepted, fresh) {
            self.refused_unproven(trail, refusal).await?;
            return Err(refusal.clone());
        }
        let mut store = self.store.begin().await?;
        let now = self.clock.now();
        if let Err(refusal) = store.spend(session, now).await {
            drop(store);
            self.refused_unproven(trail, &refusal).await?;
            return Err(refusal);
        }
        let accepted = match accepted {
            Ok(accepted) => self.still_accepts(&mut store, shown, &authentic, accepted, now).await,
            Err(refusal) => Err(refusal),
        };
        let accepted = match (accepted, keys) {
            (Ok(accepted), Some(keys)) => {
                store.keep_session(session, &shown.kept(keys)?, self.most_sessions, now).await.map(|()| accepted)
            }
            (accepted, _) => accepted,
        };
        let recorded = store.commit(now, &trail.event(accepted.as_ref().err())).await?; // 5
        Ok((authentic, accepted?, recorded))
    }

    /// What was accepted, where that still holds as the transaction that records it sees it: a vendor may have been waited for.
    pub(crate) async fn still_accepts(
        &self,
        store: &mut Transaction<'_>,
        shown: &Shown,
        authentic: &Authentic,
        accepted: Accepted,
        now: u64,
    ) -> Result<Accepted> {
        verify_dates(authentic, now)?;
        authentic.verify_newest(&mut store.seen().await?)?;
        // Whoever was launched with this document may have the keys that its guests were given.
        let subject = Subject::of_guest(authentic, &shown.holder, &accepted.deployment)?;
        let openings = store.openings(shown.bound.document).await?;
        let subject = openings.iter().fold(subject, Subject::with_opening);
        let subject = shown.served.iter().copied().fold(subject, Subject::with_model);
        store.verify_not_revoked(&subject).await?;
        let policies = store.policies_in_force(now).await?;
        let Judgement { accepted: policies, .. } =
            judge(authentic, &shown.bound, &policies).map_err(|(refusal, _)| refusal)?;
        Ok(Accepted { policies, ..accepted })
    }

    /// The evidence, and why there is no revocation list where none could be had.
    async fn authenticate(
        &self,
        shown: &mut Shown,
        peer: Option<IpAddr>,
        now: u64,
        trail: &mut Trail,
    ) -> Result<(Authentic, Option<Refusal>)> {
        let supplied = self.supply(shown, peer, now).await?;
        let authentic = match self.verify(shown, &supplied, now, trail).await {
            // A newer list was seen than is kept here or by the guest's host: that is no guest's fault.
            Err(refusal) if refusal.code == Code::CollateralRolledBack => match self.renew(shown, peer, now).await? {
                true => self.verify(shown, &supplied, now, trail).await?,
                false => return Err(refusal),
            },
            outcome => outcome?,
        };
        Ok((authentic, supplied.without_list))
    }

    /// Step 2 by what is shown by now, and that against what was seen before.
    async fn verify(&self, shown: &Shown, supplied: &Supplied, now: u64, trail: &mut Trail) -> Result<Authentic> {
        let (mut checks, mut sightings) = (Vec::new(), Sightings::default());
        let Shown { evidence, bound, endorsements, .. } = shown;
        let under = (&self.roots, &self.known);
        let authentic = evidence.authenticate(bound, endorsements, under, now, &mut checks, &mut sightings); // 2
        trail.checks("authentication", &checks);
        match authentic {
            Ok(authentic) => {
                // Whoever has evidence of another session, and newer endorsements than are kept here, moves nothing.
                let moves = authentic.is_made_for(bound);
                let compare = |seen: &mut Seen| {
                    let mut compared = seen.clone();
                    authentic.verify_newest(&mut compared)?;
                    if moves {
                        *seen = compared;
                    }
                    Ok(())
                };
                if self.store.compare(compare).await? {
                    self.keep_newer_lists(shown, now);
                }
                Ok(authentic)
            }
            Err(refusal) => {
                self.doubt(shown, supplied, &refusal);
                if evidence.quote().is_some() && evidence.verify_made_for(bound).is_err() {
                    return Err(refusal);
                }
                // The list that revokes counts from now on, for whatever older one is brought next.
                let remember = |seen: &mut Seen| {
                    sightings.remember(seen);
                    Ok(())
                };
                self.store.compare(remember).await?;
                Err(refusal)
            }
        }
    }

    async fn appraise(&self, shown: &Shown, authentic: &Authentic, trail: &mut Trail) -> Result<Accepted> {
        trail.note("root", authentic.root());
        trail.note("machine", authentic.machine());
        let policies = self.store.begin_reading().await?.policies_in_force(self.clock.now()).await?;
        let Judgement { accepted, checks } = judge(authentic, &shown.bound, &policies).map_err(|refused| {
            trail.checks("appraisal", &refused.1);
            refused.0
        })?; // 3
        trail.checks("appraisal", &checks);
        trail.note("policies", &accepted);

        // Only now is the document read: the hardware named its digest and a policy approved it.
        let deployment = Deployment::parse(&shown.document)?;
        let (says, is) = (deployment.settings().root, authentic.root());
        if says != is {
            return Err(Refusal::new(Code::RealmMismatch, "root of the deployment document").got(says).want(is));
        }
        Ok(Accepted { deployment, policies: accepted })
    }

    /// Answers `GET /resource/<id>` for what was accepted in a session.
    ///
    /// # Errors
    /// The reason of the first step that did not hold, `session` included. `store-failed` where the decision could not be
    /// recorded: then nothing is released. `busy`: a policy changed while it was applied.
    pub async fn release(&self, session: Result<String>, id: &str) -> Result<Released> {
        let asked = async {
            let attested = self.attested(&session?, self.clock.now()).await?;
            Ok((attested, ResourcePath::parse(id)?))
        };
        let asked: Result<_> = asked.await;
        let (attested, id) = match &asked {
            Ok((attested, id)) => (attested, id),
            Err(refusal) => {
                self.refused_unproven(Trail::new(Kind::Release, "-"), refusal).await?;
                return Err(refusal.clone());
            }
        };

        let mut trail = Trail::new(Kind::Release, id.as_str());
        let mut known = Known::default();
        let approved = self.decide(attested, id, &mut known, &mut trail).await; // 3, 4
        let mut store = self.store.begin().await?;
        let now = self.clock.now();
        known.keep(&mut store, now).await?;
        let decided = match approved {
            Ok(approved) => {
                let confirmed = self.confirm(&mut store, attested, id, &approved, now, &mut trail).await;
                confirmed.map(|()| approved.value)
            }
            Err(refusal) => Err(refusal),
        };
        let recorded = store.commit(now, &trail.event(decided.as_ref().err())).await?; // 5
        hand_over(id, decided?, attested, recorded) // 6
    }

    /// Decides by the key, the policy and the promotions that are in force when it begins, and by what registries show. What it
    /// approved by is the answer.
    async fn decide(
        &self,
        attested: &Attested,
        id: &ResourcePath,
        known: &mut Known,
        trail: &mut Trail,
    ) -> Result<Approved> {
        trail.note("attestation", attested.seq);
        trail.note("key", &attested.thumbprint);
        trail.note("deployment", attested.deployment.digest().oci());

        let mut store = self.store.begin_reading().await?;
        store.key(id).await?.enabled()?;
        let stored = store.policy_in_force(id, self.clock.now()).await?;
        *known = Known::load(&mut store, &attested.deployment, &stored).await?;
        drop(store);
        trail.note("policy", stored.metadata.digest.oci());
        trail.note("policy-version", stored.metadata.version);
        // With what it takes of signed documents.
        trail.note("policy-in-force", stored.policy.digest().oci());

        let appraised = attested.authentic.appraise(stored.policy.appraisal(), &attested.bound); // 3
        trail.checks("appraisal", appraised.checks());
        let guest: Verified = appraised.into_verified()?;
        trail.note("platform", guest.authentic().tee().platform());
        trail.note("root", guest.authentic().root());

        let model = self.models.find(&attested.deployment, id, &stored.policy, known, self.clock.now()).await?; // 4
        trail.note("model", &model.reference);
        trail.note("signers", &model.signers);
        if let Some(promotion) = &model.promotion {
            trail.note("promotion", promotion.note());
        }
        // As they are once no registry is waited for any more.
        let mut store = self.store.begin_reading().await?;
        let StoredKey { metadata, wrapped } = store.key(id).await?.enabled()?;
        let policy = stored.policy.appraisal();
        let question = release_question(attested, &metadata, &model, policy, self.clock.now());
        let permitted = Permitted::ask(&mut store, question, trail).await?;
        drop(store);
        trail.note("custody", &metadata.custody);
        let value = self.custodies.unwrap(id.as_str(), &wrapped).await?;
        Ok(Approved { value, policy: stored, model: model.reference, promotion: model.promotion, permitted })
    }

    /// That the key may still be released by what `approved` it for who `attested` at `now`, once more, as the transaction that
    /// records it sees all of that, and that the endorsements that the session was accepted on still hold: their dates, and no newer
    /// revocation list was seen since. The release is counted.
    async fn confirm(
        &self,
        store: &mut Transaction<'_>,
        attested: &Attested,
        id: &ResourcePath,
        approved: &Approved,
        now: u64,
        trail: &mut Trail,
    ) -> Result<()> {
        attested.session.verify_current(now)?;
        verify_dates(&attested.authentic, now)?;
        attested.authentic.verify_newest(&mut store.seen().await?)?;
        let opening = Opening { key: id.clone(), model: approved.model.clone() };
        let subject = Subject::of_guest(&attested.authentic, &attested.thumbprint, &attested.deployment)?;
        let subject = subject.with_opening(&opening);
        store.verify_not_revoked(&subject).await?;
        let key = store.key(id).await?.enabled()?;
        let current = store.policy_in_force(id, now).await?;
        let policy = &approved.policy;
        let is = |stored: &StoredPolicy| (stored.metadata.version, stored.policy.digest());
        if is(&current) != is(policy) {
            let shown = |(version, digest): (u64, Sha256)| format!("version {version}, with what it takes {digest}");
            return Err(Refusal::new(Code::Busy, "release policy changed meanwhile")
                .got(shown(is(&current)))
                .want(shown(is(policy))));
        }
        if let Some(promotion) = &approved.promotion {
            promotion.confirm(store, now).await?;
        }
        approved.permitted.confirm(store, &key.metadata, now, trail).await?;
        store.keep_opening(attested.deployment.digest(), &opening).await?;
        let counted = store.count_release(key, current.policy.allowance(), now).await?;
        trail.note("releases", counted.uses.releases);
        Ok(())
    }
}

fn hand_over(id: &ResourcePath, value: KeyValue, attested: &Attested, recorded: Recorded) -> Result<Released> {
    let proof = recorded.proof()?;
    let jwe = attested.recipient.encrypt(value.expose())?;
    tracing::info!(key = id.as_str(), audit = recorded.seq(), "released");
    Ok(Released { jwe, proof })
}

/// A session outlives an endorsement certificate or revocation list that ends within its five minutes; what hangs on them
/// does not.
fn verify_dates(authentic: &Authentic, now: u64) -> Result<()> {
    let valid = authentic.valid();
    if valid.contains(&now) {
        return Ok(());
    }
    let (early, late) = match authentic.quote() {
        Some(_) => (Code::CollateralNotYetValid, Code::CollateralExpired),
        None => (Code::CertificateNotYetValid, Code::CertificateExpired),
    };
    let code = if now < *valid.start() { early } else { late };
    let want = format!("from {} to {}", valid.start(), valid.end());
    Err(Refusal::new(code, "endorsements of the attested evidence").got(now).want(want))
}

//! The recipe of key release. Two requests of one session walk it:
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
//! `attest` (`attest.rs`) makes step 1, and 2, 3 and 5 as everybody does who shows evidence (`attest/accept.rs`); `release`, here, makes
//! steps 3 (by the policy of the very key, as it is now), 4, 5 and 6. Step 6 takes the proof of step 5 by value: without it, it does not compile.
//!
//! Refusals of evidence that is not authentic, or was not made for this session, and of whoever has no session, are anybody's to cause:
//! of those, step 5 records the first of a minute and the number of the others (`unproven.rs`).

use std::sync::Arc;

use strongroom_tlog::EntryProof;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{Jwe, ResourcePath};
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::attest::{Attested, verify_dates};
use crate::audit::Kind;
use crate::authorization::{Permitted, release_question};
use crate::custody::KeyValue;
use crate::platform::Verified;
use crate::promotions::{Held, Known};
use crate::revocation::Subject;
use crate::store::{Opening, Recorded, StoredKey, StoredPolicy, Transaction};
use crate::trail::Trail;

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

impl Verifier {
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
        let counted = store.count_release(key, current.policy.allowance(), now).await?;
        trail.note("releases", counted.uses.releases);
        // Last: who is refused has opened nothing.
        store.keep_opening(attested.deployment.digest(), &opening).await
    }
}

fn hand_over(id: &ResourcePath, value: KeyValue, attested: &Attested, recorded: Recorded) -> Result<Released> {
    let proof = recorded.proof()?;
    let jwe = attested.recipient.encrypt(value.expose())?;
    tracing::info!(key = id.as_str(), audit = recorded.seq(), "released");
    Ok(Released { jwe, proof })
}

//! Steps 2, 3 and 5 of the recipe in `release.rs`, which every request that shows evidence walks: for keys, a passport, a lease or an
//! identity. What they come to is on record before anybody is told.

use std::net::IpAddr;

use strongroom_appraisal::{Seen, Sightings};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::RuntimeData;
use strongroom_wire::{Code, Refusal, Result};

use super::{Judgement, Shown, judge};
use crate::Verifier;
use crate::platform::Authentic;
use crate::revocation::Subject;
use crate::sessions::Challenged;
use crate::store::{Recorded, Transaction};
use crate::trail::Trail;
use crate::vendors::Supplied;

/// What step 3 says of a guest beside its evidence.
pub(crate) struct Accepted {
    pub(crate) deployment: Deployment,
    /// Digests of the policies that accept it.
    pub(crate) policies: Vec<Sha256>,
}

impl Verifier {
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
        if let (Ok(_), Authentic::Snp(report)) = (&accepted, &authentic) {
            self.known.remember(shown.endorsements.digest(), report);
        }
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
                self.store.compare(&self.clock, compare).await?;
                if moves {
                    self.keep_newer_lists(shown, supplied, now).await;
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
                self.store.compare(&self.clock, remember).await?;
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
}

/// A session outlives an endorsement certificate or revocation list that ends within its five minutes; what hangs on them
/// does not.
pub(crate) fn verify_dates(authentic: &Authentic, now: u64) -> Result<()> {
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

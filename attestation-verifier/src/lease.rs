//! The recipe of leases. Evidence that is made for one walks steps 1, 2, 3 and 5 of `release.rs`; then, in one transaction:
//!
//! 1. the models that the guest says it serves are those of its document; of those that this lets be replaced, any or none;
//! 2. neither it, nor what it was given, is revoked or quarantined;
//! 3. of each key that guests of its document were given for a model that it serves, the policy accepts it as it is now, and the model
//!    is promoted as that demands, by all that is known: no registry is asked, which could only add, and would add a way to stop every
//!    guest. What it gave up is no matter of policies any more; what is revoked is, whether it gave it up or not;
//! 4. it gets connections under those names that the table of routes gives its document and Cedar policies permit, where it says
//!    that it listens in a network of the configuration;
//! 5. the decision and the lease are recorded.
//!
//! Where it listens nobody vouches for. A lie brings it no client's prompt: TLS ends in an attested enclave, which the client
//! verifies. It brings routers' connections to whoever is there; therefore the networks, and without any no route.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;
use strongroom_appraisal::UnixTime;
use strongroom_jose::{signing_key, thumbprint};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::Confirmation;
use strongroom_wire::evidence::{EvidenceAnswer, Workload};
use strongroom_wire::lease::{self, Answer, Lease, Request};
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::attest::{Accepted, Shown};
use crate::audit::Kind;
use crate::config::Leases;
use crate::platform::Authentic;
use crate::revocation::Subject;
use crate::sessions::random;
use crate::store::{Opening, StoredLease, Transaction};
use crate::token::ISSUER;
use crate::trail::Trail;
use crate::{authorization, promotions};

/// What asks for a lease, taken apart. None of it is believed yet.
struct Asked {
    shown: Shown,
    nonce: Sha256,
    workload: Workload,
    addr: Option<SocketAddr>,
}

impl Asked {
    fn parse(request: Request) -> Result<Self> {
        let report_data = request.report_data()?;
        let Request { addr, evidence } = request;
        let holder = thumbprint(&signing_key(&evidence.key()?)?)?;
        let shown = Shown::of_answer(&evidence, report_data, &holder)?;
        let EvidenceAnswer { nonce, workload, .. } = evidence;
        Ok(Self { shown, nonce, workload, addr })
    }
}

impl Verifier {
    /// Judges the evidence of `POST /v1/lease` and answers with a lease for what it accepted.
    ///
    /// # Errors
    /// The reason of the first step that did not hold; the nonce is used up unless the request had no shape at all.
    pub(crate) async fn lease(&self, body: impl AsRef<[u8]>, peer: Option<IpAddr>) -> Result<Answer> {
        let now = self.clock.now();
        let mut trail = Trail::new(Kind::Attestation, "-");
        trail.note("purpose", "lease");
        let parsed = Request::parse(body.as_ref()).and_then(|request| {
            let session = self.take_challenge(request.evidence.nonce, now)?;
            Asked::parse(request).map(|asked| (asked, session))
        });
        drop(body);
        let (mut asked, session) = match parsed {
            Ok(asked) => asked,
            Err(refusal) => {
                self.refused_unproven(trail, &refusal).await?;
                return Err(refusal);
            }
        };
        trail.note("key", &asked.shown.holder);
        let (authentic, accepted, recorded) = self.accept(&mut asked.shown, &session, None, peer, now, trail).await?;

        let mut trail = Trail::new(Kind::Lease, asked.shown.bound.document.oci());
        trail.note("attestation", recorded.seq());
        trail.note("key", &asked.shown.holder);
        let mut store = self.store.begin().await?;
        let now = self.clock.now();
        let granted = grant(&mut store, &asked, &authentic, &accepted, &self.leases, now, &mut trail).await;
        store.commit(now, &trail.event(granted.as_ref().err())).await?; // 5
        let StoredLease { holder, expires, id, document, routes, .. } = granted?;

        let claims = Lease {
            aud: lease::AUDIENCE.to_owned(),
            iss: ISSUER.to_owned(),
            sub: document.oci(),
            jti: id,
            iat: now,
            exp: expires,
            nonce: asked.nonce,
            root: authentic.root(),
            cnf: Confirmation { jkt: holder },
            workload: asked.workload.digest()?,
            routes,
        };
        let signer = self.tokens.signer_for(&accepted.deployment.settings().verifier.token_key);
        Ok(Answer { token: signer.sign(&claims)? })
    }
}

/// Steps 1 to 4, and the lease of step 5.
async fn grant(
    store: &mut Transaction<'_>,
    asked: &Asked,
    authentic: &Authentic,
    accepted: &Accepted,
    terms: &Leases,
    now: UnixTime,
    trail: &mut Trail,
) -> Result<StoredLease> {
    let (Accepted { deployment, .. }, Shown { holder, bound, .. }) = (accepted, &asked.shown);
    let document = deployment.digest();
    verify_models(asked, accepted)?; // 1
    let openings = store.openings(document).await?;
    let subject = Subject::of_guest(authentic, holder, deployment)?;
    let subject = openings.iter().fold(subject, Subject::with_opening);
    let served = &asked.shown.served;
    let subject = served.iter().copied().fold(subject, Subject::with_model);
    store.verify_not_revoked(&subject).await?; // 2
    let (mut zone, mut judged) = (None, Vec::new());
    let is_served = |opening: &&Opening| served.iter().any(|manifest| opening.model.ends_with(&manifest.oci()));
    for opening in openings.iter().filter(is_served) {
        let within = |refusal: Refusal| refusal.within(format!("key `{}`", opening.key));
        let policy = store.policy_in_force(&opening.key, now).await.map_err(within)?;
        let appraised = authentic.appraise(policy.policy.appraisal(), bound);
        appraised.into_verified().map_err(within)?;
        let promotion = promotions::still_holds(store, deployment, &policy, &opening.model, now).await;
        judged.push(json!({ "key": opening.key, "promotion": promotion.map_err(within)? }));
        zone = zone.or_else(|| authentic.zone(policy.policy.appraisal()).map(str::to_owned));
    }
    for (reference, manifest) in replaced(asked, deployment)? {
        if openings.iter().any(|opening| opening.model == reference) {
            continue;
        }
        // A plain one in the place of another: no key of its own says who is a promoter, so those do that were released beside it.
        let mut promotion = None;
        for opening in &openings {
            let policy = store.policy_in_force(&opening.key, now).await?;
            let held = promotions::still_holds(store, deployment, &policy, &reference, now).await;
            match held.map_err(|refusal| refusal.within(format!("model `{reference}`"))) {
                Err(refusal) if refusal.code == Code::RepositoryUntrusted => {}
                held => promotion = held?.or(promotion),
            }
        }
        let unknown = || Refusal::new(Code::WorkloadMismatch, "model that takes another's place").got(manifest.oci());
        let promotion = promotion.ok_or_else(|| unknown().want("one that a release policy demands to be promoted"))?;
        judged.push(json!({ "model": reference, "promotion": promotion }));
    }
    trail.note("keys", judged); // 3
    let addr = asked.addr.filter(|addr| terms.networks.iter().any(|network| network.contains(addr.ip())));
    trail.note("address", json!({ "asked": asked.addr, "in-a-network": addr.is_some() }));
    let table = store.routes().await?;
    let names = table.names_of(document).filter(|_| addr.is_some());
    let workload = authentic.workload(holder, document, zone.as_deref());
    let routes = authorization::permitted_routes(store, &workload, names, now, trail).await?; // 4
    let lease = StoredLease {
        holder: holder.clone(),
        // Nothing that it rests on ends before it.
        expires: now.saturating_add(terms.seconds).min(*authentic.valid().end()),
        id: hex::encode(random::<16>()?),
        document,
        subject,
        addr,
        routes,
    };
    trail.note("expires", lease.expires);
    store.put_lease(&lease, now).await?;
    Ok(lease)
}

/// The models that are served in the place of those that the document names by digest: how they are referred to, and their digests.
fn replaced(asked: &Asked, deployment: &Deployment) -> Result<Vec<(String, Sha256)>> {
    let mut replaced = Vec::new();
    for model in deployment.settings().models.iter().filter(|model| model.replaceable) {
        let (repository, digest) = model.repository_and_digest()?;
        let served = asked.workload.models.iter().filter(|served| served.name == model.name);
        let others = served.map(|served| served.manifest).filter(|manifest| Some(*manifest) != digest);
        replaced.extend(others.map(|manifest| (format!("{repository}@{}", manifest.oci()), manifest)));
    }
    Ok(replaced)
}

fn verify_models(asked: &Asked, accepted: &Accepted) -> Result<()> {
    let models = &accepted.deployment.settings().models;
    // What they are replaced by is judged with the keys.
    let may_change = |name: &str| models.iter().any(|model| model.replaceable && model.name == name);
    let served = asked.workload.models.iter().filter(|model| !may_change(&model.name));
    let mut served: Vec<_> = served.map(|model| (model.name.as_str(), Some(model.manifest))).collect();
    let mut named = Vec::new();
    for model in models.iter().filter(|model| !model.replaceable) {
        named.push((model.name.as_str(), model.repository_and_digest()?.1));
    }
    served.sort();
    named.sort();
    match served == named {
        true => Ok(()),
        false => Err(Refusal::new(Code::WorkloadMismatch, "models that the guest serves")
            .got(format!("{served:?}"))
            .want(format!("{named:?}, as its deployment document says"))),
    }
}

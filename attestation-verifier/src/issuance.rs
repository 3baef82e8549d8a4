//! The recipe of identities. Evidence that is made for one walks steps 1, 2, 3 and 5 of `release.rs`; then, in one transaction:
//!
//! 1. what was accepted still is: endorsements, release policies, and that nothing about the guest is revoked or quarantined, nor the
//!    identity itself;
//! 2. Cedar policies permit that such a guest has that identity;
//! 3. the authority in use issues it, for an hour at most and for no longer than what it rests on;
//! 4. the decision is recorded, with the certificate's serial number.
//!
//! The certificate is for the key that the evidence is bound to, and who asks proved to hold it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use strongroom_jose::{signing_key, thumbprint};
use strongroom_svid::{Bundle, Request as SigningRequest, Svid};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::identity::{Identity, Request};
use strongroom_wire::spiffe::TrustDomain;
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::attest::{Accepted, Shown};
use crate::audit::Kind;
use crate::authorization::permitted_identity;
use crate::platform::Authentic;
use crate::revocation::Subject;
use crate::store::Transaction;
use crate::trail::Trail;

/// Seconds between two looks at whether the next authority is to be made.
const LOOK: u64 = 60;
/// Seconds after which others are to ask for the bundle again: far below the hour for which an authority is in it before it issues.
const REFRESH: u64 = 300;

/// What asks for an identity, taken apart. None of it is believed yet but that who asks holds the key.
struct Asked {
    shown: Shown,
    request: SigningRequest,
}

impl Asked {
    fn parse(request: &Request) -> Result<Self> {
        let asked = SigningRequest::parse(&request.csr()?)?;
        let holder = thumbprint(&signing_key(asked.spki())?)?;
        let shown = Shown::of_answer(&request.evidence, request.report_data(asked.spki())?, &holder)?;
        Ok(Self { shown, request: asked })
    }
}

impl Verifier {
    /// Judges the evidence of `POST /v1/identity` and answers with a certificate for what it accepted.
    ///
    /// # Errors
    /// The reason of the first step that did not hold; the nonce is used up unless the request had no shape at all. `route-unknown`:
    /// the configuration names no trust domain.
    pub(crate) async fn issue(&self, body: impl AsRef<[u8]>, peer: Option<IpAddr>) -> Result<Identity> {
        self.trust_domain()?;
        let now = self.clock.now();
        let mut trail = Trail::new(Kind::Attestation, "-");
        trail.note("purpose", "identity");
        let parsed = Request::parse(body.as_ref()).and_then(|request| {
            let session = self.take_challenge(request.evidence.nonce, now)?;
            Asked::parse(&request).map(|asked| (asked, session))
        });
        drop(body);
        let (Asked { mut shown, request }, session) = match parsed {
            Ok(asked) => asked,
            Err(refusal) => {
                self.refused_unproven(trail, &refusal).await?;
                return Err(refusal);
            }
        };
        trail.note("key", &shown.holder);
        trail.note("identity", request.id());
        let (authentic, accepted, recorded) = self.accept(&mut shown, &session, None, peer, now, trail).await?;

        let mut trail = Trail::new(Kind::Identity, request.id().as_str());
        trail.note("attestation", recorded.seq());
        trail.note("key", &shown.holder);
        trail.note("deployment", shown.bound.document.oci());
        let mut store = self.store.begin().await?;
        let issued = self.grant_identity(&mut store, &shown, &authentic, accepted, &request, &mut trail).await;
        store.commit(self.clock.now(), &trail.event(issued.as_ref().err())).await?; // 4
        let Svid { certificate, expires, .. } = issued?;
        Ok(Identity { certificate: to_base64(&certificate), expires })
    }

    /// Steps 1 to 3.
    async fn grant_identity(
        &self,
        store: &mut Transaction<'_>,
        shown: &Shown,
        authentic: &Authentic,
        accepted: Accepted,
        request: &SigningRequest,
        trail: &mut Trail,
    ) -> Result<Svid> {
        let (domain, now) = (self.trust_domain()?, self.clock.now());
        let accepted = self.still_accepts(store, shown, authentic, accepted, now).await?;
        store.verify_not_revoked(&Subject::of_identity(request.id())).await?; // 1
        let policies = store.policies_in_force(now).await?;
        let accepts = policies.iter().filter(|one| accepted.policies.contains(&one.stored.policy.digest()));
        let zones: BTreeSet<_> = accepts.filter_map(|one| authentic.zone(one.stored.policy.appraisal())).collect();
        // Where two of them say something else, nobody knows.
        let zone = if zones.len() == 1 { zones.first().copied() } else { None };
        let workload = authentic.workload(&shown.holder, shown.bound.document, zone);
        permitted_identity(store, workload, request.id(), now, trail).await?; // 2
        let authority = store.authorities().await?.issuing(domain, now)?;
        let svid = authority.issue(request, now, *authentic.valid().end())?; // 3
        trail.note("authority", Sha256::of(authority.certificate()));
        trail.note("serial", &svid.serial);
        trail.note("expires", svid.expires);
        Ok(svid)
    }

    /// Answers `GET /v1/bundle`: whom others believe.
    ///
    /// # Errors
    /// `route-unknown`: the configuration names no trust domain; `store-failed`, `store-tampered`.
    pub(crate) async fn bundle(&self) -> Result<Vec<u8>> {
        let (domain, now) = (self.trust_domain()?, self.clock.now());
        let authorities = self.store.begin_reading().await?.authorities().await?;
        let certificates = authorities.certificates(domain, now);
        Bundle::new(domain.clone(), certificates, authorities.sequence(), REFRESH).to_json()
    }

    /// Makes the next authority where it is time. It is in the log before it issues anything.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`; `internal`.
    pub(crate) async fn renew_authorities(&self) -> Result<()> {
        let Some(domain) = &self.trust_domain else { return Ok(()) };
        let mut store = self.store.begin().await?;
        let now = self.clock.now();
        let Some(made) = store.renew_authorities(domain, now).await? else { return Ok(()) };
        let mut trail = Trail::new(Kind::Identity, format!("spiffe://{domain}"));
        trail.note("authority", Sha256::of(made.certificate()));
        trail.note("valid", [made.valid().start, made.valid().end]);
        store.commit(now, &trail.event(None)).await.map(drop)
    }

    /// [`Self::renew_authorities`] each minute.
    pub(crate) async fn renew_authorities_until(&self, stopped: impl Future<Output = ()>) {
        let mut stopped = core::pin::pin!(stopped);
        while tokio::time::timeout(Duration::from_secs(LOOK), &mut stopped).await.is_err() {
            if let Err(refusal) = self.renew_authorities().await {
                tracing::error!(%refusal, "the next authority of the trust domain is not made");
            }
        }
    }

    fn trust_domain(&self) -> Result<&TrustDomain> {
        self.trust_domain.as_ref().ok_or_else(|| Refusal::new(Code::RouteUnknown, "identities").want("`trust-domain`"))
    }
}

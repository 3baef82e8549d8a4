//! What a guest shows, taken apart, and what is known once it was accepted: steps 1, 2, 3 and 5 of the recipe in `release.rs`.

mod accept;
mod kept;

pub(crate) use accept::{Accepted, verify_dates};

use std::net::IpAddr;
use std::sync::Arc;

use strongroom_appraisal::Sightings;
use strongroom_jose::{RecipientKey, thumbprint};
use strongroom_wire::binding::kbs_report_data;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::AUDIENCE;
use strongroom_wire::evidence::EvidenceAnswer;
use strongroom_wire::kbs::{Attestation, RuntimeData};
use strongroom_wire::{Check, Code, Refusal, Result};

use crate::Verifier;
use crate::audit::Kind;
use crate::platform::{Appraised, Authentic, Bound, Evidence, Given, Lacks};
use crate::sessions::{Challenged, Purpose};
use crate::store::PolicyInForce;
use crate::token::{self, About};
use crate::trail::Trail;

/// Evidence whose shape holds, with what it has to be about. None of it is believed yet.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) evidence: Evidence,
    pub(crate) endorsements: Given,
    /// What of them it came without.
    pub(crate) lacks: Lacks,
    /// The deployment document as delivered; it is read only once the hardware named its digest.
    pub(crate) document: Vec<u8>,
    pub(crate) bound: Bound,
    /// RFC 7638 thumbprint of the key that it is about.
    pub(crate) holder: String,
    /// The manifests of the models that it says it serves: none where it is not asked yet.
    pub(crate) served: Vec<Sha256>,
}

impl Shown {
    /// What an enclave shows in the form in which it answers its clients, and has to be about; `holder` is the thumbprint of its key.
    ///
    /// # Errors
    /// `deployment-missing`; `malformed`; those of [`Evidence::parse_answer`].
    pub(crate) fn of_answer(answer: &EvidenceAnswer, report_data: [u8; 64], holder: &str) -> Result<Self> {
        let document = answer.workload.deployment()?;
        if document.is_empty() {
            return Err(Refusal::new(Code::DeploymentMissing, "workload"));
        }
        let bound = Bound { report_data, document: Sha256::of(&document) };
        let (evidence, endorsements, lacks) = Evidence::parse_answer(answer)?;
        let served = answer.workload.models.iter().map(|model| model.manifest).collect();
        Ok(Self { evidence, endorsements, lacks, document, bound, holder: holder.to_owned(), served })
    }
}

/// What `/attest` of the KBS protocol carries.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) shown: Shown,
    pub(crate) runtime: RuntimeData,
    pub(crate) recipient: RecipientKey,
    pub(crate) session: Challenged,
}

/// A guest that was accepted by at least one release policy, and the key that it may be given keys for.
#[derive(Debug)]
pub(crate) struct Attested {
    /// What the hardware signed.
    pub(crate) authentic: Authentic,
    /// What it has to be about, compared again at each release.
    pub(crate) bound: Bound,
    /// The document that the hardware names.
    pub(crate) deployment: Deployment,
    /// The key that resources are wrapped to.
    pub(crate) recipient: RecipientKey,
    /// That key's RFC 7638 thumbprint.
    pub(crate) thumbprint: String,
    /// The audit row of its acceptance.
    pub(crate) seq: u64,
    /// The session that it was accepted in.
    pub(crate) session: Challenged,
}

impl Claim {
    /// Takes an attestation apart, for what its session was opened with.
    ///
    /// # Errors
    /// `nonce-mismatch`; `deployment-missing`; `key-invalid`; `malformed`; `platform-unsupported`: evidence of devices,
    /// which nobody here judges; those of [`Evidence::parse`].
    pub(crate) fn parse(attestation: Attestation, challenged: Challenged) -> Result<Self> {
        let Purpose::Keys(tee) = challenged.purpose else {
            return Err(Refusal::new(Code::SessionUnknown, "session").got("one of another purpose"));
        };
        let nonce = challenged.text();
        let runtime = attestation.runtime_data;
        if runtime.nonce != nonce {
            return Err(Refusal::new(Code::NonceMismatch, "runtime-data").got(runtime.nonce).want(nonce));
        }
        if !attestation.tee_evidence.additional_evidence.is_empty() {
            return Err(Refusal::new(Code::PlatformUnsupported, "additional_evidence").want("none"));
        }
        RecipientKey::parse(&runtime.tee_pubkey)?;
        let init_data = attestation.init_data.filter(|init_data| !init_data.body.is_empty());
        let init_data = init_data.ok_or_else(|| Refusal::new(Code::DeploymentMissing, "init-data"))?;
        if init_data.format != "toml" {
            return Err(Refusal::new(Code::Malformed, "format of init-data").got(init_data.format).want("toml"));
        }
        let document = init_data.body.into_bytes();
        let (evidence, endorsements, lacks) = Evidence::parse(tee, attestation.tee_evidence.primary_evidence)?;
        Self::of(evidence, endorsements, lacks, document, runtime, challenged)
    }

    fn of(
        evidence: Evidence,
        endorsements: Given,
        lacks: Lacks,
        document: Vec<u8>,
        runtime: RuntimeData,
        session: Challenged,
    ) -> Result<Self> {
        let recipient = RecipientKey::parse(&runtime.tee_pubkey)?;
        let report_data = kbs_report_data(&runtime.nonce, &runtime.tee_pubkey)?;
        let bound = Bound { report_data, document: Sha256::of(&document) };
        let holder = thumbprint(&runtime.tee_pubkey)?;
        let shown = Shown { evidence, endorsements, lacks, document, bound, holder, served: Vec::new() };
        Ok(Self { shown, runtime, recipient, session })
    }
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
    pub(crate) async fn attested(&self, id: &str, now: u64) -> Result<Arc<Attested>> {
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
}

/// What the release policies say of one guest.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Digests of the policies that accept it.
    pub(crate) accepted: Vec<Sha256>,
    /// Every check of the policy that accepts it, or comes closest to it.
    pub(crate) checks: Vec<Check>,
}

/// Appraises evidence by every release policy. One must accept it for a session to go on; which keys it may have is
/// decided key by key.
///
/// # Errors
/// `no-policy`: there is none. Otherwise the first failed check of the policy that comes closest, which is the one with the
/// fewest failed checks of those that speak of the evidence's platform at all; its checks come with it.
pub(crate) fn judge(
    authentic: &Authentic,
    bound: &Bound,
    policies: &[PolicyInForce],
) -> core::result::Result<Judgement, (Refusal, Vec<Check>)> {
    let appraised: Vec<(&PolicyInForce, Appraised)> =
        policies.iter().map(|one| (one, authentic.appraise(one.stored.policy.appraisal(), bound))).collect();
    let failed = |appraised: &Appraised| appraised.checks().iter().filter(|check| !check.ok).count();
    // A policy without a section for the platform makes one check, which says nothing of this guest.
    let distance = |one: &PolicyInForce, appraised: &Appraised| {
        (!authentic.is_named_by(one.stored.policy.appraisal()), failed(appraised), one.lacks.is_some())
    };
    let Some((policy, closest)) = appraised.iter().min_by_key(|(one, appraised)| distance(one, appraised)) else {
        return Err((Refusal::new(Code::NoPolicy, "release policies").got("none"), Vec::new()));
    };
    let checks = closest.checks().to_vec();
    // What a policy lacks is why checks of what it takes failed.
    if let Some(refusal) = policy.lacks.clone().or_else(|| closest.refusal()) {
        return Err((refusal, checks));
    }
    let accepts = |(one, appraised): (&PolicyInForce, Appraised)| {
        (one.lacks.is_none() && appraised.into_verified().is_ok()).then(|| one.stored.policy.digest())
    };
    let accepted: Vec<Sha256> = appraised.into_iter().filter_map(accepts).collect();
    if accepted.is_empty() {
        return Err((Refusal::new(Code::NoReferenceValues, "release policies fix no software"), checks));
    }
    Ok(Judgement { accepted, checks })
}

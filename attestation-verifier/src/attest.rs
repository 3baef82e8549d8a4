//! What `/attest` carries, taken apart, and what is known once it was accepted.

use strongroom_appraisal::{Appraisal, AuthenticReport, Endorsements, Expected, appraise};
use strongroom_jose::{RecipientKey, thumbprint};
use strongroom_wire::binding::kbs_report_data;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{Attestation, SnpEvidence, TeePubKey};
use strongroom_wire::snp::Report;
use strongroom_wire::{Check, Code, Refusal, Result};

use crate::store::PolicyInForce;

/// An attestation whose shape holds. None of it is believed yet.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) report: Report,
    pub(crate) endorsements: Endorsements,
    /// What of them it came without.
    pub(crate) lacks: Lacks,
    /// The deployment document as delivered; it is read only once the hardware named its digest.
    pub(crate) document: Vec<u8>,
    pub(crate) expected: Expected,
    pub(crate) nonce: String,
    pub(crate) tee_pubkey: TeePubKey,
    pub(crate) recipient: RecipientKey,
    pub(crate) thumbprint: String,
}

/// What evidence came without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lacks {
    /// The certificate of the key that signed it.
    pub(crate) key: bool,
    /// A revocation list.
    pub(crate) list: bool,
    /// Any endorsement at all.
    pub(crate) all: bool,
}

/// A guest that was accepted by at least one release policy, and the key that it may be given keys for.
#[derive(Debug)]
pub(crate) struct Attested {
    /// What the hardware signed.
    pub(crate) authentic: AuthenticReport,
    /// What its report data and HOST_DATA are compared with, again at each release.
    pub(crate) expected: Expected,
    /// The document that HOST_DATA names.
    pub(crate) deployment: Deployment,
    /// The key that resources are wrapped to.
    pub(crate) recipient: RecipientKey,
    /// That key's RFC 7638 thumbprint.
    pub(crate) thumbprint: String,
    /// The audit row of its acceptance.
    pub(crate) seq: u64,
}

impl Claim {
    /// Takes an attestation apart, for the nonce that its session drew.
    ///
    /// # Errors
    /// `nonce-mismatch`; `deployment-missing`; `key-invalid`; `malformed`; `platform-unsupported`: evidence of devices,
    /// which nobody here judges; those of parsing report and endorsements.
    pub(crate) fn parse(attestation: Attestation, nonce: String) -> Result<Self> {
        let runtime = attestation.runtime_data;
        if runtime.nonce != nonce {
            return Err(Refusal::new(Code::NonceMismatch, "runtime-data").got(runtime.nonce).want(nonce));
        }
        if !attestation.tee_evidence.additional_evidence.is_empty() {
            return Err(Refusal::new(Code::PlatformUnsupported, "additional_evidence").want("none"));
        }
        let recipient = RecipientKey::parse(&runtime.tee_pubkey)?;
        let init_data = attestation.init_data.filter(|init_data| !init_data.body.is_empty());
        let init_data = init_data.ok_or_else(|| Refusal::new(Code::DeploymentMissing, "init-data"))?;
        if init_data.format != "toml" {
            return Err(Refusal::new(Code::Malformed, "format of init-data").got(init_data.format).want("toml"));
        }
        let evidence: SnpEvidence = serde_json::from_value(attestation.tee_evidence.primary_evidence)
            .map_err(|e| Refusal::malformed("primary_evidence", e))?;
        let document = init_data.body.into_bytes();
        let expected = Expected {
            report_data: Some(kbs_report_data(&nonce, &runtime.tee_pubkey)?),
            deployment: Some(Sha256::of(&document)),
        };
        Ok(Self {
            report: evidence.report()?,
            endorsements: endorsements(&evidence)?,
            lacks: lacks(&evidence),
            document,
            expected,
            nonce,
            thumbprint: thumbprint(&runtime.tee_pubkey)?,
            tee_pubkey: runtime.tee_pubkey,
            recipient,
        })
    }
}

fn endorsements(evidence: &SnpEvidence) -> Result<Endorsements> {
    let mut endorsements = Endorsements::new();
    for entry in evidence.cert_chain.iter().flatten() {
        // `Empty` holds nothing, and `{"OTHER": uuid}` something that only its vendor knows.
        if matches!(entry.cert_type.as_str(), Some("ARK" | "ASK" | "VCEK" | "VLEK" | "CRL")) {
            endorsements.add(&entry.data)?;
        }
    }
    Ok(endorsements)
}

fn lacks(evidence: &SnpEvidence) -> Lacks {
    let kinds: Vec<_> = evidence.cert_chain.iter().flatten().filter_map(|entry| entry.cert_type.as_str()).collect();
    let lack = |names: &[&str]| !kinds.iter().any(|kind| names.contains(kind));
    Lacks { key: lack(&["VCEK", "VLEK"]), list: lack(&["CRL"]), all: lack(&["ARK", "ASK", "VCEK", "VLEK", "CRL"]) }
}

/// What the release policies say of one guest.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Digests of the policies that accept it.
    pub(crate) accepted: Vec<Sha256>,
    /// Every check of the policy that accepts it, or comes closest to it.
    pub(crate) checks: Vec<Check>,
}

/// Appraises a report by every release policy. One must accept it for a session to go on; which keys it may have is
/// decided key by key.
///
/// # Errors
/// `no-policy`: there is none. Otherwise the first failed check of the policy that comes closest, which is the one with the
/// fewest failed checks of those that speak of the evidence's platform at all; its checks come with it.
pub(crate) fn judge(
    authentic: &AuthenticReport,
    expected: &Expected,
    policies: &[PolicyInForce],
) -> core::result::Result<Judgement, (Refusal, Vec<Check>)> {
    let appraisals: Vec<(&PolicyInForce, Appraisal)> =
        policies.iter().map(|one| (one, appraise(authentic, one.stored.policy.appraisal(), expected))).collect();
    let failed = |appraisal: &Appraisal| appraisal.checks().iter().filter(|check| !check.ok).count();
    // A policy without a section for SNP makes one check, which says nothing of this guest.
    let distance = |one: &PolicyInForce, appraisal: &Appraisal| {
        (one.stored.policy.appraisal().snp().is_none(), failed(appraisal), one.lacks.is_some())
    };
    let Some((policy, closest)) = appraisals.iter().min_by_key(|(one, appraisal)| distance(one, appraisal)) else {
        return Err((Refusal::new(Code::NoPolicy, "release policies").got("none"), Vec::new()));
    };
    let checks = closest.checks().to_vec();
    // What a policy lacks is why checks of what it takes failed.
    if let Some(refusal) = policy.lacks.clone().or_else(|| closest.refusal()) {
        return Err((refusal, checks));
    }
    let accepts = |(one, appraisal): (&PolicyInForce, Appraisal)| {
        (one.lacks.is_none() && appraisal.into_verified().is_ok()).then(|| one.stored.policy.digest())
    };
    let accepted: Vec<Sha256> = appraisals.into_iter().filter_map(accepts).collect();
    if accepted.is_empty() {
        return Err((Refusal::new(Code::NoReferenceValues, "release policies fix no software"), checks));
    }
    Ok(Judgement { accepted, checks })
}

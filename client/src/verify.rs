//! Is the peer of this connection an enclave that was approved: the recipe (DESIGN §3.5, §5).

use crate::{Terms, Verified};
use strongroom_appraisal::{
    Endorsements, Expected, Sightings, UnixTime, appraise, appraise_models, authenticate_recording,
};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer};
use strongroom_wire::{Check, Code, Refusal, Result, bytes};

/// Verifies the answer of a TLS peer whose proven key is `spki` to a request with `nonce`, as of `now`. It needs nothing
/// else: endorsements are stapled to the answer, and reference values are in the terms.
///
/// 1. Parse the answer; a member that is not known is refused.
/// 2. It repeats the nonce and names the very key of the TLS peer; report data of both and the workload follows.
/// 3. Its platform is one that can be judged.
/// 4. Authenticate the evidence under our roots with the stapled endorsements, of which, where the terms have a memory, the
///    revocation list is no older than one that was seen.
/// 5. Appraise it by policy: report data is that of step 2, HOST_DATA is the digest of the document it shows, platform and
///    software are approved. All checks are made.
/// 6. Parse the document, which the hardware now vouches for. It belongs to the realm of the evidence.
/// 7. Appraise the models, which report data vouches for.
///
/// Every check is appended to `trace`.
pub(crate) fn verify(
    answer: &[u8],
    nonce: &[u8; 32],
    spki: &[u8],
    terms: &Terms,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<Verified> {
    // 1.
    let answer = traced(trace, "answer-format", EvidenceAnswer::parse(answer))?;
    // 2.
    let report_data = traced(trace, "nonce-and-channel-key", answer.expected_report_data(nonce, spki))?;
    // 3.
    traced(trace, "platform", judged_platform(&answer))?;
    // 4.
    let endorsements = traced(trace, "endorsements", stapled(&answer.endorsements))?;
    let evidence = traced(trace, "evidence", bytes::from_base64(&answer.evidence, "evidence"))?;
    let mut sightings = Sightings::default();
    let authentic = authenticate_recording(&evidence, &endorsements, terms.roots(), now, trace, &mut sightings);
    if let Some(memory) = terms.memory() {
        match &authentic {
            Ok(authentic) => {
                traced(trace, "newest-seen", memory.compare(&mut |seen| authentic.verify_newest(seen)))?;
            }
            // A list that revokes must not be forgotten because it did.
            Err(_) => memory.compare(&mut |seen| {
                sightings.remember(seen);
                Ok(())
            })?,
        }
    }
    let authentic = authentic?;
    // 5.
    let document = traced(trace, "deployment-encoding", answer.workload.deployment())?;
    let expected = Expected { report_data: Some(report_data), deployment: Some(Sha256::of(&document)) };
    let appraisal = appraise(&authentic, terms.policy(), &expected);
    trace.extend(appraisal.checks().iter().cloned());
    let enclave = appraisal.into_verified()?;
    // 6.
    let deployment = traced(trace, "deployment-format", Deployment::parse(&document))?;
    let (realm, of_evidence) = (deployment.settings().root, enclave.root());
    let mut checks = vec![Check::new("realm", realm == of_evidence, Code::RealmMismatch, realm, of_evidence)];
    // 7.
    checks.extend(appraise_models(terms.policy(), &deployment, &answer.workload));
    trace.extend(checks.iter().cloned());
    match checks.iter().find_map(Check::refusal) {
        Some(refusal) => Err(refusal),
        None => {
            let is_pinned = terms.policy().model().is_some_and(|model| model.manifest.is_fixed());
            Verified::new(&enclave, (&answer.workload, is_pinned), spki, now, trace.clone())
        }
    }
}

fn judged_platform(answer: &EvidenceAnswer) -> Result<()> {
    if answer.platform == "snp" {
        return Ok(());
    }
    Err(Refusal::new(Code::PlatformUnsupported, "platform").got(&answer.platform).want("snp"))
}

fn stapled(given: &[Endorsement]) -> Result<Endorsements> {
    let mut endorsements = Endorsements::new();
    for endorsement in given {
        if !matches!(endorsement.r#type.as_str(), "certificate-table" | "certificate" | "crl") {
            return Err(Refusal::malformed("endorsement type", "unknown").got(&endorsement.r#type));
        }
        endorsements.add(&bytes::from_base64(&endorsement.data, "endorsement")?)?;
    }
    Ok(endorsements)
}

fn traced<T>(trace: &mut Vec<Check>, name: &str, outcome: Result<T>) -> Result<T> {
    let (code, got, want) = match &outcome {
        Ok(_) => (None, None, None),
        Err(refusal) => (Some(refusal.code), refusal.got.clone(), refusal.want.clone()),
    };
    trace.push(Check { name: name.to_owned(), ok: outcome.is_ok(), code, got, want });
    outcome
}

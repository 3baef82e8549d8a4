//! The attestation result as an EAR (draft-ietf-rats-ear) in the profile of Confidential Containers.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_appraisal::{AuthenticReport, UnixTime};
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::{
    AUDIENCE, AnnotatedEvidence, Appraisal, Confirmation, EarClaims, PROFILE, RuntimeDataClaims, Status, VerifierId,
};

use crate::attest::Claim;
use crate::sessions::LIFETIME;

/// `iss` of every token issued here.
pub const ISSUER: &str = "strongroom-verifier";

/// AR4SI (draft-ietf-rats-ar4si §2.3): the claim is affirmed.
const AFFIRMING: i8 = 2;

/// The claims about an accepted guest. `session` is the id that the token stands for.
pub(crate) fn claims(
    claim: &Claim,
    authentic: &AuthenticReport,
    accepted: &[Sha256],
    session: &str,
    now: UnixTime,
) -> EarClaims {
    let report = authentic.report();
    let deployment = Sha256(report.host_data);
    let vector = ["configuration", "executables", "hardware", "instance-identity"];
    let appraisal = Appraisal {
        status: Status::Affirming,
        vector: vector.map(|name| (name.to_owned(), AFFIRMING)).into(),
        policy_id: accepted.iter().map(Sha256::oci).collect::<Vec<_>>().join(" "),
        evidence: AnnotatedEvidence {
            report_data: hex::encode(report.report_data),
            runtime_data_claims: RuntimeDataClaims {
                additional_evidence: String::new(),
                nonce: claim.nonce.clone(),
                tee_pubkey: claim.tee_pubkey.clone(),
            },
            init_data: hex::encode(report.host_data),
            snp: evidence_claims(authentic),
        },
    };
    EarClaims {
        eat_profile: PROFILE.to_owned(),
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: deployment.oci(),
        jti: session.to_owned(),
        iat: now,
        exp: now.saturating_add(LIFETIME),
        root: authentic.root(),
        cnf: Confirmation { jkt: claim.thumbprint.clone() },
        verifier_id: VerifierId { developer: "strongroom".to_owned(), build: env!("CARGO_PKG_VERSION").to_owned() },
        submods: BTreeMap::from([("cpu0".to_owned(), appraisal)]),
    }
}

/// The evidence in the names that the profile uses.
fn evidence_claims(authentic: &AuthenticReport) -> BTreeMap<String, Value> {
    let (report, tcb) = (authentic.report(), authentic.tcb());
    let [abi_major, abi_minor] = report.policy.abi();
    [
        ("product", json!(authentic.product())),
        ("measurement", json!(hex::encode(report.measurement))),
        ("chip_id", json!(hex::encode(report.chip_id))),
        ("vmpl", json!(report.vmpl)),
        ("guest_svn", json!(report.guest_svn)),
        ("reported_tcb_bootloader", json!(tcb.bootloader)),
        ("reported_tcb_tee", json!(tcb.tee)),
        ("reported_tcb_snp", json!(tcb.snp)),
        ("reported_tcb_microcode", json!(tcb.microcode)),
        ("policy_abi_major", json!(abi_major)),
        ("policy_abi_minor", json!(abi_minor)),
        ("policy_smt_allowed", json!(report.policy.smt())),
        ("policy_migrate_ma", json!(report.policy.migration_agent())),
        ("policy_debug_allowed", json!(report.policy.debug())),
        ("policy_single_socket", json!(report.policy.single_socket())),
        ("platform_smt_enabled", json!(report.platform_info.smt())),
        ("platform_tsme_enabled", json!(report.platform_info.tsme())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

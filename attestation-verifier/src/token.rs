//! The attestation result as an EAR (draft-ietf-rats-ear) in the profile of Confidential Containers.

mod evidence;

use std::collections::BTreeMap;
use strongroom_appraisal::UnixTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::{
    AnnotatedEvidence, Appraisal, Confirmation, EarClaims, PROFILE, RuntimeDataClaims, Status, VerifierId,
};
use strongroom_wire::kbs::RuntimeData;

use crate::platform::Authentic;
use crate::sessions::LIFETIME;

/// `iss` of every token issued here.
pub const ISSUER: &str = "strongroom-verifier";

/// AR4SI (draft-ietf-rats-ar4si §2.3): the claim is affirmed.
const AFFIRMING: i8 = 2;

/// What a token says beside what was appraised.
pub(crate) struct About<'a> {
    /// Nonce and key that the evidence is bound to.
    pub(crate) runtime: RuntimeData,
    /// That key's RFC 7638 thumbprint.
    pub(crate) thumbprint: &'a str,
    /// What tells the token from all others; in the KBS protocol the session that it stands for.
    pub(crate) id: &'a str,
    /// Who may accept it.
    pub(crate) audience: &'a str,
}

/// The claims about an accepted guest with that deployment document.
pub(crate) fn claims(
    about: About<'_>,
    authentic: &Authentic,
    document: Sha256,
    accepted: &[Sha256],
    now: UnixTime,
) -> EarClaims {
    let vector = ["configuration", "executables", "hardware", "instance-identity"];
    let appraisal = Appraisal {
        status: Status::Affirming,
        vector: vector.map(|name| (name.to_owned(), AFFIRMING)).into(),
        policy_id: accepted.iter().map(Sha256::oci).collect::<Vec<_>>().join(" "),
        evidence: AnnotatedEvidence {
            report_data: evidence::report_data(authentic),
            runtime_data_claims: RuntimeDataClaims {
                additional_evidence: String::new(),
                nonce: about.runtime.nonce,
                tee_pubkey: about.runtime.tee_pubkey,
            },
            init_data: evidence::init_data(authentic, document),
            tee: evidence::claims(authentic),
        },
    };
    EarClaims {
        eat_profile: PROFILE.to_owned(),
        iss: ISSUER.to_owned(),
        aud: about.audience.to_owned(),
        sub: document.oci(),
        jti: about.id.to_owned(),
        iat: now,
        // Nothing that it rests on ends before it.
        exp: now.saturating_add(LIFETIME).min(*authentic.valid().end()),
        root: authentic.root(),
        cnf: Confirmation { jkt: about.thumbprint.to_owned() },
        verifier_id: VerifierId { developer: "strongroom".to_owned(), build: env!("CARGO_PKG_VERSION").to_owned() },
        submods: BTreeMap::from([("cpu0".to_owned(), appraisal)]),
    }
}

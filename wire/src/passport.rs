//! Attestation results for others ("passports"): evidence in, an EAR out, for whoever trusts the verifier's word and cannot, or
//! will not, appraise evidence. Report data is that of [`Purpose::Passport`].
//!
//! The key that a passport is about is stated in it (`cnf.jkt`); a passport proves nothing of who shows it without that key.

use crate::binding::Purpose;
use crate::digest::Sha256;
use crate::evidence::EvidenceAnswer;
use crate::{Code, Refusal, Result, document, ear, feed, lease, limits};
use serde::{Deserialize, Serialize};

/// Where a nonce is drawn: for a passport, or for a lease ([`lease`]). Report data says for which.
pub const CHALLENGE: &str = "/v1/challenge";
/// Where evidence is shown.
pub const ATTEST: &str = "/v1/attest";
/// Where the keys are that passports are signed by (RFC 7517 §5).
pub const JWKS: &str = "/.well-known/jwks.json";

/// What a verifier signs for itself, its guests and its routers by the same keys.
const OURS: [&str; 3] = [ear::AUDIENCE, lease::AUDIENCE, feed::AUDIENCE];

/// Answer to `POST` [`CHALLENGE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// 32 random bytes, good for one question.
    pub nonce: Sha256,
    /// Seconds since 1970 when it ends.
    pub expires: u64,
}

/// `POST` [`ATTEST`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Who shall accept the passport: `aud`.
    pub audience: String,
    /// What an enclave shows its clients, for this purpose.
    pub evidence: EvidenceAnswer,
}

/// Answer to [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passport {
    /// An EAR as JWT.
    pub token: String,
}

impl Request {
    /// Parses a request of at most [`limits::EVIDENCE_ANSWER`] bytes.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `unknown-field`, `version-unsupported`: as [`EvidenceAnswer::parse`]; `request-invalid`: an
    /// audience that is empty, longer than [`limits::AUDIENCE`], or one of the verifier's own tokens, which release keys, give a lease
    /// or open routes.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let request: Self = document::parse_json(json, "passport request", limits::EVIDENCE_ANSWER, Code::Malformed)?;
        request.evidence.verify_single()?;
        let audience = request.audience.as_str();
        if audience.is_empty() || audience.len() > limits::AUDIENCE || OURS.contains(&audience) {
            return Err(Refusal::new(Code::RequestInvalid, "audience")
                .got(audience.chars().take(limits::AUDIENCE).collect::<String>())
                .want(format!("1 to {} bytes, none of {OURS:?}", limits::AUDIENCE)));
        }
        Ok(request)
    }

    /// The key that the passport is about, as DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// `malformed`.
    pub fn key(&self) -> Result<Vec<u8>> {
        self.evidence.key()
    }

    /// What the evidence has to be bound to.
    ///
    /// # Errors
    /// `malformed`, `too-large`: of key, path or workload.
    pub fn report_data(&self) -> Result<[u8; 64]> {
        self.evidence.report_data(Purpose::Passport, &self.key()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{report_data, workload_digest};
    use crate::bytes;
    use crate::evidence::Workload;

    fn request(audience: &str) -> Request {
        let workload = Workload { deployment: bytes::to_base64(b"doc"), models: vec![] };
        let evidence = EvidenceAnswer {
            v: 1,
            platform: "snp".into(),
            evidence: String::new(),
            endorsements: vec![],
            channel_key: bytes::to_base64(b"key"),
            workload,
            nonce: Sha256([1; 32]),
            path: vec![],
        };
        Request { audience: audience.into(), evidence }
    }

    fn parse(request: &Request) -> Result<Request> {
        Request::parse(&serde_json::to_vec(request).unwrap())
    }

    #[test]
    fn evidence_of_a_passport_is_bound_to_nonce_key_and_workload_for_that_purpose_alone() {
        let request = parse(&request("https://relying.example")).unwrap();
        let workload = workload_digest(b"doc", &[]).unwrap();
        let (root, _) = crate::merkle::tree(&[[1; 32]]);
        assert_eq!(request.report_data().unwrap(), report_data(Purpose::Passport, &root, b"key", &workload));
        assert_ne!(request.report_data().unwrap(), report_data(Purpose::ClientChannel, &root, b"key", &workload));
    }

    #[test]
    fn audience_of_1_to_256_bytes_accepted_and_none_longer_or_our_own_refused() {
        for (audience, accepted) in [("a".repeat(256), true), ("a".repeat(257), false), (String::new(), false)] {
            assert_eq!(parse(&request(&audience)).is_ok(), accepted, "{}", audience.len());
        }
        for ours in ["strongroom-kbs", "strongroom-lease", "strongroom-router"] {
            assert_eq!(parse(&request(ours)).unwrap_err().code, Code::RequestInvalid, "{ours}");
        }
    }

    #[test]
    fn report_of_one_nonce_accepted_and_one_of_many_refused() {
        let mut many = request("a");
        assert!(parse(&many).is_ok());
        many.evidence.path = vec![crate::merkle::Sibling::Left(Sha256([2; 32]))];
        assert_eq!(parse(&many).unwrap_err().code, Code::RequestInvalid);
    }

    #[test]
    fn evidence_of_another_version_refused() {
        let mut other = request("a");
        other.evidence.v = 2;
        assert_eq!(parse(&other).unwrap_err().code, Code::VersionUnsupported);
    }
}

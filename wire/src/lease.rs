//! Leases: an enclave shows evidence again and again, and is told that it may go on, until when, what time it is, and under which
//! names it gets connections. Report data is that of [`Purpose::Lease`]; the nonce is one of [`crate::passport::CHALLENGE`].
//!
//! The lease is an ES256 JWT by the key that the deployment document pins. It is the enclave's alone: it opens nothing, and whoever
//! else reads it learns nothing that the enclave does not tell everybody.

use crate::binding::Purpose;
use crate::digest::Sha256;
use crate::ear::Confirmation;
use crate::evidence::EvidenceAnswer;
use crate::{Code, Refusal, Result, Root, document, limits};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Where a lease is asked for.
pub const PATH: &str = "/v1/lease";
/// `aud` of leases.
pub const AUDIENCE: &str = "strongroom-lease";
/// Seconds that a lease lasts, where a verifier's configuration does not say otherwise.
pub const LIFETIME: u64 = 300;
/// Seconds that one may last: whoever was demoted goes on for no longer.
pub const LONGEST: u64 = 900;

/// `POST` [`PATH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Where the enclave takes connections, for routers. Nothing vouches for it: it is the enclave's word, which has it from its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<SocketAddr>,
    /// What an enclave shows its clients, for this purpose.
    pub evidence: EvidenceAnswer,
}

/// Answer to [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// A [`Lease`] as JWT.
    pub token: String,
}

/// All claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// [`AUDIENCE`].
    pub aud: String,
    /// Issuer: the verifier's name.
    pub iss: String,
    /// Whom it is about: `sha256:<hex>` of the deployment document.
    pub sub: String,
    /// Unique.
    pub jti: String,
    /// When it was given, in seconds since 1970: for the enclave, what time it is at the least.
    pub iat: u64,
    /// When it ends; at most [`LONGEST`] after `iat`.
    pub exp: u64,
    /// The nonce that the evidence was for.
    pub nonce: Sha256,
    /// The root the evidence ended at.
    pub root: Root,
    /// RFC 7800: the key of the enclave's channel, by RFC 7638 thumbprint.
    pub cnf: Confirmation,
    /// The workload digest that the evidence commits to.
    pub workload: Sha256,
    /// The server names under which it gets connections.
    pub routes: Vec<String>,
}

/// Whom a lease is about, as the one who asked for it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Digest of the deployment document.
    pub document: Sha256,
    /// The root that this document names.
    pub root: Root,
    /// RFC 7638 thumbprint of the channel key.
    pub thumbprint: String,
    /// The workload digest.
    pub workload: Sha256,
}

impl Request {
    /// Parses a request of at most [`limits::EVIDENCE_ANSWER`] bytes.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `unknown-field`, `version-unsupported`, `request-invalid`: as
    /// [`crate::passport::Request::parse`], without an audience.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let request: Self = document::parse_json(json, "lease request", limits::EVIDENCE_ANSWER, Code::Malformed)?;
        request.evidence.verify_single()?;
        Ok(request)
    }

    /// What the evidence has to be bound to.
    ///
    /// # Errors
    /// `malformed`, `too-large`: of key or workload.
    pub fn report_data(&self) -> Result<[u8; 64]> {
        self.evidence.report_data(Purpose::Lease, &self.evidence.key()?)
    }
}

impl Lease {
    /// Verifies, of claims whose signature, audience and time hold, that they are the answer to `nonce` and about `holder`.
    ///
    /// # Errors
    /// `nonce-mismatch`: an answer to something else, such as one that was given before; `token-invalid`: about somebody else, or
    /// longer than [`LONGEST`].
    pub fn verify_about(&self, nonce: &Sha256, holder: &Holder) -> Result<()> {
        if self.nonce != *nonce {
            return Err(Refusal::new(Code::NonceMismatch, "lease").got(self.nonce).want(nonce));
        }
        let lasts = self.exp.saturating_sub(self.iat);
        for (claim, got, want) in [
            ("sub", &self.sub, holder.document.oci()),
            ("root", &self.root.to_string(), holder.root.to_string()),
            ("cnf.jkt", &self.cnf.jkt, holder.thumbprint.clone()),
            ("workload", &self.workload.to_string(), holder.workload.to_string()),
        ] {
            if *got != want {
                return Err(Refusal::new(Code::TokenInvalid, claim).within("lease").got(got).want(want));
            }
        }
        if !(1..=LONGEST).contains(&lasts) {
            return Err(Refusal::new(Code::TokenInvalid, "`exp`")
                .within("lease")
                .got(self.exp)
                .want(format!("1 to {LONGEST} s after {}", self.iat)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::report_data;
    use crate::bytes;
    use crate::evidence::Workload;
    use crate::merkle::Sibling;

    fn request() -> Request {
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
        Request { addr: Some("192.0.2.1:443".parse().unwrap()), evidence }
    }

    fn holder() -> Holder {
        Holder {
            document: Sha256([2; 32]),
            root: Root::Amd,
            thumbprint: "thumbprint".into(),
            workload: Sha256([3; 32]),
        }
    }

    fn lease() -> Lease {
        let Holder { document, root, thumbprint, workload } = holder();
        Lease {
            aud: AUDIENCE.into(),
            iss: "verifier".into(),
            sub: document.oci(),
            jti: "1".into(),
            iat: 100,
            exp: 100 + LIFETIME,
            nonce: Sha256([1; 32]),
            root,
            cnf: Confirmation { jkt: thumbprint },
            workload,
            routes: vec![],
        }
    }

    fn code(change: impl FnOnce(&mut Lease)) -> Option<Code> {
        let mut lease = lease();
        change(&mut lease);
        lease.verify_about(&Sha256([1; 32]), &holder()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn evidence_of_a_lease_is_bound_to_nonce_key_and_workload_for_that_purpose_alone() {
        let request = Request::parse(&serde_json::to_vec(&request()).unwrap()).unwrap();
        let workload = request.evidence.workload.digest().unwrap();
        let (root, _) = crate::merkle::tree(&[[1; 32]]);
        assert_eq!(request.report_data().unwrap(), report_data(Purpose::Lease, &root, b"key", &workload));
        assert_ne!(request.report_data().unwrap(), report_data(Purpose::Passport, &root, b"key", &workload));
    }

    #[test]
    fn report_of_one_nonce_accepted_and_one_of_many_refused() {
        let parse = |request: &Request| Request::parse(&serde_json::to_vec(request).unwrap());
        let mut many = request();
        assert!(parse(&many).is_ok());
        many.evidence.path = vec![Sibling::Left(Sha256([2; 32]))];
        assert_eq!(parse(&many).unwrap_err().code, Code::RequestInvalid);
    }

    #[test]
    fn lease_for_one_s_own_nonce_key_and_workload_accepted_and_for_another_s_refused() {
        assert_eq!(code(|_| ()), None);
        assert_eq!(code(|lease| lease.nonce = Sha256([9; 32])), Some(Code::NonceMismatch));
        type Change = fn(&mut Lease);
        let others: [Change; 4] = [
            |lease| lease.sub = Sha256([9; 32]).oci(),
            |lease| lease.root = Root::Intel,
            |lease| lease.cnf.jkt.push('x'),
            |lease| lease.workload = Sha256([9; 32]),
        ];
        for change in others {
            assert_eq!(code(change), Some(Code::TokenInvalid));
        }
    }

    #[test]
    fn lease_of_fifteen_minutes_accepted_and_longer_or_none_refused() {
        assert_eq!(code(|lease| lease.exp = lease.iat + LONGEST), None);
        assert_eq!(code(|lease| lease.exp = lease.iat + LONGEST + 1), Some(Code::TokenInvalid));
        assert_eq!(code(|lease| lease.exp = lease.iat), Some(Code::TokenInvalid));
    }

    #[test]
    fn member_that_is_not_known_refused() {
        let mut json = serde_json::to_value(lease()).unwrap();
        assert_eq!(serde_json::from_value::<Lease>(json.clone()).unwrap(), lease());
        json["more"] = 1.into();
        assert!(serde_json::from_value::<Lease>(json).is_err());
    }
}

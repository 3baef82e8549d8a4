//! Identities for workloads: evidence and a certificate signing request in, an X.509-SVID out. Report data is that of
//! [`Purpose::Identity`] over the key that the request is for, so that whoever holds the certificate's key is what was appraised.

use crate::binding::Purpose;
use crate::evidence::EvidenceAnswer;
use crate::{Code, Refusal, Result, bytes, document, limits};
use serde::{Deserialize, Serialize};

/// Where an identity is asked for. The nonce is drawn as for passports ([`crate::passport::CHALLENGE`]).
pub const ISSUE: &str = "/v1/identity";
/// Where the authorities of the trust domain are ("SPIFFE Trust Domain and Bundle" §4).
pub const BUNDLE: &str = "/v1/bundle";

/// `POST` [`ISSUE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// A certificate signing request (PKCS #10) in DER, in base64. Its one name is the SPIFFE id that is asked for.
    pub csr: String,
    /// What an enclave shows its clients, for this purpose; `channel_key` is the key of the request.
    pub evidence: EvidenceAnswer,
}

/// Answer to [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The certificate in DER, in base64. An authority of the bundle issued it.
    pub certificate: String,
    /// Seconds since 1970 when it ends.
    pub expires: u64,
}

impl Request {
    /// Parses a request of at most [`limits::EVIDENCE_ANSWER`] bytes.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `unknown-field`, `version-unsupported`: as [`EvidenceAnswer::parse`]; `request-invalid`: a nonce
    /// among many.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let request: Self = document::parse_json(json, "identity request", limits::EVIDENCE_ANSWER, Code::Malformed)?;
        request.evidence.verify_single()?;
        Ok(request)
    }

    /// The signing request in DER.
    ///
    /// # Errors
    /// `malformed`.
    pub fn csr(&self) -> Result<Vec<u8>> {
        bytes::from_base64(&self.csr, "certificate request")
    }

    /// What the evidence has to be bound to where the request is for the key `spki`, in DER.
    ///
    /// # Errors
    /// `request-invalid`: the evidence says that it is of another key; `malformed`, `too-large`: of path or workload.
    pub fn report_data(&self, spki: &[u8]) -> Result<[u8; 64]> {
        if self.evidence.key()? != spki {
            return Err(Refusal::new(Code::RequestInvalid, "channel key").want("the key of the certificate request"));
        }
        self.evidence.report_data(Purpose::Identity, spki)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{report_data, workload_digest};
    use crate::digest::Sha256;
    use crate::evidence::Workload;

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
        Request { csr: bytes::to_base64(b"csr"), evidence }
    }

    fn parse(request: &Request) -> Result<Request> {
        Request::parse(&serde_json::to_vec(request).unwrap())
    }

    #[test]
    fn request_reads_back_and_is_bound_to_its_purpose_and_key() {
        let request = parse(&request()).unwrap();
        assert_eq!(request.csr().unwrap(), b"csr");
        let digest = workload_digest(b"doc", &[]).unwrap();
        let (root, _) = crate::merkle::tree(&[[1; 32]]);
        let bound = report_data(Purpose::Identity, &root, b"key", &digest);
        assert_eq!(request.report_data(b"key").unwrap(), bound);
        assert_eq!(request.report_data(b"other").unwrap_err().code, Code::RequestInvalid);
    }

    #[test]
    fn request_with_more_or_with_a_nonce_among_many_refused() {
        let code = |json: &[u8]| Request::parse(json).map(drop).map_err(|refusal| refusal.code);
        let mut json = serde_json::to_value(request()).unwrap();
        json["x"] = 1.into();
        assert_eq!(code(json.to_string().as_bytes()), Err(Code::UnknownField));
        let mut many = request();
        many.evidence.path.push(crate::merkle::Sibling::Left(Sha256([2; 32])));
        assert_eq!(parse(&many).unwrap_err().code, Code::RequestInvalid);
        let mut other = request();
        other.evidence.v = 2;
        assert_eq!(parse(&other).unwrap_err().code, Code::VersionUnsupported);
        assert_eq!(code(&vec![b' '; limits::EVIDENCE_ANSWER + 1]), Err(Code::TooLarge));
    }
}

//! The evidence answer of an enclave: `GET /.well-known/strongroom/evidence?nonce=<64 hex>`.
//!
//! Nothing in it is believed. The client recomputes the workload digest from [`Workload`], the Merkle root from its own
//! nonce and the path, report data from both and the TLS key it sees, and compares all of it with signed evidence.

use crate::binding::{Purpose, ServedModel, report_data, workload_digest};
use crate::digest::Sha256;
use crate::merkle::Sibling;
use crate::{Code, Refusal, Result, bytes, document, limits, merkle};
use serde::{Deserialize, Serialize};

/// The path of the evidence endpoint.
pub const PATH: &str = "/.well-known/strongroom/evidence";
/// The header field by which a request names the one workload that may answer it, by its digest (64 hex digits): an enclave that
/// serves another by now refuses it (`workload-changed`), before it reads the body.
pub const WORKLOAD_HEADER: &str = "strongroom-workload";

/// The answer, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceAnswer {
    /// Version of this format: 1.
    pub v: u32,
    /// `snp`; where a passport is asked for, any of [`crate::kbs::Tee::platform`].
    pub platform: String,
    /// Base64 of the raw evidence.
    pub evidence: String,
    /// What is needed to authenticate it.
    pub endorsements: Vec<Endorsement>,
    /// Base64 DER SubjectPublicKeyInfo of the enclave's TLS key.
    pub channel_key: String,
    /// What runs behind that key.
    pub workload: Workload,
    /// The nonce of the request, 64 hex digits.
    pub nonce: Sha256,
    /// From the nonce to the root that the evidence commits to.
    pub path: Vec<Sibling>,
}

/// One stapled endorsement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// `certificate-table` (GHCB), `certificate` or `crl` (DER), or Intel's `collateral` (`QuoteCollateralV3` as JSON).
    pub r#type: String,
    /// Base64.
    pub data: String,
}

/// What an enclave runs, in the form that the workload digest is computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Base64 of the raw deployment document.
    pub deployment: String,
    /// The models served.
    pub models: Vec<WorkloadModel>,
}

/// A model in a [`Workload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadModel {
    /// The name that requests use.
    pub name: String,
    /// Digest of its OCI manifest.
    pub manifest: Sha256,
    /// Commitment to its OMS statement.
    pub statement: Sha256,
}

impl Endorsement {
    /// The table of certificates that a host gives its guest, where it gives one.
    pub fn of_host(table: &[u8]) -> Option<Self> {
        (!table.is_empty()).then(|| Self { r#type: "certificate-table".to_owned(), data: bytes::to_base64(table) })
    }
}

impl EvidenceAnswer {
    /// Parses an answer of at most [`limits::EVIDENCE_ANSWER`] bytes.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let answer: Self = document::parse_json(json, "evidence answer", limits::EVIDENCE_ANSWER, Code::Malformed)?;
        answer.verify_form()?;
        Ok(answer)
    }

    /// That its version is known, and its endorsements are no more than are read.
    pub(crate) fn verify_form(&self) -> Result<()> {
        if self.v != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, "evidence answer").got(self.v).want(1));
        }
        if self.endorsements.len() > limits::ENDORSEMENTS {
            return Err(Refusal::too_large("endorsements", self.endorsements.len(), limits::ENDORSEMENTS));
        }
        Ok(())
    }

    /// As [`Self::verify_form`], for a verifier that keeps an audit log: one report for thousands of nonces would be thousands of rows.
    pub(crate) fn verify_single(&self) -> Result<()> {
        self.verify_form()?;
        match self.path.len() {
            0 => Ok(()),
            length => Err(Refusal::new(Code::RequestInvalid, "path of the nonce").got(length).want("none")),
        }
    }

    /// The key that it names, as DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// `malformed`.
    pub fn key(&self) -> Result<Vec<u8>> {
        bytes::from_base64(&self.channel_key, "channel key")
    }

    /// The report data that evidence must carry for `nonce` and a TLS peer whose key is `spki`.
    ///
    /// First-fail: the answer must repeat the nonce (`nonce-mismatch`) and name the peer's key (`channel-key-mismatch`).
    pub fn expected_report_data(&self, nonce: &[u8; 32], spki: &[u8]) -> Result<[u8; 64]> {
        if self.nonce.0 != *nonce {
            return Err(Refusal::new(Code::NonceMismatch, "evidence answer").got(self.nonce).want(Sha256(*nonce)));
        }
        let named = self.key()?;
        if named != spki {
            return Err(Refusal::new(Code::ChannelKeyMismatch, "key of the TLS peer")
                .got(format!("sha256:{}", Sha256::of(spki)))
                .want(format!("sha256:{}, the key that the evidence names", Sha256::of(&named))));
        }
        self.report_data(Purpose::ClientChannel, spki)
    }

    /// The report data of evidence for that purpose, for its nonce, the key `spki` and its workload.
    pub(crate) fn report_data(&self, purpose: Purpose, spki: &[u8]) -> Result<[u8; 64]> {
        let root = merkle::root_of(&self.nonce.0, &self.path)?;
        Ok(report_data(purpose, &root, spki, &self.workload.digest()?))
    }
}

impl Workload {
    /// The raw deployment document.
    pub fn deployment(&self) -> Result<Vec<u8>> {
        bytes::from_base64(&self.deployment, "deployment document")
    }

    /// [`workload_digest`] of what is listed here.
    pub fn digest(&self) -> Result<Sha256> {
        let models: Vec<ServedModel> = self
            .models
            .iter()
            .map(|m| ServedModel { name: m.name.clone(), manifest: m.manifest, statement: m.statement })
            .collect();
        workload_digest(&self.deployment()?, &models)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(nonce: [u8; 32], spki: &[u8]) -> EvidenceAnswer {
        EvidenceAnswer {
            v: 1,
            platform: "snp".into(),
            evidence: String::new(),
            endorsements: vec![],
            channel_key: bytes::to_base64(spki),
            workload: Workload { deployment: bytes::to_base64(b"doc"), models: vec![] },
            nonce: Sha256(nonce),
            path: vec![],
        }
    }

    #[test]
    fn table_that_a_host_gives_is_an_endorsement_and_none_is_none() {
        let table = Endorsement { r#type: "certificate-table".into(), data: bytes::to_base64(b"table") };
        assert_eq!(Endorsement::of_host(b"table"), Some(table));
        assert_eq!(Endorsement::of_host(b""), None);
    }

    #[test]
    fn answer_for_this_nonce_and_key_accepted() {
        let workload = workload_digest(b"doc", &[]).unwrap();
        let (root, _) = merkle::tree(&[[1; 32]]);
        let want = report_data(Purpose::ClientChannel, &root, b"key", &workload);
        assert_eq!(answer([1; 32], b"key").expected_report_data(&[1; 32], b"key").unwrap(), want);
    }

    #[test]
    fn answer_for_another_nonce_refused() {
        let refused = answer([2; 32], b"key").expected_report_data(&[1; 32], b"key").unwrap_err();
        assert_eq!(refused.code, Code::NonceMismatch);
    }

    #[test]
    fn answer_for_another_key_refused() {
        let refused = answer([1; 32], b"other").expected_report_data(&[1; 32], b"key").unwrap_err();
        assert_eq!(refused.code, Code::ChannelKeyMismatch);
    }

    #[test]
    fn answer_survives_json_and_unknown_members_are_refused() {
        let json = serde_json::to_string(&answer([1; 32], b"key")).unwrap();
        assert_eq!(EvidenceAnswer::parse(json.as_bytes()).unwrap(), answer([1; 32], b"key"));
        let more = json.replacen('{', r#"{"x":1,"#, 1);
        assert_eq!(EvidenceAnswer::parse(more.as_bytes()).unwrap_err().code, Code::UnknownField);
    }

    #[test]
    fn answer_of_another_version_or_with_more_endorsements_than_the_limit_refused() {
        let code = |v: u32, endorsements: usize| {
            let one = Endorsement { r#type: "crl".into(), data: String::new() };
            let answer = EvidenceAnswer { v, endorsements: vec![one; endorsements], ..answer([1; 32], b"key") };
            EvidenceAnswer::parse(&serde_json::to_vec(&answer).unwrap()).err().map(|refusal| refusal.code)
        };
        assert_eq!(code(1, limits::ENDORSEMENTS), None);
        assert_eq!(code(1, limits::ENDORSEMENTS + 1), Some(Code::TooLarge));
        assert_eq!(code(2, 0), Some(Code::VersionUnsupported));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(EvidenceAnswer::parse(&bytes).is_err());
        }
    }
}

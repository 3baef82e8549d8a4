//! What evidence commits to: the one definition of report data, workload digest and statement commitment.
//!
//! All 64 bytes of report data are always compared. No interface puts caller-chosen bytes into report data: a nonce is
//! hashed together with a purpose, the bound key and the workload.

use crate::digest::{Sha256, sha384, sha512};
use crate::{Code, Refusal, Result, limits};
use serde::Serialize;

/// What a piece of evidence is made for. Evidence of one purpose never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// The TLS key of an enclave's own endpoint.
    ClientChannel = 1,
    /// An attestation result (EAR).
    Passport = 2,
    /// A certificate signing request for an X.509-SVID.
    Identity = 3,
    /// A lease.
    Lease = 4,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::ClientChannel => 1,
            Self::Passport => 2,
            Self::Identity => 3,
            Self::Lease => 4,
        }
    }
}

/// `SHA-512("strongroom/report-data/v1\0" ‖ purpose ‖ nonce ‖ SHA-256(SPKI) ‖ workload digest)`.
///
/// `nonce` is the Merkle root of the nonces that share the report ([`crate::merkle`]); `spki` is the DER
/// SubjectPublicKeyInfo of the bound key.
pub fn report_data(purpose: Purpose, nonce: &[u8; 32], spki: &[u8], workload: &Sha256) -> [u8; 64] {
    let key = Sha256::of(spki);
    sha512(&[b"strongroom/report-data/v1\0", &[purpose.byte()], nonce, &key.0, &workload.0])
}

/// Report data of the KBS protocol 0.4.0 §5: SHA-384 over canonical JSON (RFC 8785) of the additional evidence, the
/// nonce's text and the guest's public key, followed by 16 zero bytes.
pub fn kbs_report_data(nonce: &str, tee_pubkey: &crate::kbs::TeePubKey) -> Result<[u8; 64]> {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct RuntimeData<'a> {
        additional_evidence: &'a str,
        nonce: &'a str,
        tee_pubkey: &'a crate::kbs::TeePubKey,
    }
    let data = RuntimeData { additional_evidence: "", nonce, tee_pubkey };
    let canonical = serde_json_canonicalizer::to_vec(&data)
        .map_err(|e| Refusal::new(Code::Internal, "runtime data as canonical JSON").because(e))?;
    let digest = sha384(&canonical);
    let mut out = [0; 64];
    for (to, from) in out.iter_mut().zip(digest) {
        *to = from;
    }
    Ok(out)
}

/// One model that an enclave serves, as the workload digest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// The name that requests use.
    pub name: String,
    /// The digest of its OCI manifest.
    pub manifest: Sha256,
    /// [`statement_commitment`] of its OMS statement.
    pub statement: Sha256,
}

/// `SHA-256("strongroom/workload/v1\0" ‖ SHA-256(deployment document) ‖ u32be n ‖ n × (u16be length ‖ name ‖ manifest ‖
/// statement commitment))`, models sorted by the bytes of their names.
///
/// Refuses names that are empty, over [`limits::MODEL_NAME`] or given twice, and more than [`limits::MODELS`] models.
pub fn workload_digest(deployment: &[u8], models: &[ServedModel]) -> Result<Sha256> {
    if models.len() > limits::MODELS {
        return Err(Refusal::too_large("models of a workload", models.len(), limits::MODELS));
    }
    let mut sorted: Vec<&ServedModel> = models.iter().collect();
    sorted.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let count = u32::try_from(sorted.len()).map_err(|e| Refusal::malformed("workload", e))?;
    let mut bytes = b"strongroom/workload/v1\0".to_vec();
    bytes.extend_from_slice(&Sha256::of(deployment).0);
    bytes.extend_from_slice(&count.to_be_bytes());
    let mut previous: Option<&str> = None;
    for model in sorted {
        let length =
            u16::try_from(model.name.len()).ok().filter(|n| (1..=limits::MODEL_NAME).contains(&usize::from(*n)));
        let length = length.ok_or_else(|| {
            Refusal::too_large("model name", format!("{} bytes", model.name.len()), limits::MODEL_NAME)
        })?;
        if previous == Some(model.name.as_str()) {
            return Err(Refusal::new(Code::Malformed, "model name twice in one workload").got(&model.name));
        }
        previous = Some(&model.name);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(model.name.as_bytes());
        bytes.extend_from_slice(&model.manifest.0);
        bytes.extend_from_slice(&model.statement.0);
    }
    Ok(Sha256::of(&bytes))
}

/// `SHA-256("strongroom/statement/v1\0" ‖ blind ‖ SHA-256(OMS payload))`. `blind` is derived from the data key for a
/// sealed model, whose file digests would identify it, and zero for a plain one.
pub fn statement_commitment(blind: &[u8; 32], oms_payload: &[u8]) -> Sha256 {
    let payload = Sha256::of(oms_payload);
    Sha256::of_parts(&[b"strongroom/statement/v1\0", blind, &payload.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, fill: u8) -> ServedModel {
        ServedModel { name: name.into(), manifest: Sha256([fill; 32]), statement: Sha256([fill ^ 0xff; 32]) }
    }

    // Computed with Python's hashlib from the formulas above, not with this code.
    #[test]
    fn test_vectors_hold() {
        let workload = workload_digest(b"document", &[model("b", 2), model("a", 1)]).unwrap();
        assert_eq!(workload.to_string(), WORKLOAD);
        let data = report_data(Purpose::ClientChannel, &[7; 32], b"spki", &workload);
        assert_eq!(hex::encode(data), REPORT_DATA);
        assert_eq!(statement_commitment(&[3; 32], b"payload").to_string(), STATEMENT);
    }
    const WORKLOAD: &str = "00f2ec816068c9b2b1ab8ab1a13e62a56445cf0149d0809a2b789c2bc971509e";
    const REPORT_DATA: &str = "f3a1488a23851ec81458578505d7ec74a8af68ff234b095ba7dcd7e4cefe084c01df4fb15b91eaaf8df1620e0625d9c352407fe0984b99b040b3c51ee0270baa";
    const STATEMENT: &str = "906b1192cf6440f886befee5c3e29e25f4e992a43013c96041571f79207f9785";

    #[test]
    fn order_of_models_does_not_matter_and_names_and_digests_do() {
        let base = workload_digest(b"d", &[model("a", 1), model("b", 2)]).unwrap();
        assert_eq!(base, workload_digest(b"d", &[model("b", 2), model("a", 1)]).unwrap());
        assert_ne!(base, workload_digest(b"d", &[model("a", 2), model("b", 1)]).unwrap());
        assert_ne!(base, workload_digest(b"e", &[model("a", 1), model("b", 2)]).unwrap());
        assert_ne!(base, workload_digest(b"d", &[model("a", 1)]).unwrap());
    }

    #[test]
    fn two_models_of_one_name_refused() {
        assert_eq!(workload_digest(b"d", &[model("a", 1), model("a", 2)]).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn name_of_256_bytes_accepted_and_of_257_and_0_refused() {
        assert!(workload_digest(b"d", &[model(&"n".repeat(256), 1)]).is_ok());
        assert_eq!(workload_digest(b"d", &[model(&"n".repeat(257), 1)]).unwrap_err().code, Code::TooLarge);
        assert_eq!(workload_digest(b"d", &[model("", 1)]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn purposes_nonces_keys_and_workloads_give_different_report_data() {
        let w = Sha256([1; 32]);
        let base = report_data(Purpose::ClientChannel, &[0; 32], b"k", &w);
        for other in [
            report_data(Purpose::Passport, &[0; 32], b"k", &w),
            report_data(Purpose::ClientChannel, &[1; 32], b"k", &w),
            report_data(Purpose::ClientChannel, &[0; 32], b"l", &w),
            report_data(Purpose::ClientChannel, &[0; 32], b"k", &Sha256([2; 32])),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn kbs_report_data_is_sha384_of_the_literal_text_of_the_protocol() {
        let key = crate::kbs::TeePubKey::Ec {
            crv: "P-256".into(),
            alg: "ECDH-ES+A256KW".into(),
            x: "eA".into(),
            y: "eQ".into(),
        };
        let text = r#"{"additional-evidence":"","nonce":"bm9uY2U=","tee-pubkey":{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eA","y":"eQ"}}"#;
        let data = kbs_report_data("bm9uY2U=", &key).unwrap();
        assert_eq!(data[..48], sha384(text.as_bytes()));
        assert_eq!(data[48..], [0; 16]);
    }

    #[test]
    fn as_many_models_as_the_limit_accepted_and_one_more_refused() {
        let models = |count: usize| (0..count).map(|n| model(&n.to_string(), 1)).collect::<Vec<_>>();
        assert!(workload_digest(b"d", &models(limits::MODELS)).is_ok());
        assert_eq!(workload_digest(b"d", &models(limits::MODELS + 1)).unwrap_err().code, Code::TooLarge);
    }
}

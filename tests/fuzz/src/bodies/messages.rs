//! What peers, operators and files say in JSON, TOML and short texts.

use super::choose;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_appraisal::{Policy, ReleasePolicy};
use strongroom_wire::audit::Entry;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::EarClaims;
use strongroom_wire::evidence::EvidenceAnswer;
use strongroom_wire::kbs::{AttestResponse, Attestation, ErrorInformation, Jwe, Request, ResourcePath, SnpEvidence};
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Root, bytes};

pub fn run(input: &[u8]) {
    choose(input, &[request, attestation, answers, evidence, audit, deployment, trust, policy, release, texts]);
}

/// What `value` is written as is read as `value`.
fn assert_survives<T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug>(value: &T) {
    let written = serde_json::to_vec(value).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), *value);
}

fn request(input: &[u8]) {
    if let Ok(request) = Request::parse(input) {
        assert_eq!(request.version, "0.4.0");
        let written = serde_json::to_vec(&request).unwrap();
        assert_eq!(Request::parse(&written).unwrap().tee, request.tee);
    }
}

fn attestation(input: &[u8]) {
    let Ok(attestation) = Attestation::parse(input) else { return };
    assert_survives(&attestation.runtime_data);
    assert_survives(&attestation.init_data);
    let nonce = &attestation.runtime_data.nonce;
    let data = strongroom_wire::binding::kbs_report_data(nonce, &attestation.runtime_data.tee_pubkey).unwrap();
    assert_eq!(data[48..], [0; 16]);
    let Ok(evidence) = serde_json::from_value::<SnpEvidence>(attestation.tee_evidence.primary_evidence) else { return };
    let Ok(report) = evidence.report() else { return };
    let again = SnpEvidence::from_report(&report, evidence.cert_chain.clone()).unwrap();
    assert_eq!(again.report().unwrap(), report);
}

fn answers(input: &[u8]) {
    if let Ok(jwe) = serde_json::from_slice::<Jwe>(input) {
        assert_survives(&jwe);
    }
    if let Ok(error) = serde_json::from_slice::<ErrorInformation>(input) {
        assert_survives(&error);
    }
    if let Ok(response) = serde_json::from_slice::<AttestResponse>(input) {
        assert_survives(&response);
    }
    if let Ok(claims) = serde_json::from_slice::<EarClaims>(input) {
        let written = serde_json::to_vec(&claims).unwrap();
        assert_eq!(serde_json::from_slice::<EarClaims>(&written).unwrap().cnf, claims.cnf);
    }
}

fn evidence(input: &[u8]) {
    let Ok(answer) = EvidenceAnswer::parse(input) else { return };
    assert_survives(&answer);
    let Ok(key) = bytes::from_base64(&answer.channel_key, "key") else { return };
    let expected = answer.expected_report_data(&answer.nonce.0, &key);
    // For another nonce it is never an answer, whatever else it says.
    let mut other = answer.nonce.0;
    other[31] ^= 1;
    assert_eq!(answer.expected_report_data(&other, &key).unwrap_err().code, Code::NonceMismatch);
    if let (Ok(_), Ok(document)) = (expected, answer.workload.deployment()) {
        deployment(&document);
    }
}

fn audit(input: &[u8]) {
    let Ok(entry) = Entry::parse(input) else { return };
    // A leaf has one form alone.
    assert_eq!(entry.leaf().unwrap(), input);
}

fn deployment(input: &[u8]) {
    let Ok(deployment) = Deployment::parse(input) else { return };
    assert_eq!((deployment.raw(), deployment.digest()), (input, Sha256::of(input)));
    let rendered = Deployment::render(deployment.settings()).unwrap();
    assert_eq!(Deployment::parse(&rendered).unwrap().settings(), deployment.settings());
}

fn trust(input: &[u8]) {
    let Ok(file) = TrustFile::parse(input) else { return };
    assert_survives(&file);
    for rule in &file.rules {
        // Nobody in particular never suffices.
        assert!(rule.threshold >= 1 && rule.threshold <= rule.signers.len());
        let covered = rule.repository.replace("/*", "/model");
        assert!(file.rule_for(&covered).is_ok(), "{covered}");
    }
}

fn policy(input: &[u8]) {
    if let Ok(policy) = Policy::parse(input) {
        assert_eq!(policy.digest(), Sha256::of(input));
    }
}

fn release(input: &[u8]) {
    if ReleasePolicy::parse(input).is_ok() {
        // It is no appraisal policy, which has no such section.
        assert!(Policy::parse(input).is_err());
    }
}

fn texts(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    if let Ok(root) = Root::parse(text) {
        assert_eq!(root.to_string(), text);
    }
    if let Ok(digest) = Sha256::from_oci(text) {
        assert_eq!(digest.oci(), text);
    }
    if let Some(code) = Code::parse(text) {
        assert_eq!(code.to_string(), text);
    }
    if let Ok(path) = ResourcePath::parse(text) {
        assert_eq!((path.as_str(), text.split('/').count()), (text, 3));
        assert_eq!(ResourcePath::from_uri(&path.uri()).unwrap(), path);
    }
    if let Ok(path) = ResourcePath::from_uri(text) {
        assert!(!path.as_str().split('/').any(|part| part.starts_with('.')), "{text}");
    }
    if let Ok(bytes) = bytes::from_base64(text, "text") {
        assert_eq!(bytes::to_base64(&bytes), text);
    }
    if let Ok(bytes) = bytes::from_base64url(text, "text") {
        assert_eq!(bytes::to_base64url(&bytes), text);
    }
}

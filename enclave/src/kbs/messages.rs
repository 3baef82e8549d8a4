//! What is said to a KBS, and what is made of its answers.

use crate::attester::OwnEvidence;
use http::{HeaderValue, StatusCode};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::kbs::{
    Attestation, COOKIE, CertificateEntry, ErrorInformation, InitData, Request, RuntimeData, SnpEvidence, TdxEvidence,
    Tee, TeeEvidence, TeePubKey, VERSION,
};
use strongroom_wire::snp::{CertificateKind, CertificateTable};
use strongroom_wire::{Code, Refusal, Result};

/// The longest cookie that is sent back; a KBS's own is 32 characters.
const LONGEST_COOKIE: usize = 256;

/// `POST /auth` (the protocol's notes, §3).
pub(super) fn request(tee: Tee) -> Request {
    Request { version: VERSION.to_owned(), tee: tee.as_str().to_owned(), extra_params: "".into() }
}

/// That the report data of the challenge are SHA-384, which is what a KBS asks of every TEE spoken here (§4).
///
/// # Errors
/// `version-unsupported`: it selects another hash.
pub(super) fn verify_hash(extra_params: &serde_json::Value) -> Result<()> {
    const SHA384: &str = "sha384";
    match extra_params.get("selected-hash-algorithm") {
        Some(selected) if !selected.as_str().is_some_and(|name| name.eq_ignore_ascii_case(SHA384)) => {
            Err(Refusal::new(Code::VersionUnsupported, "hash of report data").got(selected).want(SHA384))
        }
        _ => Ok(()),
    }
}

/// `POST /attest` (§5): the raw deployment document, the key that was attested, and the evidence.
///
/// # Errors
/// `reserved-not-zero` the report cannot be carried as JSON; `malformed` or `too-large` the host's certificate table.
pub(super) fn attestation(
    deployment: &Deployment,
    nonce: &str,
    key: &TeePubKey,
    own: &OwnEvidence,
) -> Result<Attestation> {
    let body = core::str::from_utf8(deployment.raw()).map_err(|e| Refusal::malformed("deployment document", e))?;
    let primary_evidence = match own.report() {
        Some(report) => {
            let table = CertificateTable::parse(&own.quote().certificates)?;
            let chain: Vec<CertificateEntry> = table.entries.into_iter().filter_map(entry).collect();
            serde_json::to_value(SnpEvidence::from_report(report, (!chain.is_empty()).then_some(chain))?)
        }
        None => serde_json::to_value(TdxEvidence::new(&own.quote().evidence, None)),
    };
    let primary_evidence = primary_evidence.map_err(|e| Refusal::new(Code::Internal, "evidence as JSON").because(e))?;
    Ok(Attestation {
        init_data: Some(InitData { format: "toml".to_owned(), body: body.to_owned() }),
        runtime_data: RuntimeData { nonce: nonce.to_owned(), tee_pubkey: key.clone() },
        tee_evidence: TeeEvidence { primary_evidence, additional_evidence: String::new() },
    })
}

/// Entries by the names of §7. What other vendors put into the table is left out.
fn entry(entry: strongroom_wire::snp::TableEntry) -> Option<CertificateEntry> {
    let name = match entry.kind {
        CertificateKind::Ark => "ARK",
        // One name for both intermediates, as in the table.
        CertificateKind::Ask | CertificateKind::Asvk => "ASK",
        CertificateKind::Vcek => "VCEK",
        CertificateKind::Vlek => "VLEK",
        CertificateKind::Crl => "CRL",
        CertificateKind::Other(_) => return None,
    };
    Some(CertificateEntry { cert_type: name.into(), data: entry.data })
}

/// The session's cookie, ready to be sent back (§4). Its attributes are passed over: it is sent to one server only.
///
/// # Errors
/// `session-unknown` none was set, or one that cannot be sent back.
pub(super) fn cookie<'a>(set: impl IntoIterator<Item = &'a HeaderValue>) -> Result<HeaderValue> {
    let unknown = || Refusal::new(Code::SessionUnknown, "verifier's answer").got("no cookie").want(COOKIE);
    let pair = set.into_iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let pair = value.split(';').next()?.trim();
        let (name, id) = pair.split_once('=')?;
        (name == COOKIE && !id.is_empty() && pair.len() <= LONGEST_COOKIE).then_some(pair)
    });
    HeaderValue::from_str(pair.ok_or_else(unknown)?).map_err(|_| unknown())
}

/// What an answer other than 200 says (§11): the code of a Strongroom verifier, else its kind.
pub(super) fn refusal_of(status: StatusCode, body: &[u8]) -> Refusal {
    match serde_json::from_slice::<ErrorInformation>(body) {
        Ok(ErrorInformation { code: Some(code), .. }) => Refusal::new(code, format!("the verifier answers {status}")),
        Ok(ErrorInformation { kind, .. }) => {
            let kind: String = kind.rsplit('/').next().unwrap_or_default().chars().take(64).collect();
            Refusal::new(Code::VerifierRefused, "verifier").got(format!("{status}, {kind}"))
        }
        Err(_) => Refusal::new(Code::VerifierRefused, "verifier").got(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_of_the_session_is_sent_back_without_its_attributes() {
        let set = |value: &'static str| cookie([&HeaderValue::from_static("a=b"), &HeaderValue::from_static(value)]);
        assert_eq!(set("kbs-session-id=0af; Expires=Thu; Secure").unwrap(), "kbs-session-id=0af");
        assert_eq!(set("kbs-session-id=0af").unwrap(), "kbs-session-id=0af");
    }

    #[test]
    fn answer_without_the_session_s_cookie_refused() {
        assert_eq!(cookie([]).unwrap_err().code, Code::SessionUnknown);
        for other in ["kbs-session-id=", "kbs-session-id", "other=0af", ""] {
            assert_eq!(cookie([&HeaderValue::from_static(other)]).unwrap_err().code, Code::SessionUnknown, "{other}");
        }
    }

    #[test]
    fn challenge_that_selects_sha384_or_nothing_accepted_and_another_hash_refused() {
        use serde_json::json;
        for extra in [json!(""), json!({}), json!({"selected-hash-algorithm": "SHA384"})] {
            assert!(verify_hash(&extra).is_ok(), "{extra}");
        }
        for extra in [json!({"selected-hash-algorithm": "sha512"}), json!({"selected-hash-algorithm": null})] {
            assert_eq!(verify_hash(&extra).unwrap_err().code, Code::VersionUnsupported, "{extra}");
        }
    }

    #[test]
    fn refusal_of_a_strongroom_verifier_keeps_its_code_and_of_another_its_kind() {
        let body = |more: &str| format!(r#"{{"type":"https://x/errors/PolicyDeny","detail":"d"{more}}}"#);
        let ours = refusal_of(StatusCode::UNAUTHORIZED, body(r#","code":"measurement-not-approved""#).as_bytes());
        assert_eq!(ours.code, Code::MeasurementNotApproved);
        let other = refusal_of(StatusCode::UNAUTHORIZED, body("").as_bytes());
        assert_eq!((other.code, other.got.as_deref()), (Code::VerifierRefused, Some("401 Unauthorized, PolicyDeny")));
        assert_eq!(refusal_of(StatusCode::BAD_GATEWAY, b"<html>").code, Code::VerifierRefused);
    }
}

//! What Rekor v1 answers, as bundles have it (`dev.sigstore.rekor.v1.TransparencyLogEntry`, JSON form).

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::{Code, Refusal, Result, document, limits};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logged {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Verification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    signed_entry_timestamp: String,
    inclusion_proof: Proof,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    api_version: String,
    kind: String,
}

/// The one entry of an answer, which has it under its UUID. Bytes are hex there and base64 here, and numbers strings.
pub(super) fn entry(answer: &[u8]) -> Result<Value> {
    let what = "answer of Rekor";
    let mut entries: BTreeMap<String, Logged> = document::parse_json(answer, what, limits::SIGNATURE, Code::Malformed)?;
    let entry = match (entries.pop_first(), entries.is_empty()) {
        (Some((_, entry)), true) => entry,
        _ => return Err(Refusal::new(Code::Malformed, what).got("none or many").want("one entry")),
    };
    let body = from_base64(&entry.body, "body of a log entry")?;
    let kind: Kind = document::parse_json(&body, "body of a log entry", limits::SIGNATURE, Code::Malformed)?;
    let from_hex = |text: &str| {
        let bytes = hex::decode(text).map_err(|e| Refusal::malformed(what, e))?;
        Ok::<_, Refusal>(to_base64(&bytes))
    };
    let proof = entry.verification.inclusion_proof;
    let hashes = proof.hashes.iter().map(|hash| from_hex(hash)).collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "logIndex": entry.log_index.to_string(),
        "logId": { "keyId": from_hex(&entry.log_id)? },
        "kindVersion": { "kind": kind.kind, "version": kind.api_version },
        "integratedTime": entry.integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": entry.verification.signed_entry_timestamp },
        "inclusionProof": {
            "logIndex": proof.log_index.to_string(), "rootHash": from_hex(&proof.root_hash)?,
            "treeSize": proof.tree_size.to_string(), "hashes": hashes, "checkpoint": { "envelope": proof.checkpoint },
        },
        "canonicalizedBody": entry.body,
    }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn answer() -> Vec<u8> {
        json!({"24296fb24b8ad77a": {
            "body": to_base64(br#"{"apiVersion":"0.0.1","kind":"dsse","spec":{}}"#),
            "integratedTime": 1_700_000_000, "logID": "00ff", "logIndex": 7,
            "verification": {
                "signedEntryTimestamp": "c2V0",
                "inclusionProof": {
                    "checkpoint": "note", "hashes": ["0a"], "logIndex": 3, "rootHash": "0b", "treeSize": 9,
                },
            },
        }})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn entry_has_the_form_of_the_bundle_specification() {
        let want = json!({
            "logIndex": "7", "logId": {"keyId": to_base64(&[0, 255])},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"}, "integratedTime": "1700000000",
            "inclusionPromise": {"signedEntryTimestamp": "c2V0"},
            "inclusionProof": {
                "logIndex": "3", "rootHash": to_base64(&[11]), "treeSize": "9", "hashes": [to_base64(&[10])],
                "checkpoint": {"envelope": "note"},
            },
            "canonicalizedBody": to_base64(br#"{"apiVersion":"0.0.1","kind":"dsse","spec":{}}"#),
        });
        assert_eq!(entry(&answer()).unwrap(), want);
    }

    #[test]
    fn answer_of_no_or_two_entries_or_with_digits_that_are_not_hex_refused() {
        let text = String::from_utf8(answer()).unwrap();
        let entry_text = text.get(1..text.len() - 1).unwrap();
        let two = format!("{{{entry_text},{}}}", entry_text.replace("24296fb24b8ad77a", "other"));
        for bad in ["{}".to_owned(), two, text.replace("\"00ff\"", "\"zz\""), text.replace("\"0b\"", "\"0\"")] {
            assert_eq!(entry(bad.as_bytes()).unwrap_err().code, Code::Malformed, "{bad}");
        }
    }
}

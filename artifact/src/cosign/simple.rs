//! The payload of cosign 1 and 2 ("simple signing"), one per layer of the image under the tag `sha256-<hex>.sig`.

use crate::keys::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The media type of a layer that holds such a payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

const KIND: &str = "cosign container image signature";

/// The payload that says that `manifest` is what `repository` (`host/repo`) holds.
pub fn simple_signing_payload(repository: &str, manifest: &Sha256) -> Result<Vec<u8>> {
    let payload = Payload {
        critical: Critical {
            identity: Identity { docker_reference: repository.to_owned() },
            image: Image { docker_manifest_digest: manifest.oci() },
            kind: KIND.to_owned(),
        },
        optional: None,
    };
    serde_json::to_vec(&payload).map_err(|e| Refusal::new(Code::Internal, "signature payload").because(e))
}

/// Signs such a payload; gives the ASN.1 DER signature, which the layer carries in base64 as its annotation
/// `dev.cosignproject.cosign/signature`.
pub fn sign_simple(payload: &[u8], key: &SigningKey) -> Result<Vec<u8>> {
    key.sign(payload)
}

/// Verifies that `key` signed `manifest` in such a payload.
///
/// The form does not name its key, so a signature that does not verify is `signer-untrusted`; one that does and states
/// something else is `signature-invalid`. The repository inside is not compared, as cosign does not: models are mirrored.
pub fn verify_simple(payload: &[u8], signature: &[u8], manifest: &Sha256, key: &PublicKey) -> Result<()> {
    key.verify(payload, signature).map_err(|refusal| Refusal { code: Code::SignerUntrusted, ..refusal })?;
    let parsed: Payload = document::parse_json(payload, "signature payload", limits::BUNDLE, Code::SignatureInvalid)?;
    let (kind, digest) = (parsed.critical.kind, parsed.critical.image.docker_manifest_digest);
    if kind == KIND && digest == manifest.oci() {
        return Ok(());
    }
    let got: String = format!("{kind} {digest}").chars().take(200).collect();
    Err(Refusal::new(Code::SignatureInvalid, "signature payload").got(got).want(format!("{KIND} {}", manifest.oci())))
}

#[derive(Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    optional: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: Sha256 = Sha256([7; 32]);

    #[test]
    fn payload_is_cosigns_byte_for_byte() {
        let want = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"host/repo"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
            MANIFEST.oci()
        );
        assert_eq!(simple_signing_payload("host/repo", &MANIFEST).unwrap(), want.as_bytes());
    }

    #[test]
    fn signature_over_the_digest_accepted_and_other_digest_key_payload_or_kind_refused() {
        let key = SigningKey::generate().unwrap();
        let payload = simple_signing_payload("host/repo", &MANIFEST).unwrap();
        let signature = sign_simple(&payload, &key).unwrap();
        let verify = |payload: &[u8], signature: &[u8], manifest, key: &PublicKey| {
            verify_simple(payload, signature, manifest, key).err().map(|refusal| refusal.code)
        };
        let public = key.public();
        assert_eq!(verify(&payload, &signature, &MANIFEST, &public), None);
        assert_eq!(verify(&payload, &signature, &Sha256([8; 32]), &public), Some(Code::SignatureInvalid));
        let stranger = SigningKey::generate().unwrap().public();
        assert_eq!(verify(&payload, &signature, &MANIFEST, &stranger), Some(Code::SignerUntrusted));
        let mut changed = payload.clone();
        changed.push(b' ');
        assert_eq!(verify(&changed, &signature, &MANIFEST, &public), Some(Code::SignerUntrusted));
        let other = String::from_utf8(payload).unwrap().replace("container image", "something else").into_bytes();
        let signature = sign_simple(&other, &key).unwrap();
        assert_eq!(verify(&other, &signature, &MANIFEST, &public), Some(Code::SignatureInvalid));
    }
}

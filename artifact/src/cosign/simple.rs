//! The payload of cosign 1 and 2 ("simple signing"), one per layer of the image under the tag `sha256-<hex>.sig`.

use crate::keys::PublicKey;
use serde::Deserialize;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The media type of a layer that holds such a payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

const KIND: &str = "cosign container image signature";

/// Verifies that `key` signed `manifest` in such a payload.
///
/// The form does not name its key, so a signature that does not verify is `signer-untrusted`; one that does and states
/// something else is `signature-invalid`. The repository inside is not compared, as cosign does not: models are mirrored.
pub fn verify_simple(payload: &[u8], signature: &[u8], manifest: &Sha256, key: &PublicKey) -> Result<()> {
    key.verify(payload, signature).map_err(|refusal| Refusal { code: Code::SignerUntrusted, ..refusal })?;
    let parsed: Payload =
        document::parse_json(payload, "signature payload", limits::SIGNATURE, Code::SignatureInvalid)?;
    let (kind, digest) = (parsed.critical.kind, parsed.critical.image.docker_manifest_digest);
    if kind == KIND && digest == manifest.oci() {
        return Ok(());
    }
    let got: String = format!("{kind} {digest}").chars().take(200).collect();
    Err(Refusal::new(Code::SignatureInvalid, "signature payload").got(got).want(format!("{KIND} {}", manifest.oci())))
}

/// What is read of it; the identity and the optional members are not compared.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::SigningKey;

    const MANIFEST: Sha256 = Sha256([7; 32]);

    /// The payload over `manifest`, byte for byte as cosign 2 writes it.
    pub(crate) fn payload(manifest: &Sha256) -> Vec<u8> {
        let digest = manifest.oci();
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"host/repo"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{KIND}"}},"optional":null}}"#
        )
        .into_bytes()
    }

    #[test]
    fn signature_over_the_digest_accepted_and_other_digest_key_payload_or_kind_refused() {
        let key = SigningKey::generate().unwrap();
        let payload = payload(&MANIFEST);
        let signature = key.sign(&payload).unwrap();
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
        let signature = key.sign(&other).unwrap();
        assert_eq!(verify(&other, &signature, &MANIFEST, &public), Some(Code::SignatureInvalid));
    }

    #[test]
    fn payload_up_to_the_limit_accepted_and_over_it_refused() {
        let key = SigningKey::generate().unwrap();
        let verify = |length| {
            let mut payload = payload(&MANIFEST);
            payload.resize(length, b' ');
            let signature = key.sign(&payload).unwrap();
            verify_simple(&payload, &signature, &MANIFEST, &key.public()).err().map(|refusal| refusal.code)
        };
        assert_eq!(verify(limits::SIGNATURE), None);
        assert_eq!(verify(limits::SIGNATURE + 1), Some(Code::TooLarge));
    }
}

//! The payload of cosign 1 and 2 ("simple signing"), one per layer of the image under the tag `sha256-<hex>.sig`.

mod image;

use crate::keys::{PublicKey, Sign};
pub use image::{SignatureImage, simple_tag};
use serde::Deserialize;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The media type of a layer that holds such a payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of such a layer that holds the signature, in base64.
pub const SIMPLE_SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A payload and a signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleSignature {
    payload: Vec<u8>,
    signature: Vec<u8>,
    signer: PublicKey,
}

/// Signs the digest of a manifest of `repository` (`host[:port]/repo`, as `critical.identity` has it), byte for byte as cosign 2
/// does.
pub fn sign_simple(manifest: &Sha256, repository: &str, key: &dyn Sign) -> Result<SimpleSignature> {
    let name = serde_json::to_string(repository).map_err(|e| Refusal::new(Code::Internal, "repository").because(e))?;
    let payload = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":{name}}},"image":{{"docker-manifest-digest":"{}"}},"type":"{KIND}"}},"optional":null}}"#,
        manifest.oci()
    )
    .into_bytes();
    let signature = key.sign(&payload)?;
    Ok(SimpleSignature { payload, signature, signer: key.public() })
}

impl SimpleSignature {
    /// The layer's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature over them, in ASN.1 DER.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

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
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    const MANIFEST: Sha256 = Sha256([7; 32]);

    fn payload(manifest: &Sha256) -> Vec<u8> {
        sign_simple(manifest, "host/repo", &SigningKey::generate().unwrap()).unwrap().payload
    }

    #[test]
    fn payload_is_that_of_cosign_2() {
        let want = r#"{"critical":{"identity":{"docker-reference":"host/repo"},"image":{"docker-manifest-digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707"},"type":"cosign container image signature"},"optional":null}"#;
        assert_eq!(String::from_utf8(payload(&MANIFEST)).unwrap(), want);
    }

    #[test]
    fn what_is_signed_verifies_for_its_signer_and_manifest_only() {
        let key = SigningKey::generate().unwrap();
        let SimpleSignature { payload, signature, signer } = sign_simple(&MANIFEST, "host/repo", &key).unwrap();
        assert!(verify_simple(&payload, &signature, &MANIFEST, &signer).is_ok());
        let other = verify_simple(&payload, &signature, &Sha256([8; 32]), &signer).unwrap_err();
        assert_eq!(other.code, Code::SignatureInvalid);
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

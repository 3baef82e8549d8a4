//! The image that holds signatures of the old form, one a layer. A signer adds to what is there.

use super::{SIMPLE_SIGNATURE, SIMPLE_SIGNING, SimpleSignature};
use serde_json::{Value, json};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// The tag of the image that holds the signatures over `manifest`, in the repository of the manifest.
pub fn simple_tag(manifest: &Sha256) -> String {
    format!("sha256-{manifest}.sig")
}

/// An image of signatures, and the config blob that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureImage {
    /// The OCI manifest, pushed under [`simple_tag`].
    pub manifest: Vec<u8>,
    /// The config blob.
    pub config: Vec<u8>,
}

impl SimpleSignature {
    /// The image with this signature as its last layer: a new one, or the one whose manifest is `image`, whose other layers
    /// stay as they are. `None` where the same signer's signature over the same payload is there already.
    ///
    /// # Errors
    /// `registry-failed` where `image` is no image manifest, or holds as many signatures as are looked at.
    pub fn add_to(&self, image: Option<&[u8]>) -> Result<Option<SignatureImage>> {
        let other =
            |got: &str| Refusal::new(Code::RegistryFailed, "signature image").got(got).want("an image manifest");
        let mut manifest: Value = match image {
            Some(bytes) => document::parse_json(bytes, "signature image", limits::MANIFEST, Code::RegistryFailed)?,
            None => {
                json!({ "schemaVersion": 2, "mediaType": crate::manifest::OCI_MANIFEST, "config": null, "layers": [] })
            }
        };
        let layers = manifest.get_mut("layers").and_then(Value::as_array_mut);
        let layers = layers.ok_or_else(|| other("no layers"))?;
        if layers.iter().any(|layer| self.is_in(layer)) {
            return Ok(None);
        }
        if layers.len() >= limits::SIGNATURES {
            return Err(Refusal::too_large("signatures of the old form", layers.len() + 1, limits::SIGNATURES));
        }
        layers.push(json!({
            "mediaType": SIMPLE_SIGNING, "digest": Sha256::of(&self.payload).oci(), "size": self.payload.len(),
            "annotations": { SIMPLE_SIGNATURE: to_base64(&self.signature) },
        }));
        let digests: Option<Vec<Value>> = layers.iter().map(|layer| layer.get("digest").cloned()).collect();
        let config = config(&digests.ok_or_else(|| other("a layer without digest"))?)?;
        let described = json!({ "mediaType": CONFIG_TYPE, "digest": Sha256::of(&config).oci(), "size": config.len() });
        *manifest.get_mut("config").ok_or_else(|| other("no config"))? = described;
        let manifest = serde_json::to_vec(&manifest).map_err(|e| Refusal::new(Code::Internal, "image").because(e))?;
        Ok(Some(SignatureImage { manifest, config }))
    }

    fn is_in(&self, layer: &Value) -> bool {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let signature = text(layer.get("annotations").and_then(|all| all.get(SIMPLE_SIGNATURE)));
        text(layer.get("digest")) == Sha256::of(&self.payload).oci()
            && from_base64(&signature, "signature").is_ok_and(|it| self.signer.verify(&self.payload, &it).is_ok())
    }
}

/// The image config as cosign 2 writes it. Its layers are not compressed, so their digests are their diff ids.
fn config(digests: &[Value]) -> Result<Vec<u8>> {
    const LONG_AGO: &str = "0001-01-01T00:00:00Z";
    let history: Vec<_> = digests.iter().map(|_| json!({ "created": LONG_AGO })).collect();
    let config = json!({
        "architecture": "", "created": LONG_AGO, "history": history, "os": "",
        "rootfs": { "type": "layers", "diff_ids": digests }, "config": {},
    });
    serde_json::to_vec(&config).map_err(|e| Refusal::new(Code::Internal, "image config").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;
    use crate::cosign::sign_simple;

    const MANIFEST: Sha256 = Sha256([7; 32]);

    fn signed(key: &SigningKey) -> SimpleSignature {
        sign_simple(&MANIFEST, "host/repo", key).unwrap()
    }

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn image_is_that_of_cosign_2() {
        let signature = signed(&SigningKey::generate().unwrap());
        let image = signature.add_to(None).unwrap().unwrap();
        let payload = Sha256::of(signature.payload()).oci();
        let want = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Sha256::of(&image.config).oci(), "size": image.config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": payload,
                "size": signature.payload().len(),
                "annotations": {"dev.cosignproject.cosign/signature": to_base64(signature.signature())},
            }],
        });
        assert_eq!(read(&image.manifest), want);
        assert_eq!(read(&image.config)["rootfs"], json!({"type": "layers", "diff_ids": [payload]}));
        assert_eq!(simple_tag(&MANIFEST), format!("sha256-{}.sig", "07".repeat(32)));
    }

    #[test]
    fn another_signer_s_layer_stays_and_one_s_own_is_not_added_twice() {
        let (one, two) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let first = signed(&one).add_to(None).unwrap().unwrap().manifest;
        let both = signed(&two).add_to(Some(&first)).unwrap().unwrap();
        let layers = read(&both.manifest)["layers"].clone();
        assert_eq!(layers[0], read(&first)["layers"][0]);
        assert_eq!(layers.as_array().unwrap().len(), 2);
        assert_eq!(read(&both.config)["history"].as_array().unwrap().len(), 2);
        assert_eq!(signed(&one).add_to(Some(&both.manifest)).unwrap(), None);
    }

    #[test]
    fn document_that_is_no_image_and_a_full_image_not_overwritten() {
        let signature = signed(&SigningKey::generate().unwrap());
        let code = |image: &Value| signature.add_to(Some(image.to_string().as_bytes())).unwrap_err().code;
        assert_eq!(code(&json!({"manifests": []})), Code::RegistryFailed);
        assert_eq!(code(&json!({"layers": []})), Code::RegistryFailed);
        let layers = |count| json!({"config": {}, "layers": vec![json!({"digest": "sha256:a"}); count]});
        assert!(signature.add_to(Some(layers(limits::SIGNATURES - 1).to_string().as_bytes())).is_ok());
        assert_eq!(code(&layers(limits::SIGNATURES)), Code::TooLarge);
    }
}

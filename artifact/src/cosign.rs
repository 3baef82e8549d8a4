//! cosign's signatures over a manifest: the bundle of cosign 3 as an OCI referrer, and the payload of the `.sig` tag of
//! cosign 1 and 2.

mod simple;

use crate::bundle::{BUNDLE_V0_3, Bundle, Hint};
use crate::dsse::Envelope;
use crate::keys::{PublicKey, Sign};
use crate::signers::{Credential, Signers};
use serde::{Deserialize, Serialize};
pub use simple::{
    SIMPLE_SIGNATURE, SIMPLE_SIGNING, SignatureImage, SimpleSignature, sign_simple, simple_tag, verify_simple,
};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The type of an in-toto statement.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Whether it is that, or what it was before, which cosign still writes around attestations.
pub(crate) fn is_statement_type(kind: &str) -> bool {
    kind == STATEMENT_TYPE || kind == "https://in-toto.io/Statement/v0.1"
}

/// The predicate type of a signature by `cosign sign`. cosign's own `verify` accepts any other, so that an SBOM by the same
/// key passes for a signature; here none does.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Signs the digest of a manifest and gives the bundle. `annotations` are part of what is signed.
pub fn sign_manifest(manifest: &Sha256, key: &dyn Sign, annotations: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let payload = statement(manifest, annotations)?;
    Bundle::render(&Envelope::sign(&payload, key)?, &key.public(), Hint::Cosign)
}

/// The statement that a signature over the digest of a manifest is over.
pub fn statement(manifest: &Sha256, annotations: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let statement = Written {
        kind: STATEMENT_TYPE,
        subject: [Subject { digest: SubjectDigest { sha256: manifest.to_string() }, annotations: annotations.clone() }],
        predicate_type: PREDICATE_TYPE,
        predicate: Empty {},
    };
    serde_json::to_vec(&statement).map_err(|e| Refusal::new(Code::Internal, "statement").because(e))
}

/// Verifies that `key` signed `manifest` in `bundle`.
///
/// Refuses with `signer-untrusted` where the bundle is by another key, `signature-invalid` where it says to be by this one
/// and is not or states something else (another digest, another predicate type), and `malformed` where it is no bundle.
pub fn verify_bundle(bundle: &[u8], manifest: &Sha256, key: &PublicKey) -> Result<()> {
    verify_parsed(&Bundle::parse(bundle)?, manifest, key)
}

/// Verifies that one of `signers`, by a key or as an identity, signed `manifest` in `bundle`, and says who it was.
///
/// Refuses as [`verify_bundle`], and what is signed by an identity with the code of what does not hold.
pub fn verify_bundle_by(bundle: &[u8], manifest: &Sha256, signers: &Signers) -> Result<Credential> {
    let (payload, signer) = signers.verify(&Bundle::parse(bundle)?, Hint::Cosign)?;
    verify_states(&payload, manifest).map(|()| signer)
}

pub(crate) fn verify_parsed(bundle: &Bundle, manifest: &Sha256, key: &PublicKey) -> Result<()> {
    let (payload, _) = bundle.verify(core::slice::from_ref(key), Hint::Cosign)?;
    verify_states(&payload, manifest)
}

/// Verifies that a statement, whose signature holds, is one of `cosign sign` about `manifest`.
pub(crate) fn verify_states(payload: &[u8], manifest: &Sha256) -> Result<()> {
    let statement: Read = document::parse_json(payload, "statement", limits::SIGNATURE, Code::SignatureInvalid)?;
    let states = |what: &str, got: &str, want: &str| {
        let got: String = got.chars().take(200).collect();
        Refusal::new(Code::SignatureInvalid, format!("{what} of a signature")).got(got).want(want)
    };
    if !is_statement_type(&statement.kind) {
        return Err(states("type", &statement.kind, STATEMENT_TYPE));
    }
    // The predicate itself is empty, and cosign 3.0.0 to 3.0.4 left it out: it is not read.
    let predicate_type = statement.predicate_type.as_deref().unwrap_or_default();
    if predicate_type != PREDICATE_TYPE {
        return Err(states("predicate type", predicate_type, PREDICATE_TYPE));
    }
    let want = manifest.to_string();
    if statement.subject.iter().any(|subject| subject.digest.sha256 == want) {
        return Ok(());
    }
    let got = statement.subject.first().map(|subject| subject.digest.sha256.as_str()).unwrap_or_default();
    Err(states("digest", got, &want))
}

/// The manifest that attaches a bundle to what it signs, and the blobs that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The OCI manifest, pushed by its digest.
    pub manifest: Vec<u8>,
    /// The config blob, `{}`.
    pub config: Vec<u8>,
    /// The annotations, repeated in an index of referrers.
    pub annotations: BTreeMap<String, String>,
}

/// The artifact type of a [`Referrer`].
pub const ARTIFACT_TYPE: &str = BUNDLE_V0_3;

/// Makes the referrer for `bundle`, which states something of this predicate type, over the manifest `subject` of media type
/// and size as given (cosign's `BUNDLE_SPEC`). `created` is in seconds of Unix time.
pub fn referrer_manifest(
    bundle: &[u8],
    predicate_type: &str,
    subject: (&str, &Sha256, u64),
    created: u64,
) -> Result<Referrer> {
    let config = b"{}".to_vec();
    let (media_type, digest, size) = subject;
    let annotations = BTreeMap::from([
        ("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned()),
        ("dev.sigstore.bundle.predicateType".to_owned(), predicate_type.to_owned()),
        ("org.opencontainers.image.created".to_owned(), strongroom_wire::time::rfc3339(created)),
    ]);
    let describe = |media_type: &str, digest: &Sha256, size: u64| {
        serde_json::json!({
            "mediaType": media_type, "digest": digest.oci(), "size": size,
        })
    };
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": crate::manifest::OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": describe("application/vnd.oci.empty.v1+json", &Sha256::of(&config), length(&config)),
        "layers": [describe(BUNDLE_V0_3, &Sha256::of(bundle), length(bundle))],
        "subject": describe(media_type, digest, size),
        "annotations": annotations,
    });
    let manifest = serde_json::to_vec(&manifest).map_err(|e| Refusal::new(Code::Internal, "referrer").because(e))?;
    Ok(Referrer { manifest, config, annotations })
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "_type")]
    kind: &'a str,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: Empty,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize, Deserialize)]
struct Subject {
    digest: SubjectDigest,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct SubjectDigest {
    #[serde(default)]
    sha256: String,
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use serde_json::{Value, json};

    const MANIFEST: Sha256 = Sha256([7; 32]);

    /// A bundle by `key` over any statement.
    fn bundle_of(statement: &Value, key: &SigningKey) -> Vec<u8> {
        let envelope = Envelope::sign(statement.to_string().as_bytes(), key).unwrap();
        Bundle::render(&envelope, &key.public(), Hint::Cosign).unwrap()
    }

    fn statement() -> Value {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": MANIFEST.to_string()}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {},
        })
    }

    #[test]
    fn signature_over_the_digest_accepted_and_over_another_or_by_another_key_refused() {
        let key = SigningKey::generate().unwrap();
        let annotations = BTreeMap::from([("environment".to_owned(), "production".to_owned())]);
        let bundle = sign_manifest(&MANIFEST, &key, &annotations).unwrap();
        assert!(verify_bundle(&bundle, &MANIFEST, &key.public()).is_ok());
        let other = Sha256([8; 32]);
        assert_eq!(verify_bundle(&bundle, &other, &key.public()).unwrap_err().code, Code::SignatureInvalid);
        let stranger = SigningKey::generate().unwrap().public();
        assert_eq!(verify_bundle(&bundle, &MANIFEST, &stranger).unwrap_err().code, Code::SignerUntrusted);
    }

    #[test]
    fn missing_predicate_accepted() {
        let key = SigningKey::generate().unwrap();
        let mut statement = statement();
        assert!(verify_bundle(&bundle_of(&statement, &key), &MANIFEST, &key.public()).is_ok());
        statement.as_object_mut().unwrap().remove("predicate");
        assert!(verify_bundle(&bundle_of(&statement, &key), &MANIFEST, &key.public()).is_ok());
    }

    #[test]
    fn other_or_missing_predicate_type_statement_type_or_subject_refused() {
        let key = SigningKey::generate().unwrap();
        let code = |member: &str, value: Option<Value>| {
            let mut statement = statement();
            let object = statement.as_object_mut().unwrap();
            match value {
                Some(value) => object.insert(member.into(), value),
                None => object.remove(member),
            };
            verify_bundle(&bundle_of(&statement, &key), &MANIFEST, &key.public()).unwrap_err().code
        };
        for other in ["https://spdx.dev/Document", "https://sigstore.dev/cosign/sign/v1/", ""] {
            assert_eq!(code("predicateType", Some(json!(other))), Code::SignatureInvalid);
        }
        assert_eq!(code("predicateType", None), Code::SignatureInvalid);
        assert_eq!(code("_type", Some(json!("x"))), Code::SignatureInvalid);
        assert_eq!(code("subject", Some(json!([]))), Code::SignatureInvalid);
        assert_eq!(code("subject", None), Code::SignatureInvalid);
    }

    #[test]
    fn referrer_is_the_manifest_of_the_bundle_specification() {
        let referrer = referrer_manifest(b"bundle", PREDICATE_TYPE, ("m/t", &MANIFEST, 12), 1_700_000_000).unwrap();
        let manifest: Value = serde_json::from_slice(&referrer.manifest).unwrap();
        let want = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2,
            },
            "layers": [{
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "digest": Sha256::of(b"bundle").oci(),
                "size": 6,
            }],
            "subject": {"mediaType": "m/t", "digest": MANIFEST.oci(), "size": 12},
            "annotations": {
                "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
            },
        });
        assert_eq!(manifest, want);
    }
}

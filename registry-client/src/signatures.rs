//! The signatures that a repository holds for a manifest: cosign 3's bundles, which refer to it, and the image of cosign 1
//! and 2 under the tag `sha256-<hex>.sig`; and promotion statements, which are bundles too. They are fetched here and judged
//! elsewhere.

use crate::client::RegistryClient;
use crate::manifests::MANIFEST_TYPE;
use crate::reference::Reference;
use crate::referrers::Referrer;
use crate::uploads::Blob;
use serde::Deserialize;
use std::collections::BTreeMap;
use strongroom_artifact::cosign::{ARTIFACT_TYPE, SIMPLE_SIGNATURE, SIMPLE_SIGNING, SimpleSignature, simple_tag};
use strongroom_artifact::ladder::ManifestSignature;
use strongroom_artifact::promotion;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// What was found, and the first thing that kept the rest from being found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) signatures: Vec<ManifestSignature>,
    /// Whoever finds too little among the signatures reports this instead: what the registry failed to give, or what was not
    /// looked at, may have been the rest.
    pub(crate) failure: Option<Refusal>,
    /// Bundles that state a promotion or demotion, whoever signed them.
    pub(crate) promotions: Vec<Vec<u8>>,
    /// Why there may be more of them. Whoever judges promotions refuses with this: what is missing may be a demotion.
    pub(crate) unread: Option<Refusal>,
}

/// What a referrer is.
enum Attached {
    Signature(Vec<u8>),
    Promotion(Vec<u8>),
    /// Longer than signatures and promotions are.
    TooLong(Refusal),
    Else,
}

impl Found {
    /// Nothing yet of a list of `listed` entries, of which [`limits::SIGNATURES`] are looked at.
    fn among(listed: usize, what: &str) -> Self {
        let cut = listed > limits::SIGNATURES;
        Self { failure: cut.then(|| Refusal::too_large(what, listed, limits::SIGNATURES)), ..Self::default() }
    }

    /// [`limits::SIGNATURES`] of what attaches a signature are kept, and every promotion.
    fn attach(&mut self, fetched: Result<Attached>) {
        match fetched {
            Ok(Attached::Signature(_)) if self.signatures.len() >= limits::SIGNATURES => {
                let got = format!("more than {}", limits::SIGNATURES);
                self.fail(Refusal::too_large("signatures of the manifest", got, limits::SIGNATURES));
            }
            Ok(Attached::Signature(bundle)) => self.signatures.push(bundle.into()),
            Ok(Attached::Promotion(bundle)) => self.promotions.push(bundle),
            Ok(Attached::TooLong(refusal)) => self.fail(refusal),
            Ok(Attached::Else) => {}
            Err(refusal) => {
                self.unread.get_or_insert_with(|| refusal.clone());
                self.fail(refusal);
            }
        }
    }

    fn fail(&mut self, refusal: Refusal) {
        tracing::warn!(%refusal, "signature not fetched");
        self.failure.get_or_insert(refusal);
    }

    fn add(&mut self, fetched: Result<Option<ManifestSignature>>) {
        match fetched {
            Ok(signature) => self.signatures.extend(signature),
            Err(refusal) => self.fail(refusal),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The bundles that refer to the manifest `subject`.
///
/// # Errors
/// What a list could not be had for; a single bundle that could not be had is in [`Found::failure`].
pub(crate) async fn fetch_bundles(client: &RegistryClient, reference: &Reference, subject: Sha256) -> Result<Found> {
    let mut referrers = client.referrers(reference, subject).await?;
    // What is said to be a bundle comes first, as the limit must not be used up by what is not; but the rest is looked at
    // too, since tools exist that write another type into the index.
    referrers.sort_by_key(|referrer| referrer.artifact_type.as_deref() != Some(ARTIFACT_TYPE));
    let mut found = Found::default();
    for referrer in referrers.iter().take(limits::REFERRERS) {
        found.attach(fetch_bundle(client, reference, referrer).await);
    }
    if referrers.len() > limits::REFERRERS {
        let got = referrers.len();
        found.attach(Err(Refusal::too_large("referrers of the manifest", got, limits::REFERRERS)));
    }
    Ok(found)
}

/// What is in a referrer.
async fn fetch_bundle(client: &RegistryClient, reference: &Reference, referrer: &Referrer) -> Result<Attached> {
    let Ok(digest) = Sha256::from_oci(&referrer.digest) else { return Ok(Attached::Else) };
    let fetched = client.manifest(&reference.pinned(digest)).await?;
    let Some(document) = parse(&fetched.bytes) else { return Ok(Attached::Else) };
    // Exactly one layer, as cosign demands.
    let [layer] = document.layers.as_slice() else { return Ok(Attached::Else) };
    if layer.media_type != ARTIFACT_TYPE {
        return Ok(Attached::Else);
    }
    let Ok(digest) = Sha256::from_oci(&layer.digest) else { return Ok(Attached::Else) };
    // What the layer says of its length was signed by nobody, and must not keep others' statements from being read.
    let Some(bundle) = client.short_blob(reference.repository(), digest, limits::SIGNATURE).await? else {
        let what = format!("blob `{}`", digest.oci());
        return Ok(Attached::TooLong(Refusal::too_large(what, "more bytes", limits::SIGNATURE)));
    };
    let bundle = bundle.to_vec();
    // What states a promotion is no signature, and the other way round, whatever a list of referrers says that it is.
    Ok(match promotion::parse_attached(&bundle) {
        Some(_) => Attached::Promotion(bundle),
        None => Attached::Signature(bundle),
    })
}

/// The signatures under the tag `sha256-<hex>.sig`.
///
/// # Errors
/// What the tag could not be had for, absence excepted; a single payload that could not be had is in [`Found::failure`].
pub(crate) async fn fetch_simple(client: &RegistryClient, reference: &Reference, subject: Sha256) -> Result<Found> {
    let tagged = reference.tagged(&simple_tag(&subject));
    let fetched = match client.manifest(&tagged).await {
        Ok(fetched) => fetched,
        Err(refusal) if refusal.code == Code::RegistryNotFound => return Ok(Found::default()),
        Err(refusal) => return Err(refusal),
    };
    let document = parse(&fetched.bytes).unwrap_or(Document { layers: Vec::new() });
    let mut found = Found::among(document.layers.len(), "layers of the signature image");
    for layer in document.layers.iter().take(limits::SIGNATURES) {
        found.add(fetch_payload(client, reference, layer).await);
    }
    Ok(found)
}

async fn fetch_payload(
    client: &RegistryClient,
    reference: &Reference,
    layer: &Layer,
) -> Result<Option<ManifestSignature>> {
    if layer.media_type != SIMPLE_SIGNING {
        return Ok(None);
    }
    let Some(signature) = layer.annotations.get(SIMPLE_SIGNATURE) else { return Ok(None) };
    let Ok(signature) = from_base64(signature, "signature") else { return Ok(None) };
    let digest = Sha256::from_oci(&layer.digest)?;
    let payload = client.short_blob(reference.repository(), digest, limits::SIGNATURE).await?;
    let payload = payload
        .ok_or_else(|| Refusal::too_large(format!("blob `{}`", digest.oci()), "more bytes", limits::SIGNATURE))?;
    Ok(Some(ManifestSignature::Simple { payload: payload.into(), signature }))
}

/// Puts a signature of the old form beside those that are there: reads, extends and writes the image under its tag until ours
/// is in it. A tag has no compare-and-swap, so somebody who writes at the same time may have replaced it.
///
/// # Errors
/// `too-large`, `registry-failed` what is under the tag cannot be added to, or others kept replacing it; `registry-…`.
pub(crate) async fn push_simple(
    client: &RegistryClient,
    reference: &Reference,
    subject: Sha256,
    signature: &SimpleSignature,
) -> Result<()> {
    let tagged = reference.tagged(&simple_tag(&subject));
    client.push_blob(reference.repository(), &Blob::bytes(signature.payload().to_vec())).await?;
    // Once more than it is written: the last look is at what the last writing made of it.
    for attempt in 0..=client.patience().attempts.max(1) {
        let there = match client.manifest(&tagged).await {
            Ok(fetched) => Some(fetched.bytes),
            Err(refusal) if refusal.code == Code::RegistryNotFound => None,
            Err(refusal) => return Err(refusal),
        };
        let extended = signature.add_to(there.as_deref()).map_err(|refusal| refusal.within(format!("`{tagged}`")))?;
        let Some(image) = extended else { return Ok(()) };
        if attempt == client.patience().attempts.max(1) {
            break;
        }
        if attempt > 0 {
            client.wait(attempt, None).await;
        }
        client.push_blob(reference.repository(), &Blob::bytes(image.config)).await?;
        client.push_manifest(&tagged, MANIFEST_TYPE, image.manifest).await?;
    }
    Err(Refusal::new(Code::RegistryFailed, format!("`{tagged}`")).got("replaced each time").want("a tag that stays"))
}

/// A document that is no manifest holds no signature.
fn parse(bytes: &[u8]) -> Option<Document> {
    document::parse_json(bytes, "manifest", limits::MANIFEST, Code::Malformed).ok()
}

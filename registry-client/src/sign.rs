//! The recipe: another signer's signature beside those that a model has.

use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::signatures::push_simple;
use crate::uploads::Blob;
use core::fmt;
use std::collections::BTreeMap;
use strongroom_artifact::cosign::{self, referrer_manifest, sign_manifest, sign_simple};
use strongroom_artifact::manifest::OCI_MANIFEST;
use strongroom_artifact::promotion;
use strongroom_artifact::{Manifest, Sign};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// How a manifest is signed.
#[derive(Clone, Copy)]
pub struct SignOptions<'a> {
    /// Signs it.
    pub key: &'a (dyn Sign + Sync),
    /// Whether it is signed in cosign 2's form too, under the tag `sha256-<hex>.sig`: widespread tools still read no other.
    pub simple: bool,
    /// When the signature says that it was made, in seconds of Unix time.
    pub created: u64,
}

impl fmt::Debug for SignOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOptions").field("simple", &self.simple).finish_non_exhaustive()
    }
}

/// Signs a model that is in a registry already; the signatures that it has stay. Gives the digest of the manifest that attaches
/// the signature.
///
/// A tag would leave it to the registry what is signed, so the reference has a digest.
///
/// # Errors
/// `reference-invalid` it has none; the codes of [`Manifest::parse`] where it is no model; `registry-…`, `network`, `timeout`.
pub async fn sign_model(client: &RegistryClient, reference: &Reference, options: SignOptions<'_>) -> Result<Sha256> {
    let target = fetch_target(client, reference).await?;
    sign_target(client, reference, target, options).await
}

/// Attaches a bundle that was made elsewhere, a signature or promotion, to the manifest of `reference`, which must have a
/// digest. Gives the digest of the manifest that attaches it. Nothing is verified: a bundle that does not count is nobody's.
///
/// # Errors
/// As [`sign_model`].
pub async fn attach_bundle(
    client: &RegistryClient,
    reference: &Reference,
    bundle: Vec<u8>,
    created: u64,
) -> Result<Sha256> {
    let target = fetch_target(client, reference).await?;
    push_bundle(client, reference, target, bundle, created).await
}

/// A manifest: its digest, and its length in bytes.
pub(crate) type Target = (Sha256, usize);

async fn fetch_target(client: &RegistryClient, reference: &Reference) -> Result<Target> {
    let Some(digest) = reference.digest() else {
        let refusal = Refusal::new(Code::ReferenceInvalid, "reference to sign").got(reference);
        return Err(refusal.want("one with a digest: a tag is what the registry says it is"));
    };
    let fetched = client.manifest(reference).await?;
    Manifest::parse(&fetched.bytes)?;
    Ok((digest, fetched.bytes.len()))
}

/// Signs a manifest that is in the repository of `reference`.
pub(crate) async fn sign_target(
    client: &RegistryClient,
    reference: &Reference,
    target: Target,
    options: SignOptions<'_>,
) -> Result<Sha256> {
    let bundle = sign_manifest(&target.0, options.key, &BTreeMap::new())?;
    let attached = push_bundle(client, reference, target, bundle, options.created).await?;
    if options.simple {
        let simple = sign_simple(&target.0, &reference.name(), options.key)?;
        push_simple(client, reference, target.0, &simple).await?;
    }
    Ok(attached)
}

async fn push_bundle(
    client: &RegistryClient,
    reference: &Reference,
    (digest, length): Target,
    bundle: Vec<u8>,
    created: u64,
) -> Result<Sha256> {
    let length = u64::try_from(length).map_err(|e| Refusal::malformed("manifest", e))?;
    let predicate_type = match promotion::parse_attached(&bundle) {
        Some(_) => promotion::PREDICATE_TYPE,
        None => cosign::PREDICATE_TYPE,
    };
    let referrer = referrer_manifest(&bundle, predicate_type, (OCI_MANIFEST, &digest, length), created)?;
    for blob in [referrer.config, bundle] {
        client.push_blob(reference.repository(), &Blob::bytes(blob)).await?;
    }
    client.push_referrer(reference, referrer.manifest).await
}

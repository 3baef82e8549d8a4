//! From blobs that a repository holds to a signed manifest over them.

use crate::client::RegistryClient;
use crate::push::Pushed;
use crate::reference::Reference;
use crate::sign::{SignOptions, attach_bundle, sign_target};
use crate::uploads::Blob;
use core::fmt;
use core::pin::Pin;
use std::collections::BTreeMap;
use strongroom_artifact::Sign;
use strongroom_artifact::cosign::statement;
use strongroom_artifact::manifest::{Built, ManifestBuilder, OCI_MANIFEST, Sealing};
use strongroom_artifact::oms::sign_payload;
use strongroom_wire::{Code, Refusal, Result};

/// Who signs.
#[derive(Clone, Copy)]
pub enum SignBy<'a> {
    /// A key.
    Key(&'a (dyn Sign + Sync)),
    /// An identity, for which services vouch that this crate does not speak to.
    Identity(&'a (dyn SignAsIdentity + Sync)),
}

/// Signs as an identity.
pub trait SignAsIdentity {
    /// Signs an in-toto statement; gives the Sigstore bundle.
    fn sign<'a>(&'a self, payload: &'a [u8]) -> Signing<'a>;
}

/// A signature that is being made.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send + 'a>>;

impl fmt::Debug for SignBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Identity(_) => "Identity",
        })
    }
}

impl SignBy<'_> {
    /// Signs the statement over a model's files; gives the bundle.
    pub(crate) async fn sign_statement(self, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Key(key) => sign_payload(payload, key),
            Self::Identity(identity) => identity.sign(payload).await,
        }
    }
}

/// How a manifest is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature<'a> {
    pub(crate) by: SignBy<'a>,
    /// Whether in cosign 2's form too, which is by key alone.
    pub(crate) simple: bool,
    pub(crate) created: u64,
}

/// The repository to push to: not a digest, which follows from the model.
pub(crate) fn verify_target(client: &RegistryClient, reference: &Reference) -> Result<()> {
    client.serves(reference)?;
    if reference.digest().is_some() {
        let refusal = Refusal::new(Code::ReferenceInvalid, "reference to push to").got(reference);
        return Err(refusal.want("one without a digest, which follows from the model"));
    }
    Ok(())
}

/// Publishes the model whose layers `builder` has, all of which the repository holds.
///
/// 1. Push the config, and the manifest by its digest.
/// 2. Sign the digest and attach the signature.
/// 3. Set the tag, if there is one: it never names a model without its signature.
pub(crate) async fn publish(
    client: &RegistryClient,
    reference: &Reference,
    builder: ManifestBuilder,
    sealing: Option<Sealing>,
    signature: Signature<'_>,
) -> Result<Pushed> {
    // 1.
    let Built { manifest, config } = builder.build()?;
    let digest = manifest.digest();
    client.push_blob(reference.repository(), &Blob::bytes(config)).await?;
    let pinned = reference.pinned(digest);
    client.push_manifest(&pinned, OCI_MANIFEST, manifest.raw().to_vec()).await?;
    // 2.
    let Signature { by, simple, created } = signature;
    let signature = match by {
        SignBy::Key(key) => {
            let target = (digest, manifest.raw().len());
            sign_target(client, reference, target, SignOptions { key, simple, created }).await?
        }
        SignBy::Identity(identity) => {
            let bundle = identity.sign(&statement(&digest, &BTreeMap::new())?).await?;
            attach_bundle(client, &pinned, bundle, created).await?
        }
    };
    // 3.
    if let Some(tag) = reference.tag() {
        client.push_manifest(&reference.tagged(tag), OCI_MANIFEST, manifest.raw().to_vec()).await?;
    }
    Ok(Pushed { reference: pinned, manifest: digest, signature, sealing })
}

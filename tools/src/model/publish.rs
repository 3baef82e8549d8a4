//! What the commands that publish a model have in common: who signs, and the key that is safe before anybody can find the model.

use super::key_file;
use super::keyless::KeylessArguments;
use crate::admin::{AdminClient, Service};
use crate::progress::{Progress, Transfer};
use crate::{key, signer};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use strongroom_artifact::manifest::OCI_MANIFEST;
use strongroom_artifact::{DataKey, Sign};
use strongroom_registry_client::{self as registry, ProgressListener, Pushed, Reference, RegistryClient, SignBy};
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Who signs a manifest.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("signer").required(true).args(["sign_key", "keyless"]))]
pub(super) struct SignArguments {
    /// Signs the manifest: a file, of which an encrypted one opens with the password in COSIGN_PASSWORD, or a PKCS #11 URI.
    #[arg(long, value_name = "FILE|URI")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    keyless: KeylessArguments,
    /// Do not sign in cosign 2's form too, under the tag `sha256-<hex>.sig`, which is by key alone.
    #[arg(long)]
    no_sig_tag: bool,
}

/// A signer whose key is open.
pub(super) enum ManifestSigner<'a> {
    Key(Box<dyn Sign + Send + Sync>),
    Identity(&'a KeylessArguments),
}

impl SignArguments {
    pub(super) fn open(&self) -> Result<ManifestSigner<'_>> {
        match &self.sign_key {
            Some(named) => signer::open(named).map(ManifestSigner::Key),
            None => Ok(ManifestSigner::Identity(&self.keyless)),
        }
    }

    /// Who signs as an identity, where one does.
    pub(super) fn identity(&self) -> Option<&KeylessArguments> {
        Some(&self.keyless).filter(|_| self.sign_key.is_none())
    }

    /// Whether cosign 2's form is wanted too.
    pub(super) const fn simple(&self) -> bool {
        !self.no_sig_tag
    }
}

impl ManifestSigner<'_> {
    pub(super) fn by(&self) -> SignBy<'_> {
        match self {
            Self::Key(key) => SignBy::Key(&**key),
            Self::Identity(identity) => SignBy::Identity(*identity),
        }
    }
}

/// The data key of a model that is about to be published, for the verifier that will keep it.
pub(super) struct Delivery<'a> {
    admin: AdminClient,
    id: &'a ResourcePath,
    value: Zeroizing<[u8; 32]>,
}

/// Refuses, with `usage`, to make a key that nobody keeps.
pub(super) fn verify_kept(file: Option<&Path>, service: Option<&Service>) -> Result<()> {
    if file.is_some() || service.is_some() {
        return Ok(());
    }
    Err(Refusal::new(Code::Usage, "publishing a sealed model")
        .got("neither a file for the data key nor --verifier")
        .want("one of them: the data key would be lost, and the model with it"))
}

/// Gets the data key: from its file, or fresh, and then into its file where one is named. Where it is delivered to a verifier,
/// how.
pub(super) fn data_key<'a>(
    id: &'a ResourcePath,
    file: Option<&Path>,
    service: Option<&Service>,
) -> Result<(DataKey, Option<Delivery<'a>>)> {
    let admin = service.map(Service::client).transpose()?;
    let key = key_file::read_or_create(file)?;
    let delivery = admin.map(|admin| Delivery { admin, id, value: Zeroizing::new(*key.expose()) });
    Ok((key, delivery))
}

/// Publishes a model, so that its tag never names one whose key is not kept.
///
/// 1. Ask the verifier, where one is named, whether the key's id is free: before anything is sealed and sent.
/// 2. Push and sign the model, found by its digest alone.
/// 3. Give the data key to the verifier.
/// 4. Set the tag.
pub(super) async fn publish(
    client: &RegistryClient,
    tagged: &Reference,
    delivery: Option<Delivery<'_>>,
    push: impl Future<Output = Result<Pushed>>,
) -> Result<Pushed> {
    // 1.
    if let Some(Delivery { admin, id, value }) = &delivery {
        key::verify_free(admin, id, value.as_slice()).await?;
    }
    // 2.
    let pushed = push.await?;
    // 3.
    if let Some(Delivery { admin, id, value }) = &delivery {
        key::deliver(admin, id, value.as_slice()).await?;
    }
    // 4.
    let manifest = client.manifest(&pushed.reference).await?;
    client.push_manifest(tagged, OCI_MANIFEST, manifest.bytes).await?;
    Ok(pushed)
}

/// The reference to publish at without its tag, and with the tag that it is to get.
///
/// # Errors
/// `usage`: it has a digest.
pub(super) fn target(reference: &Reference) -> Result<(Reference, Reference)> {
    if reference.digest().is_some() {
        return Err(Refusal::new(Code::Usage, "publishing a model")
            .got("a reference with a digest")
            .want("host[:port]/repo[:tag]: the digest follows from the model"));
    }
    let tag = reference.tag().unwrap_or("latest");
    let tagged = Reference::parse(&format!("{}:{tag}", reference.name()))?;
    Ok((Reference::parse(&reference.name())?, tagged))
}

/// A bar over all bytes, or a line for each blob.
pub(super) fn listener(quiet: bool) -> Option<ProgressListener> {
    if quiet {
        return None;
    }
    let progress = Progress::new(false);
    let total: OnceLock<Transfer> = OnceLock::new();
    Some(Arc::new(move |event| match event {
        registry::Progress::Listed { files, bytes } => {
            total.get_or_init(|| progress.start(format!("{files} files"), bytes));
        }
        registry::Progress::Stored { path, bytes, sent } => {
            progress.note(&format!("{} {path}", if sent { "sent" } else { "there" }), bytes);
            total.get().into_iter().for_each(|total| total.advance(bytes));
        }
    }))
}

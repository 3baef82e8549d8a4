//! `strongroom model push`: from a directory to a signed model in a registry, its key safe before anybody can find it.

use super::key_file;
use super::sign::OmsHash;
use crate::admin::Service;
use crate::progress::{Progress, Transfer};
use crate::registry::RegistryArguments;
use crate::{block_on, evidence, key, output, signer};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use strongroom_artifact::manifest::OCI_MANIFEST;
use strongroom_registry_client::{self as registry, ProgressListener, PushOptions, Pushed, Reference, push_model};
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model push ./embed registry.example/models/embed:v1 --sign-key release.key \\\n    \
    --seal --key-id models/embed/v1 --verifier https://verifier.example:8444 --verifier-pin $PIN \\\n    \
    --admin-token-file admin.token"
)]
pub(crate) struct Arguments {
    /// The directory with the model's files. `model.sig` and git's files at its top are left out.
    directory: PathBuf,
    /// `host[:port]/repo[:tag]`; without a tag, `latest`.
    reference: Reference,
    /// Signs the manifest: a file, of which an encrypted one opens with the password in COSIGN_PASSWORD, or a PKCS #11 URI.
    #[arg(long, value_name = "FILE|URI")]
    sign_key: PathBuf,
    /// Do not sign in cosign 2's form too, under the tag `sha256-<hex>.sig`.
    #[arg(long)]
    no_sig_tag: bool,
    /// Signs the statement over the files; the same key unless named.
    #[arg(long, value_name = "FILE")]
    oms_key: Option<PathBuf>,
    /// What the statement hashes the files with.
    #[arg(long, value_enum, default_value = "sha256")]
    oms_hash: OmsHash,
    /// Seal the files: whoever has not the data key cannot read them.
    #[arg(long, requires = "key_id", conflicts_with = "no_seal")]
    seal: bool,
    /// Leave the files readable for everybody who can read the registry.
    #[arg(long)]
    no_seal: bool,
    /// Where the data key is kept: `<repo>/<type>/<tag>` at the verifier. The manifest names it.
    #[arg(long, value_name = "KID", value_parser = key::parse_id, requires = "seal", conflicts_with = "no_seal")]
    key_id: Option<ResourcePath>,
    /// The data key: 32 raw bytes, or 64 hex digits. Made, and written there with mode 600, where the file is absent. No two
    /// artifacts should share one.
    #[arg(long, value_name = "FILE", requires = "seal", conflicts_with = "no_seal")]
    key_file: Option<PathBuf>,
    /// Where sealed files wait until they are sent. Nothing readable is written there.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    #[command(flatten)]
    service: Option<Service>,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// What is done, in this order.
///
/// 1. Read the keys for signing. Get the data key: from its file, or fresh, and then into its file where one is named.
/// 2. Ask the verifier, where one is named, whether the key's id is free: before anything is sealed and sent.
/// 3. Push and sign the model, found by its digest alone.
/// 4. Give the data key to the verifier.
/// 5. Set the tag. Whoever finds the model by it finds a model whose key is kept.
pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    verify_usage(arguments)?;
    // 1.
    let sign_key = signer::open(&arguments.sign_key)?;
    let oms_key = arguments.oms_key.as_deref().map(signer::open).transpose()?;
    let client = arguments.registry.client(&arguments.reference)?;
    let admin = arguments.service.as_ref().map(Service::client).transpose()?;
    let data_key = match &arguments.key_id {
        Some(id) if arguments.seal => Some((id.clone(), key_file::read_or_create(arguments.key_file.as_deref())?)),
        _ => None,
    };
    let for_verifier = data_key.as_ref().map(|(_, key)| Zeroizing::new(*key.expose()));
    let tag = arguments.reference.tag().unwrap_or("latest");
    let tagged = Reference::parse(&format!("{}:{tag}", arguments.reference.name()))?;
    let options = PushOptions {
        sign_key: &*sign_key,
        sign_simple: !arguments.no_sig_tag,
        statement_key: oms_key.as_deref().unwrap_or(&*sign_key),
        statement_hash: arguments.oms_hash.into(),
        seal: data_key,
        created: evidence::now(),
        scratch: arguments.scratch.clone(),
        progress: listener(json),
    };
    let delivery = match (&admin, &arguments.key_id, &for_verifier) {
        (Some(admin), Some(id), Some(value)) => Some((admin, id, value.as_slice())),
        _ => None,
    };
    let pushed = block_on(async {
        // 2.
        if let Some((admin, id, value)) = delivery {
            key::verify_free(admin, id, value).await?;
        }
        // 3.
        let untagged = Reference::parse(&arguments.reference.name())?;
        let pushed = push_model(&client, &arguments.directory, &untagged, options).await?;
        // 4.
        if let Some((admin, id, value)) = delivery {
            key::deliver(admin, id, value).await?;
        }
        // 5.
        let manifest = client.manifest(&pushed.reference).await?;
        client.push_manifest(&tagged, OCI_MANIFEST, manifest.bytes).await?;
        Ok(pushed)
    })?;
    print(&pushed, &tagged, json)
}

fn verify_usage(arguments: &Arguments) -> Result<()> {
    let usage = |got: &str, want: &str| Err(Refusal::new(Code::Usage, "push of a model").got(got).want(want));
    if arguments.reference.digest().is_some() {
        return usage("a reference with a digest", "host[:port]/repo[:tag]: the digest follows from the model");
    }
    if arguments.service.is_some() && !arguments.seal {
        return usage("--verifier without --seal", "--seal and --key-id: a model that is not sealed has no key");
    }
    match (arguments.seal, arguments.no_seal) {
        (false, false) => usage(
            "neither --seal nor --no-seal",
            "--seal with --key-id, or --no-seal to leave the files readable for everybody who can read the registry",
        ),
        (true, _) if arguments.key_file.is_none() && arguments.service.is_none() => usage(
            "--seal without --key-file and without --verifier",
            "one of them: the data key would be lost, and the model with it",
        ),
        _ => Ok(()),
    }
}

/// A bar over all bytes, or a line for each blob.
fn listener(quiet: bool) -> Option<ProgressListener> {
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

fn print(pushed: &Pushed, tagged: &Reference, json: bool) -> Result<()> {
    let sealing = pushed.sealing.as_ref();
    if json {
        return output::json(&json!({
            "reference": pushed.reference.to_string(),
            "tagged": tagged.to_string(),
            "manifest": pushed.manifest.oci(),
            "signature": pushed.signature.oci(),
            "sealed": sealing.is_some(),
            "artifact_id": sealing.map(|sealing| sealing.id.to_string()),
            "key": sealing.map(|sealing| sealing.key.uri()),
        }));
    }
    let sealed = match sealing {
        Some(sealing) => format!("sealed as artifact {} with key {}", sealing.id, sealing.key.uri()),
        None => "not sealed: whoever can read the registry can read the files".to_owned(),
    };
    output::line(&format!("{}\n  tag    {tagged}\n  {sealed}\n", pushed.reference))
}

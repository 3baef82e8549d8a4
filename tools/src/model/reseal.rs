//! `strongroom model reseal`: another data key for a model in a registry, where the one that it has must not open it any more.

use super::publish::{Delivery, SignArguments, data_key, listener, publish, target, verify_kept};
use crate::admin::Service;
use crate::registry::{CacheArguments, RegistryArguments};
use crate::{block_on, evidence, files, key, output, trust};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use strongroom_registry_client::{Reference, ResealOptions, reseal_model, verify_model};
use strongroom_wire::Result;
use strongroom_wire::kbs::ResourcePath;

#[derive(Args)]
#[command(
    after_help = "The old artifact stays where it is, and whoever has its key can open it: delete it from the registry, and\n\
    disable the old key with `strongroom key disable`. Signatures, promotions and approvals of the old manifest are not of\n\
    the new one. The signed statement over the files comes along as it is. Run again with the same --new-key-file after an\n\
    interruption, it sends only what is missing, and warns that the key is there already; it fetches again what no --cache has.\n\n\
    Example:\n  strongroom model reseal registry.example/models/embed:v1 registry.example/models/embed:v1-resealed \\\n    \
    --trust trust.toml --key-file embed.key --key-id models/embed/v2 --new-key-file embed-2.key --sign-key release.key"
)]
pub(crate) struct Arguments {
    /// The model: `host[:port]/repo[:tag|@sha256:…]`.
    reference: Reference,
    /// Where it goes: `host[:port]/repo[:tag]`; without a tag, `latest`.
    new_reference: Reference,
    /// Who may sign the model that is there.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// The data key that the model is sealed with: 32 raw bytes, or 64 hex digits; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where the new data key is kept: `<repo>/<type>/<tag>` at the verifier. An id that no key had before.
    #[arg(long, value_name = "KID", value_parser = key::parse_id)]
    key_id: ResourcePath,
    /// The new data key. Made, and written there with mode 600, where the file is absent.
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    #[command(flatten)]
    sign: SignArguments,
    /// Where resealed layers wait until they are sent. Nothing readable is written there.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    #[command(flatten)]
    service: Option<Service>,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    cache: CacheArguments,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    verify_kept(arguments.new_key_file.as_deref(), arguments.service.as_ref())?;
    let (untagged, tagged) = target(&arguments.new_reference)?;
    let trust = trust::load(&arguments.trust)?;
    let signer = arguments.sign.open()?;
    let old_key = arguments.key_file.as_deref().map(files::read_data_key).transpose()?;
    let from = arguments.registry.client_with(&arguments.reference, arguments.cache.open()?)?;
    let client = arguments.registry.client(&untagged)?;
    let (resealed, old) = block_on(async {
        // Before a key is made for it.
        let model = verify_model(&from, &arguments.reference, &trust, evidence::now()).await?;
        let old = model.manifest_digest();
        let model = model.with_key(old_key)?;
        let (new_key, delivery): (_, Option<Delivery<'_>>) =
            data_key(&arguments.key_id, arguments.new_key_file.as_deref(), arguments.service.as_ref())?;
        let options = ResealOptions {
            seal: (arguments.key_id.clone(), new_key),
            sign: signer.by(),
            sign_simple: arguments.sign.simple(),
            created: evidence::now(),
            scratch: arguments.scratch.clone(),
            progress: listener(json),
        };
        let push = reseal_model(&from, model, &client, &untagged, options);
        Ok((publish(&client, &tagged, delivery, push).await?, old))
    })?;
    let sealing = resealed.sealing.as_ref();
    if json {
        return output::json(&json!({
            "reference": resealed.reference.to_string(),
            "tagged": tagged.to_string(),
            "manifest": resealed.manifest.oci(),
            "resealed": old.oci(),
            "signature": resealed.signature.oci(),
            "artifact_id": sealing.map(|sealing| sealing.id.to_string()),
            "key": sealing.map(|sealing| sealing.key.uri()),
        }));
    }
    let key = sealing.map(|sealing| sealing.key.uri()).unwrap_or_default();
    output::line(&format!(
        "{}\n  tag    {tagged}\n  sealed with key {key}\n  {} stays as it is, and opens with its old key until you delete it\n",
        resealed.reference,
        arguments.reference.pinned(old),
    ))
}

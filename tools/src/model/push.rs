//! `strongroom model push`: from a directory to a signed model in a registry, its key safe before anybody can find it.

use super::publish::{SignArguments, data_key, listener, publish, target, verify_kept};
use super::sign::OmsHash;
use crate::admin::Service;
use crate::registry::RegistryArguments;
use crate::{block_on, evidence, key, output, signer};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use strongroom_registry_client::{PushOptions, Pushed, Reference, SignBy, push_model};
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

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
    #[command(flatten)]
    sign: SignArguments,
    /// Signs the statement over the files; whoever signs the manifest unless named. A sealed model that an identity signs wants
    /// one: the log would show a digest by which its files can be recognised.
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
    /// Another repository of the registry that the user may read: files that it has are not sent, but mounted from it. Sealed
    /// ones are always new.
    #[arg(long, value_name = "REPO", conflicts_with = "seal")]
    mount_from: Option<String>,
    /// Where sealed files wait until they are sent. Nothing readable is written there.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    #[command(flatten)]
    service: Option<Service>,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    verify_usage(arguments)?;
    let (untagged, tagged) = target(&arguments.reference)?;
    let signer = arguments.sign.open()?;
    let oms_key = arguments.oms_key.as_deref().map(signer::open).transpose()?;
    let client = arguments.registry.client(&arguments.reference)?;
    let (seal, delivery) = match &arguments.key_id {
        Some(id) if arguments.seal => {
            let (key, delivery) = data_key(id, arguments.key_file.as_deref(), arguments.service.as_ref())?;
            (Some((id.clone(), key)), delivery)
        }
        _ => (None, None),
    };
    let options = PushOptions {
        sign: signer.by(),
        sign_simple: arguments.sign.simple(),
        sign_statement: oms_key.as_deref().map_or(signer.by(), |key| SignBy::Key(key)),
        statement_hash: arguments.oms_hash.into(),
        seal,
        created: evidence::now(),
        mount_from: arguments.mount_from.clone(),
        scratch: arguments.scratch.clone(),
        progress: listener(json),
    };
    let push = push_model(&client, &arguments.directory, &untagged, options);
    let pushed = block_on(publish(&client, &tagged, delivery, push))?;
    print(&pushed, &tagged, json)
}

fn verify_usage(arguments: &Arguments) -> Result<()> {
    let usage = |got: &str, want: &str| Err(Refusal::new(Code::Usage, "push of a model").got(got).want(want));
    if arguments.service.is_some() && !arguments.seal {
        return usage("--verifier without --seal", "--seal and --key-id: a model that is not sealed has no key");
    }
    if !arguments.seal && !arguments.no_seal {
        return usage(
            "neither --seal nor --no-seal",
            "--seal with --key-id, or --no-seal to leave the files readable for everybody who can read the registry",
        );
    }
    if arguments.seal {
        verify_kept(arguments.key_file.as_deref(), arguments.service.as_ref())?;
    }
    match arguments.sign.identity().filter(|_| arguments.oms_key.is_none()) {
        Some(_) if arguments.seal => usage(
            "--seal and --keyless without --oms-key",
            "--oms-key: the public log would show a digest by which the sealed files can be recognised",
        ),
        Some(identity) if identity.signs_once() => usage(
            "--keyless with a token from standard input, without --oms-key",
            "a token in a file, or --oms-key: manifest and statement are signed each by itself",
        ),
        _ => Ok(()),
    }
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

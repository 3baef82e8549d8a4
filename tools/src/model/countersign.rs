//! `strongroom model countersign`: another signer's signature beside those that a model in a registry has.

use super::keyless::KeylessArguments;
use crate::registry::RegistryArguments;
use crate::{block_on, evidence, output, signer};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use strongroom_artifact::cosign::statement;
use strongroom_registry_client::{Reference, SignOptions, attach_bundle, sign_model};
use strongroom_wire::{Code, Refusal, Result};

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model countersign registry.example/models/embed@sha256:… --sign-key security.key"
)]
#[command(group = clap::ArgGroup::new("signer").required(true).args(["sign_key", "keyless"]))]
pub(crate) struct Arguments {
    /// `host[:port]/repo@sha256:…`. A tag would leave it to the registry what is signed.
    reference: Reference,
    /// Signs the manifest: a file, of which an encrypted one opens with the password in COSIGN_PASSWORD, or a PKCS #11 URI.
    #[arg(long, value_name = "FILE|URI")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    keyless: KeylessArguments,
    /// Do not sign in cosign 2's form too, under the tag `sha256-<hex>.sig`, which is by key alone.
    #[arg(long)]
    no_sig_tag: bool,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    let client = arguments.registry.client(&arguments.reference)?;
    let created = evidence::now();
    let (signature, by) = match &arguments.sign_key {
        Some(named) => {
            let key = signer::open(named)?;
            let options = SignOptions { key: &*key, simple: !arguments.no_sig_tag, created };
            let signature = block_on(sign_model(&client, &arguments.reference, options))?;
            (signature, format!("with key sha256:{}", key.public().fingerprint()))
        }
        None => {
            let digest = arguments.reference.digest().ok_or_else(|| {
                let refusal = Refusal::new(Code::ReferenceInvalid, "reference to sign").got(&arguments.reference);
                refusal.want("one with a digest: a tag is what the registry says it is")
            })?;
            let signature = block_on(async {
                let bundle = arguments.keyless.sign(&statement(&digest, &BTreeMap::new())?).await?;
                attach_bundle(&client, &arguments.reference, bundle, created).await
            })?;
            (signature, "as an identity".to_owned())
        }
    };
    if json {
        let reference = arguments.reference.to_string();
        return output::json(&json!({ "reference": reference, "signature": signature.oci() }));
    }
    output::line(&format!("{}\n  signed {by}\n", arguments.reference))
}

//! `strongroom model countersign`: another signer's signature beside those that a model in a registry has.

use super::publish::{ManifestSigner, SignArguments};
use crate::registry::RegistryArguments;
use crate::{block_on, evidence, output};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use strongroom_artifact::cosign::statement;
use strongroom_registry_client::{Reference, SignOptions, attach_bundle, sign_model};
use strongroom_wire::{Code, Refusal, Result};

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model countersign registry.example/models/embed@sha256:… --sign-key security.key"
)]
pub(crate) struct Arguments {
    /// `host[:port]/repo@sha256:…`. A tag would leave it to the registry what is signed.
    reference: Reference,
    #[command(flatten)]
    sign: SignArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    let client = arguments.registry.client(&arguments.reference)?;
    let created = evidence::now();
    let (signature, by) = match arguments.sign.open()? {
        ManifestSigner::Key(key) => {
            let options = SignOptions { key: &*key, simple: arguments.sign.simple(), created };
            let signature = block_on(sign_model(&client, &arguments.reference, options))?;
            (signature, format!("with key sha256:{}", key.public().fingerprint()))
        }
        ManifestSigner::Identity(keyless) => {
            let digest = arguments.reference.digest().ok_or_else(|| {
                let refusal = Refusal::new(Code::ReferenceInvalid, "reference to sign").got(&arguments.reference);
                refusal.want("one with a digest: a tag is what the registry says it is")
            })?;
            let signature = block_on(async {
                let bundle = keyless.sign(&statement(&digest, &BTreeMap::new())?).await?;
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

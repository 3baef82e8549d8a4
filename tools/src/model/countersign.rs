//! `strongroom model countersign`: another signer's signature beside those that a model in a registry has.

use crate::registry::RegistryArguments;
use crate::{block_on, evidence, files, output};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use strongroom_registry_client::{Reference, SignOptions, sign_model};
use strongroom_wire::Result;

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model countersign registry.example/models/embed@sha256:… --sign-key security.key"
)]
pub(crate) struct Arguments {
    /// `host[:port]/repo@sha256:…`. A tag would leave it to the registry what is signed.
    reference: Reference,
    /// Signs the manifest. An encrypted key opens with the password in COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE")]
    sign_key: PathBuf,
    /// Do not sign in cosign 2's form too, under the tag `sha256-<hex>.sig`.
    #[arg(long)]
    no_sig_tag: bool,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    let key = files::read_signing_key(&arguments.sign_key)?;
    let client = arguments.registry.client(&arguments.reference)?;
    let options = SignOptions { key: &key, simple: !arguments.no_sig_tag, created: evidence::now() };
    let signature = block_on(sign_model(&client, &arguments.reference, options))?;
    if json {
        let reference = arguments.reference.to_string();
        return output::json(&json!({ "reference": reference, "signature": signature.oci() }));
    }
    output::line(&format!("{}\n  signed with key sha256:{}\n", arguments.reference, key.public().fingerprint()))
}

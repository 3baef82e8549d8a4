//! `strongroom proxy`: a local OpenAI-compatible endpoint in front of a verified enclave.

use crate::verify::{TermsArguments, banner};
use crate::{block_on, output};
use clap::Args;
use std::process::ExitCode;
use strongroom_client::{AttestedClient, PoolOptions, serve_proxy};
use strongroom_transport::{bind, shutdown_signal};
use strongroom_wire::Result;

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom proxy --to https://enclave.example:8443 --listen 127.0.0.1:8080 \
    --policy client.toml\n  curl http://127.0.0.1:8080/v1/models -H \"Authorization: Bearer $KEY\"")]
pub(crate) struct Arguments {
    /// The enclave, as `https://host[:port]`.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Where applications connect to: a loopback address, as what they send is not encrypted up to here.
    #[arg(long, value_name = "ADDR")]
    listen: String,
    #[command(flatten)]
    terms: TermsArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let terms = arguments.terms.load()?;
    banner(&terms);
    block_on(async {
        // Before the line that says so: whoever read it may send the signal at once.
        let shutdown = shutdown_signal();
        let client = AttestedClient::new(&arguments.to, terms, PoolOptions::default())?;
        let bound = bind(&arguments.listen).await?;
        output::note(&format!("listening on {}", bound.local_addr()));
        serve_proxy(bound, client, shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}

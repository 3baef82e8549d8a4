//! `strongroom proxy`: a local OpenAI-compatible endpoint in front of a verified enclave.

use crate::verify::{TermsArguments, banner};
use crate::{block_on, output};
use clap::Args;
use serde_json::json;
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

/// Runs until SIGTERM. The one JSON document is what is known at the start; what ends it later is told on stderr.
pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<ExitCode> {
    let terms = arguments.terms.load()?;
    banner(&terms);
    let realm = terms.roots().realm();
    block_on(async {
        // Before the line that says so: whoever read it may send the signal at once.
        let shutdown = shutdown_signal();
        let client = AttestedClient::new(&arguments.to, terms, PoolOptions::default())?;
        let bound = bind(&arguments.listen).await?;
        let listening = bound.local_addr();
        if json {
            output::json(&json!({ "listening": listening, "to": arguments.to, "realm": realm.to_string() }))?;
        }
        output::note(&format!("listening on {listening}"));
        match serve_proxy(bound, client, shutdown).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(refusal) => Ok(output::report(&refusal, false)),
        }
    })
}

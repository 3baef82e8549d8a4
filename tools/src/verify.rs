//! `strongroom verify`: is what listens at a URL an enclave that was approved?

use crate::reference_values::Given;
use crate::state::{State, StateFile};
use crate::{block_on, evidence, output, roots};
use clap::Args;
use core::time::Duration;
use http::Uri;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_client::{Provisional, Terms, Verified};
use strongroom_wire::{Check, Code, Fault, Realm, Refusal, Result};

/// For the connection with its handshakes, and once more for the evidence.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom verify https://enclave.example:8443 --policy client.toml")]
pub(crate) struct Arguments {
    /// The enclave, as `https://host[:port]`.
    url: String,
    #[command(flatten)]
    terms: TermsArguments,
}

/// What is accepted.
#[derive(Args)]
pub(crate) struct TermsArguments {
    /// The appraisal policy. It fixes measurement, deployment document, and the model's digest or signer.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    reference_values: Given,
    /// A signed inventory of machines, for each that the policy names. Repeatable.
    #[arg(long = "inventory", value_name = "FILE", requires = "policy")]
    inventories: Vec<PathBuf>,
    /// Remember in this file the newest revocation lists, inventories and reference values that were seen, and refuse older
    /// ones than those. Made where there is none; keep it where nobody but you writes.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Trust this root instead of the built-in ones of AMD. Repeatable.
    #[arg(long = "root", value_name = "PEM_OR_DER")]
    roots: Vec<PathBuf>,
}

impl TermsArguments {
    /// Reads the files. `no-reference-values` where the policy leaves open what is demanded of it.
    pub(crate) fn load(&self) -> Result<Terms> {
        let mut state = self.state.as_deref().map(State::open).transpose()?;
        let (inventories, reference_values) = (&self.inventories, &self.reference_values);
        let policy =
            evidence::load_policy(&self.policy, inventories, reference_values, state.as_mut(), evidence::now())?;
        let terms = Terms::new(policy, roots::load(&self.roots)?)?;
        Ok(match &self.state {
            Some(path) => terms.remembering(StateFile(path.clone())),
            None => terms,
        })
    }
}

/// Says on stderr that nothing vouches for hardware here.
pub(crate) fn banner(terms: &Terms) {
    if let Realm::Test(root) = terms.roots().realm() {
        output::note(&format!(
            "TEST REALM: evidence ends at test root {root}, and no silicon vendor vouches for any of it"
        ));
    }
}

/// The JSON document of a refusal, with every check that was made.
#[derive(Serialize)]
struct RefusedEnclave<'a> {
    #[serde(flatten)]
    refused: output::Refused<'a>,
    checks: &'a [Check],
}

pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<ExitCode> {
    let authority = authority(&arguments.url)?;
    let terms = arguments.terms.load()?;
    if !json {
        banner(&terms);
    }
    let mut checks = Vec::new();
    let attested = block_on(async {
        let connection = Provisional::connect(&terms, &authority, PATIENCE).await?;
        let attested = connection.attest_traced(evidence::now(), &mut checks).await?;
        Ok(attested.verified().clone())
    });
    match attested {
        Ok(verified) if json => output::json(&*verified)?,
        Ok(verified) => output::line(&for_people(&verified))?,
        Err(refusal) if refusal.fault() != Fault::Refused => return Err(refusal),
        Err(refusal) if json => {
            output::json(&RefusedEnclave { refused: output::Refused::new(&refusal), checks: &checks })?;
            return Ok(ExitCode::from(refusal.fault().exit_code()));
        }
        Err(refusal) => {
            output::line(&output::checks(&checks))?;
            return Err(refusal);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `host[:port]` of an `https` URL.
fn authority(url: &str) -> Result<String> {
    let unusable = || Refusal::new(Code::Usage, "url").got(url).want("https://host[:port]");
    let uri: Uri = url.parse().map_err(|_| unusable())?;
    match (uri.scheme_str(), uri.authority(), uri.path_and_query().map(http::uri::PathAndQuery::as_str)) {
        (Some("https"), Some(authority), None | Some("/")) => Ok(authority.to_string()),
        (Some("http"), _, _) => Err(Refusal::new(Code::PlaintextRefused, "url").got(url).want("https://host[:port]")),
        _ => Err(unusable()),
    }
}

fn for_people(verified: &Verified) -> String {
    let mut text = format!("{}\naccepted under root {}\n", output::checks(verified.checks()), verified.root());
    text.push_str(&format!("  channel key  sha256:{}\n", verified.channel_key()));
    text.push_str(&format!("  policy       sha256:{}\n\n", verified.policy()));
    let row = |model: &strongroom_client::VerifiedModel| vec![model.name.clone(), model.manifest.clone()];
    text.push_str(&output::table(&["MODEL", "MANIFEST"], &verified.models().iter().map(row).collect::<Vec<_>>()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_url_without_path_accepted_and_others_refused() {
        let code = |url| authority(url).map_err(|refusal| refusal.code);
        assert_eq!(code("https://enclave.example:8443/"), Ok("enclave.example:8443".to_owned()));
        assert_eq!(code("https://enclave.example"), Ok("enclave.example".to_owned()));
        assert_eq!(code("http://enclave.example"), Err(Code::PlaintextRefused));
        for url in ["https://enclave.example/v1", "https://e/?x=1", "enclave.example", "ftp://e", ""] {
            assert_eq!(code(url), Err(Code::Usage), "{url}");
        }
    }
}

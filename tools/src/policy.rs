//! `strongroom policy set|show|list|give|given|authorization|check|test|explain|schema`: by what a verifier releases a key, and what clients
//! accept.

mod authorization;
mod cases;
mod cedar;
mod dry_run;

use crate::admin::Service;
use crate::key::parse_id;
use crate::{block_on, files, output};
use clap::Subcommand;
use http::Method;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strongroom_appraisal::{POLICY_SCHEMA, Policy, ReleasePolicy};
use strongroom_policy::{CALL_SCHEMA, SCHEMA};
use strongroom_transport::http as body;
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result, document, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Put the release policy of a key into force.
    #[command(after_help = "Example:\n  strongroom policy set models/embed/v1 release.toml \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Set {
        /// The key, `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        /// The policy: its `snp` section says which guests, its `release` section whose models.
        file: PathBuf,
        #[command(flatten)]
        service: Service,
    },
    /// Print the release policy of a key.
    #[command(after_help = "Example:\n  strongroom policy show models/embed/v1 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show {
        /// The key, `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        #[command(flatten)]
        service: Service,
    },
    /// List the release policies in force.
    #[command(after_help = "Example:\n  strongroom policy list \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    List {
        #[command(flatten)]
        service: Service,
    },
    /// Give the verifier a signed document that its release policies name: reference values, or an inventory.
    ///
    /// It is kept where the signers that such a policy names signed it, in place of an older one of its name and signers, and
    /// counts at once. An older one than is kept is refused.
    #[command(after_help = "Example:\n  strongroom policy give fleet.dsse \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Give {
        /// What `strongroom reference-values sign` or `strongroom inventory sign` wrote.
        file: PathBuf,
        #[command(flatten)]
        service: Service,
    },
    /// List the signed documents that a verifier keeps.
    #[command(after_help = "Example:\n  strongroom policy given \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Given {
        #[command(flatten)]
        service: Service,
    },
    /// Manage the Cedar policies by which a verifier decides which accepted workload may have which key.
    #[command(subcommand)]
    Authorization(authorization::Command),
    /// Print the JSON schema of appraisal policies (draft 2020-12), for editors and other tools; with --cedar or --calls, what Cedar
    /// policies may ask about.
    #[command(after_help = "Example:\n  strongroom policy schema --cedar > strongroom.cedarschema")]
    Schema {
        /// Print the schema of a verifier's Cedar policies, over workloads and keys.
        #[arg(long)]
        cedar: bool,
        /// Print the schema of a deployment document's Cedar policies, over callers and models.
        #[arg(long, conflicts_with = "cedar")]
        calls: bool,
    },
    /// Read a policy and say what it fixes or, of Cedar policies, what each does; what is wrong is named with its line. Asks nobody.
    #[command(after_help = "Example:\n  strongroom policy check authorization.cedar")]
    Check {
        /// An appraisal policy of clients, a release policy (one with a `release` section), or Cedar policies (`*.cedar`).
        file: PathBuf,
    },
    /// Ask Cedar policies questions whose answers are known; exits 1 where one is answered otherwise. Asks nobody.
    ///
    /// CASES is TOML (`*.toml`) or JSON: `[question]`, what every case asks, and `[[case]]`s, each with `name`, `expect` (`allow` or
    /// `deny`), what it asks otherwise (`with`) and, where it matters, the ids of the policies that decide it (`by`).
    #[command(after_help = "Example:\n  strongroom policy test authorization.cedar cases.toml")]
    Test {
        /// Cedar policies (`*.cedar`).
        file: PathBuf,
        /// The cases.
        cases: PathBuf,
    },
    /// Say what Cedar policies say of a question, all together and each by itself, and where one does not apply, which part of it does
    /// not hold. Asks nobody.
    #[command(after_help = "Example:\n  strongroom audit show 120 --json $ADMIN > row.json\n  \
        strongroom policy explain authorization.cedar row.json")]
    Explain {
        /// Cedar policies (`*.cedar`).
        file: PathBuf,
        /// The question, in JSON or TOML (`*.toml`), or the row of an audit log that has it.
        question: PathBuf,
    },
}

/// What a verifier says of a policy in force.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    id: String,
    version: u64,
    digest: Sha256,
    created: u64,
}

/// What a verifier says of a signed document that it keeps.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    kind: String,
    name: String,
    signers: Sha256,
    version: u64,
    digest: Sha256,
    created: u64,
}

/// What a policy is and how much it leaves open.
#[derive(Debug, Serialize)]
struct Checked {
    kind: &'static str,
    digest: Sha256,
    fixes_software: bool,
    fixes_model: bool,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Authorization(command) => return authorization::run(command, json),
        Command::Schema { cedar: false, calls: false } => output::line(POLICY_SCHEMA.trim_end())?,
        Command::Schema { calls, .. } => {
            let schema = if calls { CALL_SCHEMA } else { SCHEMA };
            if json { output::json(&serde_json::json!({ "cedar": schema }))? } else { output::line(schema)? }
        }
        Command::Test { file, cases } => return cases::test(cedar_file(&file)?, &cases, json),
        Command::Explain { file, question } => cedar::explain(cedar_file(&file)?, &question, json)?,
        Command::Check { file } if cedar::is_cedar(&file) => cedar::check(&file, json)?,
        Command::Check { file } => {
            let checked = check(&files::read(&file, limits::POLICY)?);
            let checked = checked.map_err(|refusal| refusal.within(format!("`{}`", file.display())))?;
            if json { output::json(&checked)? } else { output::line(&for_people(&checked))? }
        }
        Command::Set { id, file, service } => {
            let text = files::read(&file, limits::POLICY)?;
            let checked = check(&text).map_err(|refusal| refusal.within(format!("`{}`", file.display())))?;
            if checked.kind != RELEASE {
                return Err(Refusal::new(Code::PolicyInvalid, format!("`{}`", file.display()))
                    .got("an appraisal policy")
                    .want("a release policy: with a section [release]"));
            }
            let client = service.client()?;
            let path = format!("policies/{id}");
            let metadata: Metadata = block_on(client.send_json(Method::PUT, &path, body::full(text)))?;
            if json { output::json(&metadata)? } else { output::line(&table(&[metadata]))? }
        }
        Command::Show { id, service } => {
            let client = service.client()?;
            let text = block_on(client.get(&format!("policies/{id}")))?;
            let text = String::from_utf8_lossy(&text);
            if json {
                output::json(&serde_json::json!({ "id": id, "digest": Sha256::of(text.as_bytes()), "policy": text }))?;
            } else {
                output::line(&text)?;
            }
        }
        Command::Give { file, service } => {
            let envelope = files::read(&file, limits::STORED_DOCUMENT)?;
            Envelope::parse(&envelope).map_err(|refusal| refusal.within(format!("`{}`", file.display())))?;
            let client = service.client()?;
            let kept: Vec<Document> = block_on(client.send_json(Method::PUT, "documents", body::full(envelope)))?;
            if json { output::json(&kept)? } else { output::line(&documents(&kept))? }
        }
        Command::Given { service } => {
            let client = service.client()?;
            let kept: Vec<Document> = block_on(client.get_json("documents"))?;
            if json { output::json(&kept)? } else { output::line(&documents(&kept))? }
        }
        Command::List { service } => {
            let client = service.client()?;
            let policies: Vec<Metadata> = block_on(client.get_json("policies"))?;
            if json { output::json(&policies)? } else { output::line(&table(&policies))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

const RELEASE: &str = "release";

/// A file of Cedar policies. Of the others `check` says what they fix, and `evidence verify` which of their checks hold on what
/// evidence.
fn cedar_file(file: &Path) -> Result<&Path> {
    match cedar::is_cedar(file) {
        true => Ok(file),
        false => Err(Refusal::new(Code::Usage, format!("`{}`", file.display()))
            .got("a policy that is not Cedar's")
            .want("*.cedar; of others, `strongroom evidence verify EVIDENCE --policy` says which checks hold")),
    }
}

/// The appraisal policy that a document is, or that a release policy has.
///
/// # Errors
/// Those of [`Policy::parse`] and [`ReleasePolicy::parse`].
pub(crate) fn appraisal(text: &[u8]) -> Result<Policy> {
    match is_release(text)? {
        true => ReleasePolicy::parse(text).map(|policy| policy.appraisal().clone()),
        false => Policy::parse(text),
    }
}

fn is_release(text: &[u8]) -> Result<bool> {
    let sections: toml::Table = document::parse_toml(text, "policy", limits::POLICY, Code::PolicyInvalid)?;
    Ok(sections.contains_key(RELEASE))
}

/// Reads a policy of either kind, a release policy as the verifier does.
fn check(text: &[u8]) -> Result<Checked> {
    let digest = Sha256::of(text);
    if !is_release(text)? {
        let policy = Policy::parse(text)?;
        let (fixes_software, fixes_model) = (policy.fixes_software().is_ok(), policy.fixes_model().is_ok());
        return Ok(Checked { kind: "appraisal", digest, fixes_software, fixes_model });
    }
    let policy = ReleasePolicy::parse(text)?;
    strongroom_artifact::verify_signers(policy.trust())
        .map_err(|refusal| Refusal { code: Code::PolicyInvalid, ..refusal })?;
    Ok(Checked { kind: RELEASE, digest, fixes_software: true, fixes_model: true })
}

fn for_people(checked: &Checked) -> String {
    let says = |fixes: bool| if fixes { "fixed" } else { "left open" };
    let mut text = format!(
        "{} policy sha256:{}\n  measurement and deployment document  {}\n  model                                {}\n",
        checked.kind,
        checked.digest,
        says(checked.fixes_software),
        says(checked.fixes_model),
    );
    if !(checked.fixes_software && checked.fixes_model) {
        text.push_str("`strongroom verify` and `strongroom proxy` refuse a policy that leaves any of them open\n");
    }
    text
}

fn documents(kept: &[Document]) -> String {
    let row = |one: &Document| {
        let (version, created) = (one.version.to_string(), output::utc(one.created));
        vec![one.kind.clone(), one.name.clone(), version, one.digest.to_string(), created]
    };
    output::table(&["KIND", "NAME", "VERSION", "SHA-256", "SINCE"], &kept.iter().map(row).collect::<Vec<_>>())
}

fn table(policies: &[Metadata]) -> String {
    let row = |policy: &Metadata| {
        let (version, created) = (policy.version.to_string(), output::utc(policy.created));
        vec![policy.id.clone(), version, policy.digest.to_string(), created]
    };
    output::table(&["KEY", "VERSION", "SHA-256", "SINCE"], &policies.iter().map(row).collect::<Vec<_>>())
}

//! `strongroom`: the command line of ML ops, key owners and application developers.
//!
//! Each group of subcommands is one file: it reads arguments, calls a library or a service's API, and prints. What is refused
//! exits 1, wrong usage 2, a failing environment 3 ([`strongroom_wire::Fault`]). With `--json` exactly one document is printed
//! on stdout, for a refusal too; everything else goes to stderr.
//!
//! This crate does not judge anything itself, and links no service.

mod admin;
mod audit;
mod change;
mod deployment;
mod evidence;
mod files;
mod inventory;
mod key;
mod measure;
mod model;
mod output;
mod policy;
mod progress;
mod proxy;
mod reference_values;
mod registry;
mod revocation;
mod roots;
mod routes;
mod signed;
mod signer;
mod state;
mod trust;
mod verify;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;
use strongroom_wire::{Code, Fault, Refusal, Result};
use tracing_subscriber::EnvFilter;

/// Confidential AI model serving: publish sealed models, approve the guests that may open them, call what was verified.
#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print exactly one JSON document on stdout, for a refusal too.
    #[arg(long, global = true)]
    json: bool,
    /// What to log on stderr, as `warn` or `strongroom_registry_client=debug`.
    #[arg(long, global = true, value_name = "FILTER", default_value = "warn")]
    log: EnvFilter,
}

#[derive(Subcommand)]
enum Command {
    /// Look at or verify hardware evidence (an AMD SEV-SNP report or an Intel TDX quote).
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Seal, sign, publish, fetch and verify models.
    #[command(subcommand)]
    Model(model::Command),
    /// Manage the data keys that a verifier releases.
    #[command(subcommand)]
    Key(key::Command),
    /// Manage the policies by which a verifier releases keys.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Read what a verifier decided, and why.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Approve or reject what others want to change at a verifier, where that takes two people.
    #[command(subcommand)]
    Change(change::Command),
    /// Revoke a guest's key, software, a machine, a model or a data key, for good: whoever is meant gets no key, passport or lease any
    /// more, and loses its connections.
    #[command(
        after_help = "Example:\n  strongroom revoke chip $CHIP --because 'stolen board' --by 'Anna Kern' \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token"
    )]
    Revoke(revocation::Said),
    /// The same, until a named person ends it (`strongroom revocations release`).
    #[command(
        after_help = "Example:\n  strongroom quarantine model sha256:$DIGEST --because 'under review' --by 'Anna Kern' \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token"
    )]
    Quarantine(revocation::Said),
    /// List what is revoked and quarantined, and end quarantines.
    #[command(subcommand)]
    Revocations(revocation::Command),
    /// Say which server names a verifier's routers know, and whose guests serve them.
    #[command(subcommand)]
    Routes(routes::Command),
    /// Write deployment documents.
    #[command(subcommand)]
    Deployment(deployment::Command),
    /// Sign, verify and show reference values: what approved guests measure.
    #[command(subcommand)]
    ReferenceValues(reference_values::Command),
    /// Sign, verify and show inventories: which machines are yours.
    #[command(subcommand)]
    Inventory(inventory::Command),
    /// Compute what hardware must measure when it launches a guest: values for policies and bundles of reference values.
    #[command(subcommand)]
    Measure(measure::Command),
    /// Verify an enclave: its evidence, that its channel is bound to it, and what it serves.
    Verify(verify::Arguments),
    /// Put a local OpenAI-compatible endpoint in front of a verified enclave.
    ///
    /// Policy, inventories and reference values are read once, at the start: when an inventory or bundle expires, every enclave
    /// is refused until the proxy is started again with what replaces it.
    Proxy(proxy::Arguments),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  strongroom completions bash > ~/.local/share/bash-completion/completions/strongroom"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(cli.log);
    logs.without_time().with_target(false).init();
    match run(cli.command, cli.json) {
        Ok(code) => code,
        Err(refusal) => output::report(&refusal, cli.json),
    }
}

fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Evidence(command) => evidence::run(command, json),
        Command::Model(command) => model::run(command, json),
        Command::Key(command) => key::run(command, json),
        Command::Policy(command) => policy::run(command, json),
        Command::Audit(command) => audit::run(command, json),
        Command::Change(command) => change::run(command, json),
        Command::Revoke(said) => revocation::put(&said, "revoked", json),
        Command::Quarantine(said) => revocation::put(&said, "quarantined", json),
        Command::Revocations(command) => revocation::run(command, json),
        Command::Routes(command) => routes::run(command, json),
        Command::Deployment(command) => deployment::run(command, json),
        Command::ReferenceValues(command) => reference_values::run(&command, json),
        Command::Inventory(command) => inventory::run(&command, json),
        Command::Measure(command) => measure::run(&command, json),
        Command::Verify(arguments) => verify::run(&arguments, json),
        Command::Proxy(arguments) => proxy::run(&arguments, json),
        Command::Completions { .. } if json => {
            Err(Refusal::new(Code::Usage, "completions").got("--json").want("no --json: a script is no document"))
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What clap has to say: help and version go to stdout; wrong usage to stderr, or to stdout as JSON where that was asked for.
fn misused(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let first = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let refusal = Refusal::new(Code::Usage, first.strip_prefix("error: ").unwrap_or(&first));
        return output::report(&refusal, true);
    }
    // Nobody is left to be told where this fails.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Fault::Configuration.exit_code() } else { 0 })
}

/// Runs what needs sockets.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    strongroom_transport::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| Refusal::new(Code::Io, "starting threads").because(e))?.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_examples(command: &clap::Command) {
        if command.has_subcommands() {
            return command.get_subcommands().for_each(assert_examples);
        }
        let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(example.contains("Example:\n  strongroom "), "{}: `{example}`", command.get_name());
    }

    #[test]
    fn every_command_shows_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        assert_examples(&command);
    }
}

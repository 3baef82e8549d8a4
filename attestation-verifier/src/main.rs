//! `strongroom-verifier`: the command line of the verifier service.

use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use strongroom_attestation_verifier::config::{LogFormat, Traces};
use strongroom_attestation_verifier::{
    Clock, Config, Rewrap, Service, backup, init_custody, make_master_key, public_identity, rewrap,
};
use strongroom_transport::{forbid_dumps, install_crypto, lock_memory, shutdown_signal};
use strongroom_wire::{Code, Refusal, Result};
use tracing_subscriber::EnvFilter;

/// Appraises confidential guests and releases model keys to those that a release policy accepts
#[derive(Parser)]
#[command(name = "strongroom-verifier", version)]
struct Arguments {
    /// The configuration file
    #[arg(long)]
    config: PathBuf,
    /// Parse the configuration and exit
    #[arg(long, conflicts_with = "identity")]
    check: bool,
    /// Print what a deployment document names this verifier by, as JSON, and exit; makes identity, master key and store at first
    /// start
    #[arg(long)]
    identity: bool,
    /// Put the store under the master key in FILE, which is made where it is absent, and exit. Stop the service first. Once it
    /// said that it is done, name FILE as `master-key` in the configuration and destroy the old one. Interrupted, or where it
    /// failed, it goes on when run again. The key that the store is under is refused
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "identity"])]
    rewrap: Option<PathBuf>,
    /// Copy the state into FOLDER, which is made, and exit; the service may run. The copy is a `state` as the one in the configuration:
    /// on another machine, name it there and bring the master key. A store in PostgreSQL is copied by `pg_dump`
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["check", "identity", "rewrap"])]
    backup: Option<PathBuf>,
    /// Make the keys of the configured PKCS #11 custodies in their tokens, where they are absent, and exit. They never leave them
    #[arg(long, conflicts_with_all = ["check", "identity", "rewrap", "backup"])]
    init_custody: bool,
    /// Make FILE with a new master key that the token's key in --wrapped-by wraps, and exit. Name it as `master-key` before the
    /// first start, or put the store under it by --rewrap FILE
    #[arg(long, value_name = "FILE", requires = "wrapped_by", conflicts_with_all = ["check", "identity", "rewrap", "backup", "init_custody"])]
    make_master_key: Option<PathBuf>,
    /// The token's key that wraps the master key, as a PKCS #11 URI (RFC 7512)
    #[arg(long, value_name = "URI", requires = "make_master_key")]
    wrapped_by: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            say(&refusal.to_string());
            ExitCode::from(refusal.fault().exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        return Ok(());
    }
    // Before the first secret is in memory: neither a core dump nor a debugger of the same user gets at it.
    forbid_dumps()?;
    let unlocked = lock_memory().err();
    if let (true, Some(refusal)) = (config.lock_memory, &unlocked) {
        return Err(refusal.clone());
    }
    install_crypto();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
    if arguments.identity {
        let identity = serde_json::to_string(&runtime.block_on(public_identity(&config))?)
            .map_err(|e| Refusal::new(Code::Internal, "identity").because(e))?;
        return writeln!(std::io::stdout(), "{identity}").map_err(|e| Refusal::io("stdout", &e));
    }
    if let Some(folder) = &arguments.backup {
        return runtime.block_on(backup(&config, folder));
    }
    let filter =
        EnvFilter::try_new(&config.log).map_err(|e| Refusal::new(Code::ConfigurationInvalid, "`log`").because(e))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().with_span_list(false).init(),
    }
    if let Some(refusal) = unlocked {
        tracing::warn!(%refusal, advice = refusal.code.advice(), "keys may be swapped to a disk");
    }
    if arguments.init_custody {
        return init_custody(&config);
    }
    if let (Some(file), Some(uri)) = (&arguments.make_master_key, &arguments.wrapped_by) {
        return make_master_key(file, uri);
    }
    if let Some(new) = &arguments.rewrap {
        let done = runtime.block_on(rewrap(&config, new, &Clock::system()))?;
        let which = match done {
            Rewrap::Done(seq) => format!("rewrapped, entry {seq} of the audit log"),
            Rewrap::Unchanged => {
                "rewrapped before, and what was left of the old key is out of its files now".to_owned()
            }
        };
        let (old, new) = (config.master_key.display(), new.display());
        say(&format!("{which}: the store opens with the master key `{new}` alone"));
        return writeln!(std::io::stdout(), "name `{new}` as `master-key` in place of `{old}`")
            .map_err(|e| Refusal::io("stdout", &e));
    }
    let outcome = runtime.block_on(async {
        let shutdown = shutdown_signal();
        config.traces.iter().try_for_each(Traces::begin)?;
        let service = Service::start(&config, Clock::system()).await?;
        say(&format!("admin listening on {}", service.admin_addr()));
        say(&format!("listening on {}", service.kbs_addr()));
        service.run(shutdown).await
    });
    // The library of a token may hang, and cannot be told to stop.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// One line on stderr. Nobody may be reading; that is no reason to stop.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

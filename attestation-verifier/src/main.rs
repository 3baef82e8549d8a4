//! `strongroom-verifier`: the command line of the verifier service.

use clap::Parser;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_attestation_verifier::{Clock, Config, Service, identity};
use strongroom_transport::{install_crypto, shutdown_signal};
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
    /// Print what a deployment document names this verifier by, as JSON, and exit; makes the identity at first start
    #[arg(long)]
    identity: bool,
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
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| Refusal::new(Code::Io, "switching off core dumps").because(e))?;
    install_crypto();
    if arguments.identity {
        let identity = serde_json::to_string(&identity(&config)?.public())
            .map_err(|e| Refusal::new(Code::Internal, "identity").because(e))?;
        return writeln!(std::io::stdout(), "{identity}").map_err(|e| Refusal::io("stdout", &e));
    }
    let filter =
        EnvFilter::try_new(&config.log).map_err(|e| Refusal::new(Code::ConfigurationInvalid, "`log`").because(e))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
    runtime.block_on(async {
        let shutdown = shutdown_signal();
        let service = Service::start(&config, Clock::system()).await?;
        say(&format!("admin listening on {}", service.admin_addr()));
        say(&format!("listening on {}", service.kbs_addr()));
        service.run(shutdown).await
    })
}

/// One line on stderr. Nobody may be reading; that is no reason to stop.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

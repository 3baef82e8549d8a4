//! `strongroom-router`: the command line of the router.

use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_router::{Config, Service};
use strongroom_transport::{forbid_dumps, install_crypto, shutdown_signal};
use strongroom_wire::{Code, Refusal, Result};
use tracing_subscriber::EnvFilter;

/// Brings TLS connections to guests that hold a lease of the verifier's, by the server name that a client asks for
///
/// It holds no key and opens no TLS: run it as a user of its own. Clients verify the guest themselves.
#[derive(Parser)]
#[command(name = "strongroom-router", version)]
#[command(after_help = "Example:\n  strongroom-router --config /etc/strongroom/router.toml")]
struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Parse the configuration and exit
    #[arg(long)]
    check: bool,
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
    forbid_dumps()?;
    install_crypto();
    let filter =
        EnvFilter::try_new(&config.log).map_err(|e| Refusal::new(Code::ConfigurationInvalid, "`log`").because(e))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
    runtime.block_on(async {
        let shutdown = shutdown_signal();
        let service = Service::start(&config).await?;
        say(&format!("admin listening on {}", service.admin_addr()));
        say(&format!("listening on {}", service.addr()));
        service.run(shutdown).await
    })
}

/// One line on stderr. Nobody may be reading; that is no reason to stop.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

//! `strongroom-dev`: the whole system on one machine without a TEE.
//!
//! It starts the real programs (verifier, registry, enclave, proxy), plays the hardware with a fake vendor hierarchy that is
//! made fresh, and then every adversary in turn. Nothing depends on it, and it is never in an image.

mod adversary;
mod demo;
mod guest;
mod kds;
mod process;
mod world;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_devkit::registry::{Config, Credentials, RunningRegistry};
use strongroom_wire::{Code, Refusal, Result};

/// The whole of Strongroom on one machine, without a TEE.
#[derive(Parser)]
#[command(name = "strongroom-dev", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish, approve, boot, verify and call a model; then every expected refusal. Paths come from `dev/setup/run`.
    Demo {
        /// Leave everything running at the end and print how to call it.
        #[arg(long)]
        keep: bool,
        /// The ONNX Runtime shared library.
        #[arg(long, value_name = "FILE")]
        onnxruntime: Option<PathBuf>,
        /// Folder of the sample model.
        #[arg(long, value_name = "DIR")]
        model: Option<PathBuf>,
        /// Folder of a small model for the refusals.
        #[arg(long, value_name = "DIR")]
        small_model: Option<PathBuf>,
    },
    /// An OCI registry on this machine, for trying things out.
    Registry {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:5000")]
        listen: String,
        /// Folder to keep content in.
        #[arg(long)]
        root: PathBuf,
        /// Demand this user name; the password is read from the environment variable REGISTRY_PASSWORD.
        #[arg(long)]
        user: Option<String>,
        /// Behave as a registry without the referrers API.
        #[arg(long)]
        no_referrers: bool,
    },
}

fn main() -> ExitCode {
    strongroom_transport::install_crypto();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            demo::print::failure(&refusal);
            ExitCode::from(refusal.fault().exit_code())
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo { keep, onnxruntime, model, small_model } => {
            let inputs = world::Inputs {
                onnxruntime: given(onnxruntime, "ORT_LIB")?,
                model: given(model, "MODEL_MINILM")?,
                small_model: given(small_model, "MODEL_TINY")?,
            };
            demo::run(inputs, keep)
        }
        Command::Registry { listen, root, user, no_referrers } => {
            let password = std::env::var("REGISTRY_PASSWORD").unwrap_or_default();
            let credentials = user.map(|user| Credentials::new(&user, &password));
            registry(Config { listen, credentials, referrers_api: !no_referrers, ..Config::new(root) })
        }
    }
}

fn given(flag: Option<PathBuf>, variable: &str) -> Result<PathBuf> {
    flag.or_else(|| std::env::var_os(variable).map(PathBuf::from)).ok_or_else(|| {
        Refusal::new(Code::Usage, format!("`{variable}` is not set")).want("run `make demo`, which sets it up")
    })
}

fn registry(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
    runtime.block_on(async {
        let stop = strongroom_transport::shutdown_signal();
        let registry = RunningRegistry::start(config).await?;
        demo::print::listening(registry.addr());
        stop.await;
        registry.stop().await
    })
}

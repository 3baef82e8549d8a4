//! `strongroom audit`: what a verifier decided, and why, out of a log that nobody has to take its word for.
//!
//! Whatever is printed was proved to be in the tree of a checkpoint that the log's key signed. Which key that is, `--log-key` says;
//! without it the verifier does, over a connection that is pinned to it.

mod consistency;
mod log;
mod memory;
mod ocsf;
mod prove;
mod show;
mod verify;

use crate::admin::{AdminClient, Service};
use crate::block_on;
use clap::{Args, Subcommand};
pub(crate) use log::Log;
use std::process::ExitCode;
use strongroom_tlog::NoteVerifier;
use strongroom_wire::Result;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print decisions, oldest first, or one of them with everything that it was decided on.
    #[command(after_help = "Example:\n  strongroom audit show 121 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show(show::Show),
    /// Print the last decisions, and with -f those that follow as they come.
    #[command(after_help = "Example:\n  strongroom audit tail -f --kind release \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Tail(show::Tail),
    /// Print all of the log in the form of another system.
    #[command(after_help = "Example:\n  strongroom audit export --ocsf --after 120 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Export(show::Export),
    /// Verify all of the log: every entry, the tree over them, and that its key signed that.
    ///
    /// With --state it is held to what it was at the time before, too: who puts back or rewrites the log, and has its key, is
    /// noticed by whoever remembers a checkpoint (log-inconsistent).
    #[command(
        after_help = "Example:\n  strongroom audit verify --log-key \"$LOG_KEY\" --state audit.checkpoint \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token"
    )]
    Verify(verify::Verify),
    /// Write a proof that a decision is in the log, which anybody can check without a connection; or check one.
    ///
    /// A proof holds the entry, its place in the tree and the signed checkpoint (c2sp.org/tlog-proof).
    #[command(after_help = "Example:\n  strongroom audit prove 121 --out 121.tlog-proof \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token\n  \
        strongroom audit prove --check 121.tlog-proof --log-key \"$LOG_KEY\"")]
    Prove(prove::Prove),
    /// Verify that the log begins with what it was at a checkpoint that you kept.
    #[command(
        after_help = "Example:\n  strongroom audit consistency last-week.checkpoint --log-key \"$LOG_KEY\" \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token"
    )]
    Consistency(consistency::Consistency),
    /// Fetch the newest checkpoint: what to keep in a place of your own, and what a witness cosigns; or deliver what one cosigned.
    #[command(after_help = "Example:\n  strongroom audit checkpoint --out today.checkpoint \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Checkpoint(consistency::Newest),
}

/// The log of which verifier, under which key.
#[derive(Args)]
pub(crate) struct Source {
    /// The log's key, as `strongroom-verifier --identity` prints it. Without it, the one that the verifier itself names.
    #[arg(long, value_name = "KEY", value_parser = NoteVerifier::parse)]
    log_key: Option<NoteVerifier>,
    #[command(flatten)]
    service: Service,
}

impl Source {
    pub(crate) async fn open(&self) -> Result<Log> {
        Log::open(self.client()?, self.log_key.clone()).await
    }

    /// The verifier itself.
    pub(crate) fn client(&self) -> Result<AdminClient> {
        self.service.client()
    }
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Show(arguments) => block_on(arguments.run(json)),
        Command::Tail(arguments) => block_on(arguments.run(json)),
        Command::Export(arguments) => block_on(arguments.run(json)),
        Command::Verify(arguments) => block_on(arguments.run(json)),
        Command::Prove(arguments) => block_on(arguments.run(json)),
        Command::Consistency(arguments) => block_on(arguments.run(json)),
        Command::Checkpoint(arguments) => block_on(arguments.run(json)),
    }
    .map(|()| ExitCode::SUCCESS)
}

//! `strongroom audit show`: what a verifier decided, and why.

use crate::admin::Service;
use crate::{block_on, output};
use clap::Subcommand;
use std::process::ExitCode;
use strongroom_wire::Result;
use strongroom_wire::audit::{Link, Row, verify_chain};
use strongroom_wire::digest::Sha256;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print decisions, oldest first, once the chain of their hashes is verified.
    ///
    /// With --json each brings every check's got and want. The hash of the last row, kept in a place of your own, is what
    /// --after-hash of a later call holds the log to. Rows cut off the end leave no trace.
    #[command(after_help = "Example:\n  strongroom audit show --after 120 --after-hash $HASH \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show {
        /// Only decisions after this sequence number.
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
        /// The hash that the row of that number had: what is printed must follow it.
        #[arg(long, value_name = "HEX", value_parser = Sha256::from_hex, requires = "after")]
        after_hash: Option<Sha256>,
        /// At most so many, up to 1000.
        #[arg(long, value_name = "M", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        #[command(flatten)]
        service: Service,
    },
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let Command::Show { after, after_hash, limit, service } = command;
    let client = service.client()?;
    let rows: Vec<Row> = block_on(client.get_json(&format!("audit?after={after}&limit={limit}")))?;
    let before = match (after, after_hash, rows.first()) {
        (_, Some(hash), _) => Link { seq: after, hash },
        (1.., None, Some(first)) => Link { seq: after, hash: first.previous },
        _ => Link::START,
    };
    let last = verify_chain(&rows, before)?;
    if json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&table(&rows))?;
    if !rows.is_empty() {
        if after > 0 && after_hash.is_none() {
            output::note(&format!("whether row {after} is the one that you know was not verified: pass --after-hash"));
        }
        output::note(&format!("verified; to go on: --after {} --after-hash {}", last.seq, last.hash));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let outcome = if row.code.is_empty() { "ok" } else { &row.code };
        let (seq, time) = (row.seq.to_string(), output::utc(row.time));
        vec![seq, time, row.kind.clone(), outcome.to_owned(), row.subject.clone()]
    };
    output::table(&["SEQ", "TIME", "KIND", "OUTCOME", "SUBJECT"], &rows.iter().map(row).collect::<Vec<_>>())
}

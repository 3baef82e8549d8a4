//! `strongroom audit show`: what a verifier decided, and why.

use crate::admin::Service;
use crate::{block_on, output};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use strongroom_wire::Result;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print decisions, oldest first. With --json each brings every check's got and want.
    #[command(after_help = "Example:\n  strongroom audit show --after 120 --limit 20 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show {
        /// Only decisions after this sequence number.
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
        /// At most so many, up to 1000.
        #[arg(long, value_name = "M", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        #[command(flatten)]
        service: Service,
    },
}

/// A decision as the service tells it. Members that are not known here are printed all the same.
#[derive(Serialize, Deserialize)]
struct Row {
    seq: u64,
    time: u64,
    kind: String,
    subject: String,
    code: Option<String>,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let Command::Show { after, limit, service } = command;
    let client = service.client()?;
    let rows: Vec<Row> = block_on(client.get_json(&format!("audit?after={after}&limit={limit}")))?;
    if json {
        output::json(&rows)?;
    } else {
        output::line(&table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let outcome = row.code.as_deref().filter(|code| !code.is_empty()).unwrap_or("ok");
        let (seq, time) = (row.seq.to_string(), output::utc(row.time));
        vec![seq, time, row.kind.clone(), outcome.to_owned(), row.subject.clone()]
    };
    output::table(&["SEQ", "TIME", "KIND", "OUTCOME", "SUBJECT"], &rows.iter().map(row).collect::<Vec<_>>())
}

//! `audit verify`: all of the log, from its entries up.

use super::log::{self, Log, tampered};
use super::memory::Memory;
use crate::admin::Service;
use crate::output;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use strongroom_tlog::{NoteVerifier, Tiles, VerifiedCheckpoint, root};
use strongroom_wire::digest::Sha256;
use strongroom_wire::merkle::leaf_hash;
use strongroom_wire::{Code, Refusal, Result};

#[derive(Args)]
pub(crate) struct Verify {
    /// The log's key, as `strongroom-verifier --identity` prints it.
    #[arg(long, value_name = "KEY", value_parser = NoteVerifier::parse)]
    log_key: NoteVerifier,
    /// Remember in this file the checkpoint that was verified, and refuse a log that does not begin with it (log-inconsistent). Made
    /// where there is none; keep it where nobody but you writes.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    service: Service,
}

/// What was verified.
#[derive(Serialize)]
struct Report {
    verdict: &'static str,
    origin: String,
    size: u64,
    root: Sha256,
    /// Entries of the checkpoint that it was held to; `null`: none was remembered.
    since: Option<u64>,
    /// How many of each kind.
    entries: BTreeMap<String, u64>,
}

impl Verify {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        let log = Log::open(self.service.client()?, Some(self.log_key.clone())).await?;
        let memory = self.state.as_deref().map(Memory::open).transpose()?;
        let seen = memory.as_ref().map(|memory| memory.seen(log.trust())).transpose()?.flatten();
        let (note, checkpoint) = log.checkpoint().await?;
        let entries = verify(&log, &checkpoint, seen.as_ref()).await?;
        if let Some(memory) = &memory {
            memory.remember(&note)?;
        }
        let report = Report {
            verdict: "verified",
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            root: checkpoint.root(),
            since: seen.map(|seen| seen.size()),
            entries,
        };
        if json { output::json(&report) } else { output::line(&for_people(&report)) }
    }
}

/// 1. The log is no smaller than it was.
/// 2. Each entry is one, has its number, and is a leaf of the tree.
/// 3. The tree over the first of them is that which was remembered.
/// 4. The tree over all of them is that of the checkpoint.
async fn verify(
    log: &Log,
    checkpoint: &VerifiedCheckpoint,
    seen: Option<&VerifiedCheckpoint>,
) -> Result<BTreeMap<String, u64>> {
    let forked = |got: String, want: String| {
        Refusal::new(Code::LogInconsistent, "audit log, as it was remembered").got(got).want(want)
    };
    let begins = |size: u64, tiles: &Tiles| match seen {
        Some(seen) if seen.size() == size => match root(size, tiles)? {
            root if root == seen.root() => Ok(()),
            root => Err(forked(format!("root {root} over the first {size} entries"), format!("root {}", seen.root()))),
        },
        _ => Ok(()),
    };
    if let Some(seen) = seen.filter(|seen| seen.size() > checkpoint.size()) {
        return Err(forked(format!("{} entries", checkpoint.size()), format!("at least {}", seen.size()))); // 1
    }
    let (mut tiles, mut kinds, mut size) = (Tiles::default(), BTreeMap::new(), 0_u64);
    for bundle in log::bundles(checkpoint.size()) {
        for leaf in log.leaves(bundle?).await? {
            let entry = log::entry(size, &leaf)?;
            let kind: &mut u64 = kinds.entry(entry.kind).or_default();
            *kind = kind.saturating_add(1);
            tiles.append(size, leaf_hash(&leaf))?; // 2
            size = size.saturating_add(1);
            begins(size, &tiles)?; // 3
        }
    }
    match root(size, &tiles)? {
        root if root == checkpoint.root() => Ok(kinds),
        root => {
            let refusal = Refusal::new(Code::LogProofInvalid, "tree over all entries").got(format!("root {root}"));
            Err(tampered(refusal.want(format!("root {}", checkpoint.root())))) // 4
        }
    }
}

fn for_people(report: &Report) -> String {
    let count = |(kind, count): (&String, &u64)| format!("{count} {kind}");
    let entries: Vec<_> = report.entries.iter().map(count).collect();
    let since = match report.since {
        Some(since) => format!("it begins with the {since} entries that were remembered"),
        None => "nothing was remembered to hold it to".to_owned(),
    };
    format!(
        "verified: {} entries ({})\n  log   {}\n  root  {}\n  {since}\n",
        report.size,
        entries.join(", "),
        report.origin,
        report.root
    )
}

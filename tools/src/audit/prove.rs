//! `audit prove`: one entry's proof, which stands for itself.

use super::{Source, log, show};
use crate::{files, output};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use strongroom_tlog::{EntryProof, Trust, prove_inclusion, tiles_of_inclusion};
use strongroom_wire::{Code, Refusal, Result, limits};

#[derive(Args)]
pub(crate) struct Prove {
    /// The decision of this number.
    #[arg(value_name = "N", required_unless_present = "check", conflicts_with = "check", requires = "out")]
    seq: Option<u64>,
    /// Where to write the proof.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Check the proof in this file, under --log-key and without a connection, and print the decision.
    #[arg(long, value_name = "FILE", requires = "log_key")]
    check: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Prove {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        match (&self.check, self.seq, &self.out, &self.source.log_key) {
            (Some(file), _, _, Some(key)) => check(file, &Trust::new(key.clone(), Vec::new(), 0)?, json),
            (None, Some(seq), Some(out), _) => self.write(seq, out, json).await,
            _ => Err(Refusal::new(Code::Usage, "prove").want("N with --out FILE, or --check FILE with --log-key KEY")),
        }
    }

    async fn write(&self, seq: u64, out: &Path, json: bool) -> Result<()> {
        let log = self.source.open().await?;
        let (note, checkpoint) = log.checkpoint().await?;
        let entry = show::one(&log, seq, &checkpoint).await?;
        let leaf = entry.leaf()?;
        let tiles = log.tiles(tiles_of_inclusion(seq, checkpoint.size())?).await?;
        let path = prove_inclusion(seq, checkpoint.size(), &tiles)?;
        let proof = EntryProof { index: seq, extra: Some(leaf.clone()), path, checkpoint: note };
        proof.verify(&leaf, log.trust()).map_err(log::tampered)?;
        files::write(out, proof.to_string().as_bytes())?;
        let (size, out) = (checkpoint.size(), out.display());
        match json {
            true => output::json(&json!({ "seq": seq, "size": size, "out": out.to_string() })),
            false => output::line(&format!("entry {seq} of a log of {size}: {out}\n")),
        }
    }
}

fn check(file: &Path, trust: &Trust, json: bool) -> Result<()> {
    let proof = EntryProof::parse(&files::read(file, limits::NOTE)?)?;
    let leaf =
        proof.extra.as_deref().ok_or_else(|| Refusal::new(Code::Malformed, "proof").want("one with its entry"))?;
    let checkpoint = proof.verify(leaf, trust)?;
    let entry = log::entry(proof.index, leaf)?;
    if json {
        let (origin, size) = (checkpoint.origin(), checkpoint.size());
        return output::json(&json!({ "verdict": "verified", "origin": origin, "size": size, "entry": entry }));
    }
    output::line(&show::in_full(&entry))?;
    output::line(&format!("in the log {} of {} entries\n", checkpoint.origin(), checkpoint.size()))
}

//! `audit checkpoint` and `audit consistency`: what to keep of a log, and what to hold it to later.

use super::{Source, show};
use crate::{files, output};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use strongroom_tlog::{NoteVerifier, SignedNote};
use strongroom_wire::{Result, limits};

#[derive(Args)]
pub(crate) struct Consistency {
    /// A checkpoint of the log, as `audit checkpoint` wrote it.
    old: PathBuf,
    #[command(flatten)]
    source: Source,
}

#[derive(Args)]
pub(crate) struct Newest {
    /// Write it to this file instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The newest one that witnesses cosigned, instead of the newest.
    #[arg(long)]
    witnessed: bool,
    /// A witness that must have signed it, by its key. Repeatable.
    #[arg(long = "witness", value_name = "KEY", value_parser = NoteVerifier::parse, requires = "witnessed")]
    witnesses: Vec<NoteVerifier>,
    /// Deliver the checkpoint in this file, with the lines that witnesses signed it by, to the verifier, and show what it keeps.
    #[arg(long, value_name = "FILE", conflicts_with = "witnessed")]
    deliver: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Consistency {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        let log = self.source.open().await?;
        let old = log.trust().verify(&SignedNote::parse(&files::read(&self.old, limits::NOTE)?)?)?;
        let (_, new) = log.checkpoint().await?;
        show::grown(&log, &old, &new).await?;
        match json {
            true => output::json(&json!({ "verdict": "consistent", "old": old.size(), "new": new.size() })),
            false => output::line(&format!("the log of {} entries begins with that of {}\n", new.size(), old.size())),
        }
    }
}

impl Newest {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        let log = self.source.open().await?;
        let note = match (&self.deliver, self.witnessed) {
            (Some(file), _) => log.deliver(&files::read(file, limits::NOTE)?).await?,
            (None, true) => log.witnessed().await?,
            (None, false) => log.checkpoint().await?.0,
        };
        let checkpoint = log.trust().with(&self.witnesses)?.verify(&note)?;
        let text = note.to_string();
        if let Some(out) = &self.out {
            files::write(out, text.as_bytes())?;
        }
        let (origin, size, root) = (checkpoint.origin(), checkpoint.size(), checkpoint.root());
        match (json, &self.out) {
            (true, _) => output::json(&json!({ "origin": origin, "size": size, "root": root, "note": text })),
            (false, Some(out)) => output::line(&format!("checkpoint of {size} entries: {}\n", out.display())),
            (false, None) => output::line(&text),
        }
    }
}

//! `audit show` and `audit tail`.

use super::log::Log;
use super::{Source, ocsf};
use crate::output;
use clap::Args;
use core::time::Duration;
use serde_json::Value;
use strongroom_tlog::{VerifiedCheckpoint, prove_consistency, tiles_of_consistency, verify_consistency};
use strongroom_wire::audit::Entry;
use strongroom_wire::{Code, Refusal, Result, limits};

/// How often a followed log is looked at: it has no way to say that it grew.
const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct Show {
    /// The decision of this number, with everything that it was decided on.
    #[arg(value_name = "N", conflicts_with_all = ["after", "limit", "kind"])]
    seq: Option<u64>,
    /// Only decisions after this number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// At most so many, up to 1000.
    #[arg(long, value_name = "M", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Of those, only of this kind: `attestation`, `release` or `admin`.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// As events of OCSF, class API Activity: one JSON document a line, with --json one array.
    #[arg(long)]
    ocsf: bool,
    #[command(flatten)]
    source: Source,
}

#[derive(Args)]
pub(crate) struct Tail {
    /// Go on with those that follow, until it is interrupted.
    #[arg(short = 'f', long)]
    follow: bool,
    /// How many of the last ones to begin with, up to 1000.
    #[arg(short = 'n', long, value_name = "M", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=1000))]
    lines: u64,
    /// Of those, only of this kind: `attestation`, `release` or `admin`.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// As events of OCSF, class API Activity: one JSON document a line, with --json one array.
    #[arg(long)]
    ocsf: bool,
    #[command(flatten)]
    source: Source,
}

/// All of the log, for another system.
#[derive(Args)]
pub(crate) struct Export {
    /// As events of OCSF, class API Activity.
    #[arg(long, required = true)]
    ocsf: bool,
    /// Only decisions after this number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    source: Source,
}

impl Export {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        let log = self.source.open().await?;
        let (_, checkpoint) = log.checkpoint().await?;
        let first = self.after.saturating_add(1);
        if json {
            let entries = log.entries(first..checkpoint.size().max(first), &checkpoint).await?;
            return print(&entries, true, self.ocsf);
        }
        // A page at a time: a log may be larger than memory.
        let mut at = first;
        while at < checkpoint.size() {
            let end = at.saturating_add(limits::LOG_PAGE).min(checkpoint.size());
            print(&log.entries(at..end, &checkpoint).await?, false, self.ocsf)?;
            at = end;
        }
        Ok(())
    }
}

impl Show {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        let log = self.source.open().await?;
        let (_, checkpoint) = log.checkpoint().await?;
        if let Some(seq) = self.seq {
            let entry = one(&log, seq, &checkpoint).await?;
            return match (json, self.ocsf) {
                (_, true) => output::json(&ocsf::event(&entry)),
                (true, false) => output::json(&entry),
                (false, false) => output::line(&in_full(&entry)),
            };
        }
        // Entry 0 is no decision.
        let first = self.after.saturating_add(1);
        let range = first..first.saturating_add(self.limit).min(checkpoint.size()).max(first);
        print(&of_kind(log.entries(range, &checkpoint).await?, self.kind.as_deref()), json, self.ocsf)
    }
}

impl Tail {
    pub(crate) async fn run(&self, json: bool) -> Result<()> {
        if json && self.follow {
            let refusal = Refusal::new(Code::Usage, "tail").got("--follow with --json");
            return Err(refusal.want("one of them: what goes on is no document; ask for `show --after N --json` again"));
        }
        let log = self.source.open().await?;
        let (_, mut checkpoint) = log.checkpoint().await?;
        let range = checkpoint.size().saturating_sub(self.lines).max(1)..checkpoint.size();
        let mut entries = log.entries(range, &checkpoint).await?;
        loop {
            let shown = of_kind(entries, self.kind.as_deref());
            if !self.follow {
                return print(&shown, json, self.ocsf);
            }
            match self.ocsf {
                true => print(&shown, false, true)?,
                false => shown.iter().try_for_each(|entry| output::line(&format!("{}\n", row(entry).join("  "))))?,
            }
            tokio::time::sleep(INTERVAL).await;
            let (_, newer) = log.checkpoint().await?;
            grown(&log, &checkpoint, &newer).await?;
            entries = log.entries(checkpoint.size()..newer.size(), &newer).await?;
            checkpoint = newer;
        }
    }
}

/// One entry of the log.
pub(super) async fn one(log: &Log, seq: u64, checkpoint: &VerifiedCheckpoint) -> Result<Entry> {
    let unknown = || Refusal::new(Code::LogProofInvalid, format!("entry {seq}"));
    if seq >= checkpoint.size() {
        return Err(unknown().got(format!("a log of {} entries", checkpoint.size())));
    }
    log.entries(seq..seq.saturating_add(1), checkpoint).await?.pop().ok_or_else(unknown)
}

/// Verifies that the log at `new` begins with that at `old`.
///
/// # Errors
/// `log-inconsistent`: it does not, or nobody can show that it does.
pub(super) async fn grown(log: &Log, old: &VerifiedCheckpoint, new: &VerifiedCheckpoint) -> Result<()> {
    let other = |refusal: Refusal| match refusal.code {
        Code::LogProofInvalid => Refusal { code: Code::LogInconsistent, ..refusal },
        _ => refusal,
    };
    let (before, after) = (old.size(), new.size());
    if before > after {
        let refusal = Refusal::new(Code::LogInconsistent, "audit log, which was larger before");
        return Err(refusal.got(format!("{after} entries")).want(format!("at least {before}")));
    }
    let tiles = log.tiles(tiles_of_consistency(before, after)?).await?;
    verify_consistency(old, new, &prove_consistency(before, after, &tiles)?).map_err(other)
}

fn of_kind(mut entries: Vec<Entry>, kind: Option<&str>) -> Vec<Entry> {
    entries.retain(|entry| kind.is_none_or(|kind| entry.kind == kind));
    entries
}

fn print(entries: &[Entry], json: bool, as_events: bool) -> Result<()> {
    match (json, as_events) {
        (true, true) => return output::json(&entries.iter().map(ocsf::event).collect::<Vec<_>>()),
        (true, false) => return output::json(&entries),
        (false, true) => return entries.iter().try_for_each(|entry| output::json(&ocsf::event(entry))),
        (false, false) => {}
    }
    let rows: Vec<_> = entries.iter().map(row).collect();
    output::line(&output::table(&["SEQ", "TIME", "KIND", "OUTCOME", "SUBJECT"], &rows))
}

fn row(entry: &Entry) -> Vec<String> {
    let outcome = if entry.code.is_empty() { "ok" } else { &entry.code };
    vec![
        entry.seq.to_string(),
        output::utc(entry.time),
        entry.kind.clone(),
        outcome.to_owned(),
        printable(&entry.subject),
    ]
}

/// A peer's words on one line, whatever they are.
fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

pub(super) fn in_full(entry: &Entry) -> String {
    let mut text = output::table(&["SEQ", "TIME", "KIND", "OUTCOME", "SUBJECT"], &[row(entry)]);
    for (name, value) in entry.detail.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(value) => printable(value),
            value => indented(value),
        };
        text.push_str(&format!("  {}: {value}\n", printable(name)));
    }
    text
}

/// JSON, without what a terminal would take for a command.
fn indented(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let shown = text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c });
    shown.collect::<String>().replace('\n', "\n  ")
}

//! Questions of the past, from a verifier's audit log, asked of other policies than those that answered them.

use crate::audit::Log;
use crate::output;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_policy::{Policies, Question, Verdict};
use strongroom_wire::audit::Entry;
use strongroom_wire::{Code, Refusal, Result};

/// Entries that are looked through at a time: those of one bundle of the log.
const BUNDLE: u64 = 256;

/// What policies said, or say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    verdict: Verdict,
    by: Vec<String>,
}

/// One question.
#[derive(Serialize)]
struct Asked {
    seq: u64,
    time: u64,
    key: String,
    was: Answer,
    now: Answer,
    /// Whether one permits what the other does not.
    changes: bool,
}

/// What a dry run came to.
#[derive(Serialize)]
pub(crate) struct DryRun {
    asked: usize,
    changed: usize,
    /// Rows whose question this program cannot read.
    unreadable: usize,
    decisions: Vec<Asked>,
}

/// Asks the questions of the last `count` releases that any policy was asked about, as a verified log has them.
///
/// # Errors
/// Those of the log.
pub(crate) async fn ask(log: &Log, policies: &Policies, count: usize) -> Result<DryRun> {
    let (mut decisions, mut unreadable) = (Vec::new(), 0_usize);
    for (entry, question) in last(log, count).await? {
        let Ok(question) = serde_json::from_value::<Question>(question) else {
            unreadable = unreadable.saturating_add(1);
            continue;
        };
        let decision = policies.ask(&question)?;
        let now = Answer { verdict: decision.verdict, by: decision.by };
        let was = entry.detail.get("authorization").cloned();
        // None were in force where there is no answer.
        let was = was.and_then(|was| serde_json::from_value(was).ok());
        let was = was.unwrap_or(Answer { verdict: Verdict::Empty, by: Vec::new() });
        let changes = (was.verdict == Verdict::Permit) != (now.verdict == Verdict::Permit);
        decisions.push(Asked { seq: entry.seq, time: entry.time, key: entry.subject, was, now, changes });
    }
    let changed = decisions.iter().filter(|asked| asked.changes).count();
    Ok(DryRun { asked: decisions.len(), changed, unreadable, decisions })
}

/// The last releases that policies were asked about, oldest first, with their questions: bundle by bundle from the end of the log.
async fn last(log: &Log, count: usize) -> Result<Vec<(Entry, Value)>> {
    let (_, checkpoint) = log.checkpoint().await?;
    let (mut end, mut found) = (checkpoint.size(), Vec::new());
    while end > 0 && found.len() < count {
        let start = end.saturating_sub(1) / BUNDLE * BUNDLE;
        let entries = log.entries(start..end, &checkpoint).await?;
        let asked = |mut entry: Entry| Some((entry.detail.get_mut("question").map(Value::take)?, entry));
        let newest_first = entries.into_iter().rev().filter(|entry| entry.kind == "release").filter_map(asked);
        found.extend(newest_first.map(|(question, entry)| (entry, question)).take(count.saturating_sub(found.len())));
        end = start;
    }
    found.reverse();
    Ok(found)
}

impl DryRun {
    /// Nothing, where every question has the answer that it had.
    ///
    /// # Errors
    /// `authorization-changes`.
    pub(crate) fn verify_unchanged(&self) -> Result<()> {
        if self.changed == 0 && self.unreadable == 0 {
            return Ok(());
        }
        let first = self.decisions.iter().find(|asked| asked.changes);
        let first = first.map(|asked| format!(", first that of entry {}, `{}`", asked.seq, asked.key));
        let unreadable = match self.unreadable {
            0 => String::new(),
            some => format!("; {some} of another form, which cannot be asked"),
        };
        Err(Refusal::new(Code::AuthorizationChanges, format!("the last {} questions", self.asked))
            .got(format!("{} answered otherwise{}{unreadable}", self.changed, first.unwrap_or_default()))
            .want("the answers that they had"))
    }

    /// Those that change, and how many were asked.
    pub(crate) fn for_people(&self) -> String {
        let answer = |answer: &Answer| match answer.by.as_slice() {
            [] => answer.verdict.as_str().to_owned(),
            by => format!("{} by {}", answer.verdict.as_str(), by.join(", ").escape_debug()),
        };
        let row = |asked: &Asked| {
            let (seq, time) = (asked.seq.to_string(), output::utc(asked.time));
            vec![seq, time, asked.key.escape_debug().to_string(), answer(&asked.was), answer(&asked.now)]
        };
        let rows: Vec<_> = self.decisions.iter().filter(|asked| asked.changes).map(row).collect();
        let table = match rows.is_empty() {
            true => String::new(),
            false => output::table(&["SEQ", "TIME", "KEY", "WAS", "WOULD BE"], &rows),
        };
        let unreadable = match self.unreadable {
            0 => String::new(),
            some => format!(", {some} more cannot be asked: they are of another form"),
        };
        format!("{table}{} questions asked, {} answered otherwise{unreadable}\n", self.asked, self.changed)
    }
}

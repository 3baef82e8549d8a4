//! How people and scripts are answered: results on stdout, refusals on stderr, advice only here.

use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use strongroom_wire::{Check, Code, Refusal, Result};

/// Prints a refusal with its advice on stderr and gives its exit code.
pub(crate) fn report(refusal: &Refusal) -> ExitCode {
    let mut text = format!("{}: {}\n", refusal.code, refusal.what);
    for (name, value) in [("got ", &refusal.got), ("want", &refusal.want)] {
        if let Some(value) = value {
            text.push_str(&format!("  {name}  {value}\n"));
        }
    }
    text.push_str(&advice(refusal.code));
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(refusal.fault().exit_code())
}

/// `  try   …`, or nothing.
pub(crate) fn advice(code: Code) -> String {
    match code.advice() {
        "" => String::new(),
        advice => format!("  try   {advice}\n"),
    }
}

/// Prints one JSON document on stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_string(value).map_err(|e| Refusal::new(Code::Internal, "result as JSON").because(e))?;
    text.push('\n');
    line(&text)
}

/// Prints text on stdout. A closed pipe is not our fault.
pub(crate) fn line(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Refusal::io("stdout", &e)),
        _ => Ok(()),
    }
}

/// Checks as a table: name, outcome, and for what did not hold, code, got and want.
pub(crate) fn checks(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let got = check.got.as_deref().unwrap_or("");
        let (mark, code) = match check.code {
            None => ("ok", String::new()),
            Some(code) => ("NO", format!("  {code}")),
        };
        text.push_str(&format!("  {mark}  {:width$}  {}{code}\n", check.name, shorten(got)));
        if let (Some(_), Some(want)) = (check.code, &check.want) {
            text.push_str(&format!("      {:width$}  want {want}\n", ""));
        }
    }
    text
}

/// Long hex is of no use to a reader's eyes; `--json` has all of it.
fn shorten(text: &str) -> String {
    if text.len() <= 72 || !text.is_ascii() {
        return text.to_owned();
    }
    let head: String = text.chars().take(56).collect();
    format!("{head}… ({} characters)", text.len())
}

/// Columns under a header, as wide as their widest cell.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell_width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|title| title.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(cell_width).collect();
    let mut text = String::new();
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    for row in core::iter::once(&titles).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

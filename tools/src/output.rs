//! How people and scripts are answered: results on stdout, refusals on stderr, advice only here.

use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
pub(crate) use strongroom_wire::time::rfc3339 as utc;
use strongroom_wire::{Check, Code, Fault, Refusal, Result};

/// The JSON document of a refusal.
#[derive(Serialize)]
pub(crate) struct Refused<'a> {
    /// `refused` where something was judged; absent where it did not come to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    code: Code,
    refused: &'a Refusal,
}

impl<'a> Refused<'a> {
    pub(crate) fn new(refusal: &'a Refusal) -> Self {
        let verdict = (refusal.fault() == Fault::Refused).then_some("refused");
        Self { verdict, code: refusal.code, refused: refusal }
    }
}

/// Prints a refusal with its advice on stderr, or as [`Refused`] on stdout, and gives its exit code.
pub(crate) fn report(refusal: &Refusal, as_json: bool) -> ExitCode {
    let code = ExitCode::from(refusal.fault().exit_code());
    if as_json && json(&Refused::new(refusal)).is_ok() {
        return code;
    }
    let mut text = format!("{}: {}\n", refusal.code, refusal.what);
    for (name, value) in [("got ", &refusal.got), ("want", &refusal.want)] {
        if let Some(value) = value {
            text.push_str(&format!("  {name}  {value}\n"));
        }
    }
    text.push_str(&advice(refusal.code));
    note(text.trim_end());
    code
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

/// Prints a line on stderr: what is no result.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told where this fails.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Prints text on stdout. A closed pipe is not our fault.
pub(crate) fn line(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Refusal::io("stdout", &e)),
        _ => Ok(()),
    }
}

/// Checks as a table: outcome, name, what was found and what was wanted. A check that no policy asked for is marked `any`,
/// with the reason; one that did not hold shows everything in full, with its code and one line of advice.
pub(crate) fn checks(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (got, want) = (check.got.as_deref().unwrap_or(""), check.want.as_deref().unwrap_or(""));
        let row = match (check.code, want.strip_prefix("any, because ")) {
            (Some(code), _) => {
                let label = |label: &str, value: &str| format!("\n       {label:>width$}  {value}");
                let mut row = format!(
                    "  NO   {:width$}  {got}{}{}",
                    check.name,
                    label("want", want),
                    label("code", code.as_str())
                );
                if !code.advice().is_empty() {
                    row.push_str(&label("try", code.advice()));
                }
                row
            }
            (None, Some(because)) => format!("  any  {:width$}  {}  ({because})", check.name, shorten(got)),
            (None, None) if want.is_empty() || want == got => format!("  ok   {:width$}  {}", check.name, shorten(got)),
            (None, None) => format!("  ok   {:width$}  {}  want {}", check.name, shorten(got), shorten(want)),
        };
        text.push_str(row.trim_end());
        text.push('\n');
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

/// A number of bytes as people read it.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_show_what_was_wanted_and_advice_for_each_that_did_not_hold() {
        let check = |name: &str, ok, got: &str, want: &str| Check::new(name, ok, Code::TcbTooOld, got, want);
        let made = [
            check("smt", true, "true", "any, because the policy does not ask for it"),
            check("vmpl", true, "0", "0"),
            check("tcb", true, "8", "at least 7"),
            check("launch-tcb", false, "6", "at least 7"),
        ];
        let want = "  any  smt         true  (the policy does not ask for it)\n  \
                      ok   vmpl        0\n  \
                      ok   tcb         8  want at least 7\n  \
                      NO   launch-tcb  6\n             \
                                 want  at least 7\n             \
                                 code  tcb-too-old\n              \
                                  try  update the platform's firmware, or lower the floor knowingly\n";
        assert_eq!(checks(&made), want);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows), "id      n\na       1\nlonger  2\n");
    }
}

//! Everything that can be changed about a model between its producer and who uses it, each change refused with its own code:
//! `docs/tampering.md`, held here. The adversary is the registry: it serves and lists what it likes, keeps old things, and moves
//! signatures from one manifest to another. In some rows it is more: a signer of manifests who errs or lies.

mod changes;
mod rows;
mod stage;

use crate::system::process::Finished;
use crate::system::root;
use rows::{By, Row, rows};
use stage::Stage;
use std::fs;
use std::time::Instant;

impl Row {
    /// Its line in the document.
    fn line(&self) -> String {
        let by = match self.by {
            By::Verify => "verify",
            By::Pull => "pull",
            By::Open => "open",
        };
        format!("| {} | {} | `model {by}` | `{}` |", self.part, self.change, self.code)
    }

    fn run(&self, stage: &Stage) -> Finished {
        let what = (self.tamper)(stage);
        let finished = match self.by {
            By::Verify => stage.verify(&what),
            By::Pull => stage.pull(&what, "out"),
            By::Open => stage.open(&what, "out"),
        };
        stage.registry().faults().clear();
        finished
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a row that was skipped says so")]
fn whatever_is_changed_about_a_model_is_refused_with_its_code_and_leaves_no_file() {
    let stage = Stage::new();
    assert_untouched_accepted(&stage);
    let mut failed = Vec::new();
    for row in rows() {
        let start = Instant::now();
        if row.needs_identity && !stage.has_identity() {
            println!("skipped: {}", row.line());
            continue;
        }
        let finished = row.run(&stage);
        let said = if finished.code == 0 { "accepted".to_owned() } else { finished.refused().to_string() };
        println!("{said:30} {:>5} ms  {}: {}", start.elapsed().as_millis(), row.part, row.change);
        if said != row.code.to_string() {
            failed.push(format!("{said}: {}\n{}{}", row.line(), finished.stdout, finished.stderr));
        }
        for left in ["out", ".out.strongroom-partial"] {
            assert!(!stage.path(left).exists(), "{} left `{left}`", row.line());
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_untouched_accepted(&stage);
}

/// That what the rows change is accepted where nothing is changed.
fn assert_untouched_accepted(stage: &Stage) {
    stage.assert_untouched_accepted();
    stage.open(&changes::sealed(stage, |_| ()), "untouched").ok();
    stage.assert_same("untouched", "three", &["a.bin", "b.bin", "long.bin"]);
}

#[test]
fn table_of_tampering_is_what_is_tried() {
    let document = fs::read_to_string(root().join("docs/tampering.md")).unwrap();
    let lines = document.lines().filter(|line| line.contains("| `model "));
    let tried: Vec<String> = rows().map(Row::line).collect();
    assert_eq!(lines.collect::<Vec<_>>(), tried, "docs/tampering.md should have:\n{}", tried.join("\n"));
}

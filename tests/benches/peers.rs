//! Other verifiers, each a program of `tests/peers/bench` that takes turns with ours.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A running peer and the files that it was given.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    child: Child,
    turns: ChildStdin,
    rates: BufReader<ChildStdout>,
    _files: TempDir,
}

impl Peer {
    /// Starts the peer of that name from `folder` with these files, and lets it take one turn. `None`, with the reason in
    /// the output, where it was not built or refuses the evidence.
    pub(crate) fn start(folder: Option<&Path>, name: &'static str, files: &[&[u8]]) -> Option<Self> {
        let Some(program) = folder.map(|folder| folder.join(name)).filter(|program| program.exists()) else {
            println!("{name} skipped: it was not built, see `make bench`");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let paths: Vec<PathBuf> = (0..files.len()).map(|number| folder.path().join(number.to_string())).collect();
        paths.iter().zip(files).for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let started = Command::new(program).args(&paths).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.inspect_err(|e| println!("{name} skipped: {e}")).ok()?;
        let turns = child.stdin.take().unwrap();
        let rates = BufReader::new(child.stdout.take().unwrap());
        let mut peer = Self { name, child, turns, rates, _files: folder };
        if peer.turn().is_none() {
            println!("{name} skipped: it refuses the evidence, for the reason above");
            return None;
        }
        Some(peer)
    }

    /// Lets it verify for a while: how often a second. `None` where it ended.
    pub(crate) fn turn(&mut self) -> Option<f64> {
        let mut line = String::new();
        self.turns.write_all(b"\n").ok()?;
        self.rates.read_line(&mut line).ok()?;
        line.trim().parse().ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The real programs, started as an operator would start them, around a fake vendor and in a folder of their own.

pub(crate) mod guest;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod world;

use process::Finished;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the workspace, beside the folder of this test's executable.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "`{}` is not built: `cargo build --bins`", path.display());
    path
}

/// Runs `strongroom …` to its end.
pub(crate) fn strongroom(arguments: &[&str]) -> Finished {
    process::run(Command::new(program("strongroom")).args(arguments))
}

/// A path as command-line text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `len` bytes that repeat only after 256 · 251 of them.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7 + 3) ^ (i / 251)) as u8).collect()
}

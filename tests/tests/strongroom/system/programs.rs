//! Where the programs are, and paths as their command lines have them.

use super::process::{Finished, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program of the workspace, beside the folder of this executable.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "`{}` is not built: `cargo build --bins`", path.display());
    path
}

/// Runs `strongroom …` to its end.
pub(crate) fn strongroom(arguments: &[&str]) -> Finished {
    run(Command::new(program("strongroom")).args(arguments))
}

/// A path as command-line text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

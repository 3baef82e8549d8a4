//! What is not ours: implementations by others, models, the inference runtime.

use rustix::process::geteuid;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path in the environment variable `variable`, as `dev/setup/with-env` sets it.
///
/// Where there is none the test says so and ends; but it fails where CI, or somebody else who means it, runs it with the
/// rights to install what is missing.
#[expect(clippy::print_stdout, reason = "a test that was skipped says so")]
pub(crate) fn find(variable: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists()) {
        return Some(path);
    }
    let says = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    let demanded = says("CI", "true") || says("STRONGROOM_REQUIRE_PEERS", "1");
    assert!(!(demanded && geteuid().is_root()), "{variable} names nothing: run `make setup peers`");
    println!("skipped: {variable} names nothing; `make setup peers` brings it");
    None
}

/// A Python counterpart of `tests/peers`, ready to be given its arguments.
pub(crate) fn script(name: &str) -> Option<Command> {
    let mut command = Command::new(find("PEERS_PYTHON")?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name));
    // ONNX Runtime reports to its makers otherwise.
    command.env("ORT_DISABLE_TELEMETRY", "1");
    Some(command)
}

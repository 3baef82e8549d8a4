//! Programs of others, run to their end, and those of the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strongroom_wire::{Code, Refusal, Result};

/// Standard output of a command that has to succeed. What it says on standard error is shown as it comes.
///
/// # Errors
/// `io` it cannot be started, which `package` of Debian would change; `internal` it failed.
pub(crate) fn output(command: &mut Command, package: &str) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| Refusal::io(&name, &e).want(format!("Debian package {package}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Refusal::new(Code::Io, name).got(output.status).want("success; it said above why not"))
}

/// The command line tool that was built beside this program.
///
/// # Errors
/// `io`: there is none.
pub(crate) fn strongroom() -> Result<Command> {
    let own = std::env::current_exe().map_err(|e| Refusal::io("this program", &e))?;
    let beside = own.with_file_name("strongroom");
    if beside.is_file() {
        return Ok(Command::new(beside));
    }
    Err(Refusal::new(Code::Io, beside.display().to_string()).got("absent").want("`cargo build --workspace --bins`"))
}

/// The workspace that this program was built in.
///
/// # Errors
/// `io`: it is not there any more.
pub(crate) fn workspace() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parent = own.parent().unwrap_or(own);
    parent.canonicalize().map_err(|e| Refusal::io(parent.display(), &e))
}

/// A path as text.
///
/// # Errors
/// `usage`: it is none.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Refusal::new(Code::Usage, path.display().to_string()).want("a path of text"))
}

/// A whole file.
///
/// # Errors
/// `io`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Refusal::io(path.display(), &e))
}

/// Writes a whole file.
///
/// # Errors
/// `io`.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| Refusal::io(path.display(), &e))
}

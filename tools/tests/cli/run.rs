//! Running the binary.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// What a run came to.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary, with nobody's container-tool credentials, cache, proxy and password.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.env("DOCKER_CONFIG", "/nonexistent").env_remove("COSIGN_PASSWORD");
    // Where nobody can make a folder.
    command.env("XDG_CACHE_HOME", "/dev/null/none");
    ["http_proxy", "https_proxy", "no_proxy"].into_iter().for_each(|name| {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    });
    command
}

/// Runs `strongroom` to its end.
pub(crate) fn strongroom<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    finished(binary().args(arguments).output().unwrap())
}

pub(crate) fn finished(output: Output) -> Run {
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: `{}` / `{}`", self.stdout, self.stderr))
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Asserts a refusal with this exit code and refusal code, by stderr where no JSON was asked for, else by the document.
    #[track_caller]
    pub(crate) fn refused(self, exit: i32, code: &str) -> Self {
        assert_eq!(self.code, exit, "{}{}", self.stdout, self.stderr);
        if self.stdout.starts_with('{') {
            assert_eq!(self.json()["refused"]["code"], code, "{}", self.stdout);
        } else {
            assert!(self.stderr.lines().any(|line| line.starts_with(&format!("{code}: "))), "{}", self.stderr);
        }
        self
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).unwrap();
    set_mode(path, 0o600);
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

//! Credential helpers: programs that keep passwords for container tools, asked with `docker-credential-<name> get`.

use crate::access::{Credentials, Password};
use core::time::Duration;
use serde::Deserialize;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// What a helper that has nothing says.
const NOT_FOUND: &str = "credentials not found";
/// How often it is looked whether a helper has ended.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: Password,
}

/// What the helper `name` has for `server`; `None` where it has nothing.
pub(super) fn ask(name: &str, server: &str, path: Option<&OsStr>, patience: Duration) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{name}");
    let invalid = || Refusal::new(Code::ConfigurationInvalid, "credential helper").got(&program);
    // A name is a part of a program's name, and never a path.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(invalid().want("letters, digits, `-`, `_`, `.`"));
    }
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut child = command.spawn().map_err(|e| invalid().because(e).want("a program on the PATH"))?;
    let answer = exchange(&mut child, server, patience);
    if answer.is_err() {
        // It has ended by itself, or is ended here.
        let _ended = child.kill();
        let _status = child.wait();
    }
    let (status, answer) = answer.map_err(|refusal| refusal.within(&program))?;
    if !status.success() {
        let words = core::str::from_utf8(&answer).unwrap_or_default().trim();
        if words.contains(NOT_FOUND) {
            return Ok(None);
        }
        // What looks like an answer may hold a secret.
        let words = if words.contains(['{', '"']) { "" } else { words };
        return Err(invalid().because(format!("{status} {words}").trim_end()));
    }
    let parsed: Answer =
        serde_json::from_slice(&answer).map_err(|_| invalid().want("an answer with Username and Secret"))?;
    let Answer { username, secret } = parsed;
    let none = username.is_empty() && secret.expose().is_empty();
    Ok((!none).then_some(Credentials { username, password: secret }))
}

fn exchange(child: &mut Child, server: &str, patience: Duration) -> Result<(ExitStatus, Zeroizing<Vec<u8>>)> {
    let failed = |e: std::io::Error| Refusal::new(Code::ConfigurationInvalid, "credential helper").because(e);
    let late = || Refusal::new(Code::Timeout, "credential helper").want(format!("an answer within {patience:?}"));
    let until = Instant::now() + patience;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()) {
            // It may answer without having asked.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let (sender, answers) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || drop(sender.send(read(stdout))));
    }
    let answer = answers.recv_timeout(patience).map_err(|_| late())?.map_err(failed)?;
    if answer.len() > limits::CREDENTIAL {
        return Err(Refusal::too_large("answer", "more bytes", limits::CREDENTIAL));
    }
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok((status, answer));
        }
        if Instant::now() >= until {
            return Err(late());
        }
        thread::sleep(LOOK);
    }
}

/// One byte more than is accepted, so that a longer answer is seen; one allocation, so that no copy is left behind.
fn read(stdout: ChildStdout) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let most = limits::CREDENTIAL.saturating_add(1);
    let mut answer = Zeroizing::new(Vec::with_capacity(most));
    stdout.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn helper_that_does_not_end_given_up_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-slow");
        let noted = folder.path().join("pid");
        let script = format!("#!/bin/sh\necho $$ > {}\nexec sleep 60\n", noted.display());
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
        let path = std::env::join_paths([folder.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
        let refusal = ask("slow", "r:1", Some(&path), Duration::from_millis(500)).unwrap_err();
        assert_eq!(refusal.code, Code::Timeout);
        let pid = std::fs::read_to_string(noted).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }
}

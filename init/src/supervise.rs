//! The enclave's process, watched until its end.

use crate::{confine, console, power};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use strongroom_wire::{Refusal, Result};

/// Starts the enclave, reaps whatever ends, and says how the enclave ended.
///
/// # Errors
/// `io`: it cannot be started, or not be waited for.
pub fn run() -> Result<String> {
    let io = |e: std::io::Error| Refusal::io("/proc/self/exe", &e);
    let mut command = Command::new("/proc/self/exe");
    command.arg0("strongroom-init").arg(confine::ARGUMENT).env_clear().envs(confine::ENVIRONMENT);
    command.stdin(Stdio::null()).stdout(console::writer()?).stderr(console::writer()?);
    let child = command.spawn().map_err(io)?;
    // Its ends of the pipe to the console are the child's alone now.
    drop(command);
    let enclave = Pid::from_child(&child);
    power::watch_button(enclave);
    loop {
        let ended = wait(WaitOptions::empty()).map_err(|e| io(e.into()))?;
        if let Some((_, status)) = ended.filter(|(pid, _)| *pid == enclave) {
            return Ok(told(status));
        }
    }
}

/// Ends whatever else runs, so that nobody holds the console any more.
pub fn end_others() {
    // kill(2) takes -1, the negative of this process's own number, for every process but this one.
    let _ = kill_process_group(Pid::INIT, Signal::KILL);
}

fn told(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

//! Child processes whose standard error is kept, line by line, and can be waited on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_wire::{Code, Refusal, Result};

/// The children that run now, by process id.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Stops every child, and removes `folder`, when this process is told to stop: nobody else would. Ends the process.
pub(crate) fn clean_up_on_signal(folder: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
    std::thread::spawn(move || {
        runtime.block_on(async { strongroom_transport::shutdown_signal().await });
        for id in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            terminate(*id);
        }
        let _ = std::fs::remove_dir_all(&folder);
        std::process::exit(0);
    });
    Ok(())
}

fn terminate(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// A running child; it is told to stop and waited for when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
}

/// What a command that ended by itself left.
pub(crate) struct Finished {
    /// Its exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    /// All of its standard output.
    pub(crate) stdout: String,
    /// All of its standard error.
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Result<Finished> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|e| Refusal::io(program.display(), &e))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok(Finished { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

impl Process {
    /// Starts a service.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[&str]) -> Result<Self> {
        let io = |e: std::io::Error| Refusal::io(program.display(), &e);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(io)?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        let stderr = child.stderr.take().ok_or_else(|| Refusal::new(Code::Internal, "standard error"))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, lines) = channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(core::result::Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                // Nobody listens any more once the process is up; the log is kept all the same.
                let _ = sender.send(line);
            }
        });
        Ok(Self { name: name.to_owned(), child, lines, log })
    }

    /// Waits for a line that `pick` makes something of. Ends early, with the log, where the process does.
    pub(crate) fn wait_for<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = pick(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.failed(Code::Timeout, what)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failed(Code::Internal, what)),
            }
        }
    }

    /// Waits for `listening on ADDR` after `prefix`.
    pub(crate) fn address(&mut self, prefix: &str) -> Result<String> {
        let marker = format!("{prefix}listening on ");
        self.wait_for(&marker, |line| line.strip_prefix(&marker).map(|rest| rest.trim().to_owned()))
    }

    fn failed(&self, code: Code, what: &str) -> Refusal {
        Refusal::new(code, format!("{} did not say `{what}`", self.name)).got(self.log())
    }

    /// Everything it has said.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().map_err(|e| Refusal::io(&self.name, &e));
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child.id());
        status
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if self.child.try_wait().ok().flatten().is_none() {
            terminate(self.child.id());
        }
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

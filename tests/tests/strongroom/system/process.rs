//! Child processes: commands that end by themselves, and services whose log is kept.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_wire::Code;

/// Longer than any service takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Finished {
    /// That it exited 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON document on its standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }

    /// The code of a command of ours that refused, having exited as that code demands.
    #[track_caller]
    pub(crate) fn refused(&self) -> Code {
        let (out, err) = (&self.stdout, &self.stderr);
        let in_json = |line: &str| {
            let document: Value = serde_json::from_str(line).ok()?;
            let stated = [&document["refused"]["code"], &document["code"]].into_iter().find_map(Value::as_str);
            Code::parse(stated?)
        };
        let in_words = |line: &str| line.split_once(": ").and_then(|(code, _)| Code::parse(code));
        let code = out.lines().chain(err.lines()).find_map(|line| in_json(line).or_else(|| in_words(line)));
        let code = code.unwrap_or_else(|| panic!("no refusal: {out}{err}"));
        assert_eq!(self.code, i32::from(code.fault().exit_code()), "{out}{err}");
        code
    }
}

/// A service. It is stopped and waited for when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it; what it says on standard error is kept.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (log, (sender, lines)) = (Arc::<Mutex<String>>::default(), channel());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
                // Once the service is up nobody waits for lines any more.
                drop(sender.send(line));
            }
        });
        Self { child, lines, log }
    }

    /// Waits for a line of which `pick` makes something.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, pick: impl Fn(&str) -> Option<T>) -> T {
        self.wait_within(PATIENCE, pick)
    }

    /// The same of a service that takes longer.
    #[track_caller]
    pub(crate) fn wait_within<T>(&self, patience: Duration, pick: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|e| panic!("{e}; the log:\n{}", self.log()));
            if let Some(found) = pick(&line) {
                return found;
            }
        }
    }

    /// The address in `<prefix>listening on ADDR`.
    #[track_caller]
    pub(crate) fn address(&self, prefix: &str) -> String {
        let marker = format!("{prefix}listening on ");
        self.wait_for(|line| line.strip_prefix(&marker).map(str::to_owned))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a signal, and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}

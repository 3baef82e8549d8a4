//! What this program does as a child of itself, by what it is told on its command line.

use crate::{bare, echo, load, streams};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A child's part.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Runs a model in a loop, as often as it is told to.
    Bare,
    /// Answers every request alike.
    Echo,
    /// Asks, and says how long answers took.
    Load,
    /// Has text generated, and says when it came.
    Streams,
}

impl Role {
    pub(crate) fn of_this_process() -> Option<Self> {
        match std::env::args().nth(1)?.as_str() {
            "role-bare" => Some(Self::Bare),
            "role-echo" => Some(Self::Echo),
            "role-load" => Some(Self::Load),
            "role-streams" => Some(Self::Streams),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "role-bare",
            Self::Echo => "role-echo",
            Self::Load => "role-load",
            Self::Streams => "role-streams",
        }
    }

    pub(crate) fn play(self) {
        let given: Vec<String> = std::env::args().skip(2).collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        match self {
            Self::Bare => bare::play(&given),
            Self::Echo => echo::play(&given),
            Self::Load => load::play(&given),
            Self::Streams => streams::play(&given),
        }
    }
}

/// A child that is told and tells by lines.
pub(crate) struct Player {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Player {
    pub(crate) fn start(role: Role, given: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(role.name()).args(given).stdin(Stdio::piped()).stdout(Stdio::piped());
        // ONNX Runtime reports to its makers otherwise.
        let mut child = command.env("ORT_DISABLE_TELEMETRY", "1").spawn().unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.from.read_line(&mut line).unwrap() > 0, "a child ended before its time");
        line
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // All roles end with their input.
        self.to = None;
        self.child.wait().unwrap();
    }
}

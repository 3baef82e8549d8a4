//! What the process refuses to leave behind: no panic message with data in it, no log of others, nothing by its environment.

use crate::config::LogLevel;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use strongroom_wire::{Code, Refusal, Result};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Makes the environment that of [`CLEAN`] alone, by starting this program anew in its place where it is not: the host's
/// environment decides nothing in a guest, and ONNX Runtime decides by it whether to keep and send usage data.
///
/// # Errors
/// `io` the program could not be started anew.
pub fn clean_environment() -> Result<()> {
    if std::env::vars_os().eq(CLEAN.map(|(name, value)| (name.into(), value.into()))) {
        return Ok(());
    }
    let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).env_clear().envs(CLEAN).exec();
    Err(Refusal::io("/proc/self/exe", &error))
}

/// All of the environment, sorted.
pub const CLEAN: [(&str, &str); 2] = [
    // glibc's: threads share what they freed. Each of many would keep the memory of the largest request that it ever had.
    ("MALLOC_ARENA_MAX", "2"),
    // ONNX Runtime's own switch. Its API's switch takes effect only after the first event was written to a file.
    ("ORT_DISABLE_TELEMETRY", "1"),
];

/// Makes panics say where they were and nothing else: their messages may quote what was being worked on.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        // Nothing is left to tell where standard error is closed.
        drop(writeln!(std::io::stderr(), r#"{{"panic":{{"at":"{place}"}}}}"#));
    }));
}

/// Logs as JSON lines on standard error. Only Strongroom's own crates are heard: what a dependency would log was not written
/// with prompts in mind.
///
/// # Errors
/// `internal` the process logs already.
pub fn start_log(level: LogLevel) -> Result<()> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(Targets::new().with_target("strongroom", level))
        .with(lines)
        .try_init()
        .map_err(|e| Refusal::new(Code::Internal, "log").because(e))
}

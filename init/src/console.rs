//! Lines on the guest's console, which the host reads. They hold nothing that it may not know.
//!
//! A host that takes no characters from the console must not stop anything: all lines, the enclave's too, go through a pipe that
//! drops what it has no room for, and one thread waits for the console.

use core::time::Duration;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::time::{ClockId, clock_gettime};
use std::io::{PipeWriter, Write as _, pipe};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use strongroom_wire::{Refusal, Result};

/// How long the last lines are waited for before the machine is switched off.
const PATIENCE: Duration = Duration::from_secs(2);

static PIPE: Mutex<Option<(PipeWriter, Receiver<()>)>> = Mutex::new(None);

/// From now on nothing that is said waits for the console.
///
/// # Errors
/// `io`.
pub fn start() -> Result<()> {
    let io = |e: std::io::Error| Refusal::io("console", &e);
    let (mut reader, writer) = pipe().map_err(io)?;
    fcntl_setfl(&writer, OFlags::NONBLOCK).map_err(|e| io(e.into()))?;
    let (ended, end) = channel();
    std::thread::spawn(move || {
        drop(std::io::copy(&mut reader, &mut std::io::stderr()));
        let _ = ended.send(());
    });
    *PIPE.lock().unwrap_or_else(PoisonError::into_inner) = Some((writer, end));
    Ok(())
}

/// An end of the pipe for another process.
///
/// # Errors
/// `io`: there is none.
pub fn writer() -> Result<PipeWriter> {
    let io = |e: std::io::Error| Refusal::io("console", &e);
    let pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    let (writer, _) = pipe.as_ref().ok_or_else(|| io(std::io::ErrorKind::NotConnected.into()))?;
    writer.try_clone().map_err(io)
}

/// Waits until the console has what was said, or for as long as a host may make it wait.
pub fn finish() {
    let pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((writer, end)) = pipe {
        drop(writer);
        let _ = end.recv_timeout(PATIENCE);
    }
}

/// `strongroom-init 12.345 what: how`, in seconds since the kernel started.
pub fn say(what: &str, how: &str) {
    let since = clock_gettime(ClockId::Boottime);
    let line = format!("strongroom-init {}.{:03} {what}: {how}\n", since.tv_sec, since.tv_nsec / 1_000_000);
    match PIPE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        // A line that finds no room is lost.
        Some((writer, _)) => drop(writer.write_all(line.as_bytes())),
        None => drop(std::io::stderr().write_all(line.as_bytes())),
    }
}

/// What ends the boot.
pub fn refused(refusal: &Refusal) {
    say("refused", &refusal.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_that_nobody_takes_is_lost_and_holds_up_nobody() {
        let (_silent, writer) = pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        *PIPE.lock().unwrap() = Some((writer, channel().1));
        // A pipe holds 64 KiB.
        for _ in 0..2_000 {
            say("test", &"x".repeat(100));
        }
        let mut full = super::writer().unwrap();
        assert_eq!(full.write(&[b'x'; 4096]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        finish();
    }
}

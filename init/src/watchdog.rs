//! A watchdog of the machine's, where it has one: it ends a guest whose enclave no longer gets to do anything.
//!
//! It is the host's device and guards nothing from the host, who can end a guest at any time; it ends one that hangs where nobody looks.

use crate::console::say;
use core::time::Duration;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use strongroom_wire::{Refusal, Result};

/// The first watchdog. QEMU's i6300esb ends the machine half a minute after it was last fed.
const DEVICE: &str = "/dev/watchdog";
/// Where the enclave's configuration says that its heartbeats go.
const HEARTBEATS: &str = "/run/heartbeat";
/// How long one is waited for: the enclave sends two in this time, and the watchdog waits for two of these.
const PATIENCE: Duration = Duration::from_secs(12);

/// Feeds the watchdog from now on, as long as the enclave is well, and says whether there is one.
///
/// # Errors
/// `io`: nobody could be listened to.
pub(crate) fn start() -> Result<&'static str> {
    let heartbeats = UnixDatagram::bind(HEARTBEATS);
    let heartbeats = heartbeats.and_then(|socket| socket.set_read_timeout(Some(PATIENCE)).map(|()| socket));
    let heartbeats = heartbeats.map_err(|e| Refusal::io(HEARTBEATS, &e))?;
    let Ok(device) = OpenOptions::new().write(true).open(Path::new(DEVICE)) else { return Ok("none") };
    std::thread::spawn(move || {
        let mut pulse = Pulse::default();
        loop {
            feed(&heartbeats, &mut pulse, &device);
        }
    });
    Ok("fed while the enclave is well")
}

/// Whether a heartbeat was ever heard. Before the first the enclave is starting, whose process is watched by other means.
#[derive(Default)]
struct Pulse {
    heard: bool,
}

/// Waits for one heartbeat, and feeds the watchdog where it came.
fn feed(heartbeats: &UnixDatagram, pulse: &mut Pulse, mut watchdog: impl Write) {
    match heartbeats.recv(&mut [0; 32]) {
        Ok(_) => pulse.heard = true,
        Err(_) if pulse.heard => return say("watchdog", "the enclave is silent"),
        Err(_) => {}
    }
    // A device that does not take it ends the machine, as it is there for.
    let _ = watchdog.write_all(b"\0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_is_fed_at_each_heartbeat_and_before_the_first_and_not_when_they_cease() {
        let (enclave, heartbeats) = UnixDatagram::pair().unwrap();
        heartbeats.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (mut pulse, mut meals) = (Pulse::default(), Vec::new());
        feed(&heartbeats, &mut pulse, &mut meals);
        assert_eq!(meals.len(), 1, "the enclave is starting");
        for _ in 0..2 {
            enclave.send(b"WATCHDOG=1").unwrap();
            feed(&heartbeats, &mut pulse, &mut meals);
        }
        assert_eq!(meals.len(), 3);
        feed(&heartbeats, &mut pulse, &mut meals);
        assert_eq!(meals.len(), 3, "it was well, and is silent");
        enclave.send(b"WATCHDOG=1").unwrap();
        feed(&heartbeats, &mut pulse, &mut meals);
        assert_eq!(meals.len(), 4);
    }
}

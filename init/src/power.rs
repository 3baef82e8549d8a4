//! The end of the machine, and the button by which its host asks for it.

use rustix::fs::sync;
use rustix::process::{Pid, Signal, kill_process};
use rustix::system::{RebootCommand, reboot};
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

/// Where the kernel reports the ACPI power button, the only input device of a guest without a keyboard.
const BUTTON: &str = "/dev/input/event0";
/// `struct input_event` of 64-bit Linux: two 8-byte times, then type, code and value.
const EVENT: usize = 24;
/// `EV_KEY`, `KEY_POWER` and "pressed" of `linux/input-event-codes.h`, little-endian as x86 has them.
const POWER_PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];

/// Switches the machine off. Where that does not happen the process ends, and the kernel panics, which `panic=-1` makes an end too.
pub fn off() -> ExitCode {
    sync();
    match reboot(RebootCommand::PowerOff) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::console::say("power off", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Sends SIGTERM to `enclave` each time the button is pressed. A machine without one is ended by its host alone.
pub(crate) fn watch_button(enclave: Pid) {
    let Ok(button) = File::open(BUTTON) else { return };
    std::thread::spawn(move || {
        on_press(button, || {
            crate::console::say("power button", "pressed; the enclave drains");
            // It may have ended by itself.
            let _ = kill_process(enclave, Signal::TERM);
        });
    });
}

fn on_press(mut events: impl Read, mut pressed: impl FnMut()) {
    let mut event = [0; EVENT];
    while events.read_exact(&mut event).is_ok() {
        if event.ends_with(&POWER_PRESSED) {
            pressed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn press_of_the_power_button_is_told_from_its_release_and_from_other_keys() {
        let event = |code: u8, value: u8| [&[7; 16][..], &[1, 0, code, 0, value, 0, 0, 0]].concat();
        let mut presses = 0;
        on_press(&[event(30, 1), event(116, 1), event(116, 0)].concat()[..], || presses += 1);
        assert_eq!(presses, 1);
    }
}

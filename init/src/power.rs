//! The end of the machine, and the button by which its host asks for it.

use rustix::fs::sync;
use rustix::process::{Pid, Signal, kill_process};
use rustix::system::{RebootCommand, reboot};
use std::ffi::OsString;
use std::fs::{DirEntry, File};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Where the kernel names its input devices, each in `device/name`, and what it calls the ACPI power button.
const DEVICES: &str = "/sys/class/input";
const BUTTON: &str = "Power Button";
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
    let Some(button) = button(Path::new(DEVICES)) else { return };
    let Ok(button) = File::open(Path::new("/dev/input").join(button)) else { return };
    std::thread::spawn(move || {
        on_press(button, || {
            crate::console::say("power button", "pressed; the enclave drains");
            // It may have ended by itself.
            let _ = kill_process(enclave, Signal::TERM);
        });
    });
}

/// The name of the button's device.
fn button(devices: &Path) -> Option<OsString> {
    let entries = std::fs::read_dir(devices).ok()?.filter_map(Result::ok);
    let mut events = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("event"));
    let is_button = |entry: &DirEntry| {
        std::fs::read_to_string(entry.path().join("device/name")).is_ok_and(|name| name.trim() == BUTTON)
    };
    events.find(is_button).map(|entry| entry.file_name())
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
    fn button_is_found_by_its_name_beside_a_keyboard() {
        let folder = tempfile::tempdir().unwrap();
        let device = |event: &str, name: &str| {
            std::fs::create_dir_all(folder.path().join(event).join("device")).unwrap();
            std::fs::write(folder.path().join(event).join("device/name"), name).unwrap();
        };
        device("event0", "AT Translated Set 2 keyboard\n");
        assert_eq!(button(folder.path()), None);
        device("event1", "Power Button\n");
        assert_eq!(button(folder.path()).unwrap(), "event1");
    }

    #[test]
    fn press_of_the_power_button_is_told_from_its_release_and_from_other_keys() {
        let event = |code: u8, value: u8| [&[7; 16][..], &[1, 0, code, 0, value, 0, 0, 0]].concat();
        let mut presses = 0;
        on_press(&[event(30, 1), event(116, 1), event(116, 0)].concat()[..], || presses += 1);
        assert_eq!(presses, 1);
    }
}

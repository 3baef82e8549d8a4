//! Lines on the guest's console, which the host reads. They hold nothing that it may not know.

use rustix::time::{ClockId, clock_gettime};
use std::io::Write as _;
use strongroom_wire::Refusal;

/// `strongroom-init 12.345 what: how`, in seconds since the kernel started.
pub fn say(what: &str, how: &str) {
    let since = clock_gettime(ClockId::Boottime);
    let milliseconds = since.tv_nsec / 1_000_000;
    // A console that takes nothing does not stop the guest.
    drop(writeln!(std::io::stderr(), "strongroom-init {}.{milliseconds:03} {what}: {how}", since.tv_sec));
}

/// What ends the boot.
pub fn refused(refusal: &Refusal) {
    say("refused", &refusal.to_string());
}

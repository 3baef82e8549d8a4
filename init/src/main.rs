//! `strongroom-init`: process 1 of the guest, and, under the name `confine`, the last step before `strongroom-enclave`.

use std::process::ExitCode;
use strongroom_init::{boot, confine, console, power};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == confine::ARGUMENT) {
        let refusal = confine::become_the_enclave();
        console::refused(&refusal);
        return ExitCode::from(refusal.fault().exit_code());
    }
    if std::process::id() != 1 {
        console::say("start", "the first process of a guest, and of nothing else");
        return ExitCode::from(2);
    }
    if let Err(refusal) = console::start().and_then(|()| boot::boot()) {
        console::refused(&refusal);
    }
    console::finish();
    power::off()
}

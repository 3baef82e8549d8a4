//! `strongroom-init`: process 1 of the guest, and, under the names `confine`, `dhcp` and `metadata`, the last step before
//! `strongroom-enclave`, the process that speaks DHCP and the one that asks a cloud for the deployment document.

use std::process::ExitCode;
use strongroom_init::network::renewer;
use strongroom_init::{boot, confine, console, metadata, power, supervise};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let refusal = match arguments.next().as_deref() {
        Some(confine::ARGUMENT) => Some(confine::become_the_enclave()),
        Some(renewer::ARGUMENT) => Some(renewer::become_the_renewer(arguments.next().as_deref())),
        Some(metadata::ARGUMENT) => match metadata::become_the_asker(arguments.next().as_deref()) {
            None => return ExitCode::SUCCESS,
            refusal => refusal,
        },
        _ => None,
    };
    if let Some(refusal) = refusal {
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
    supervise::end_others();
    console::finish();
    power::off()
}

//! The boot recipe.

use crate::cloud::Cloud;
use crate::console::say;
use crate::{clock, document, entropy, modules, mounts, network, supervise, watchdog};
use strongroom_wire::Result;

/// From the kernel's first process to an enclave that runs, and to its end:
///
/// 1. *mounts*: the kernel's own file systems and memory; no disk;
/// 2. *modules*: those of the image, in a fixed order;
/// 3. *entropy*: the processor gives random numbers, before any key is made;
/// 4. *clock*: the host's time is later than the image, or it is not known at all;
/// 5. *network*: one interface, by DHCP or as the measured command line says;
/// 6. *document*: what the host hands over, or the cloud that the command line names, for the enclave to compare with the hardware's field;
/// 7. *close*: no module, namespace, trace or other kernel any more, and nothing in the image's tree can be written;
/// 8. *enclave*: as a user without rights, under a filter of system calls, until it ends or the host presses the power button. A
///    watchdog, where the machine has one, ends a machine in which it hangs.
///
/// # Errors
/// The refusal of the step that failed. Whoever is told ends the machine.
pub fn boot() -> Result<()> {
    // 1.
    mounts::mount()?;
    say("mounts", "proc, sys, dev, run, shm");

    // 2.
    let command_line = mounts::command_line()?;
    let cloud = Cloud::of_command_line(&command_line)?;
    say("modules", &modules::load(cloud)?);
    mounts::mount_configfs()?;

    // 3.
    say("entropy", entropy::ready()?);

    // 4.
    say("clock", &clock::plausible()?);

    // 5.
    say("network", &network::start(&command_line)?);

    // 6.
    say("document", &document::deliver(cloud)?);

    // Before it closes: where heartbeats go is a name in /run.
    say("watchdog", watchdog::start()?);

    // 7.
    mounts::close()?;
    say("close", "read-only, no more modules");

    // 8.
    say("enclave", "starts");
    say("enclave", &supervise::run()?);
    Ok(())
}

//! What parses bytes from outside is a process of its own that gave up every right which it does not need: `strongroom-enclave`, as the
//! last step before it, the process that speaks DHCP, and the one that asks a cloud's metadata service.

mod calls;

pub(crate) use calls::only_what_a_socket_needs;

use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use strongroom_wire::{Code, Refusal, Result};

/// The argument by which process 1 starts itself anew for this.
pub const ARGUMENT: &str = "confine";
/// The enclave's user, which nobody else is.
pub const USER: u32 = 1000;
/// Its group.
pub const GROUP: u32 = 1000;
/// User and group of the processes that speak DHCP and with a metadata service.
const OUTSIDER: u32 = 1001;
/// All of its environment: what it would make it by itself, so that it does not have to.
pub const ENVIRONMENT: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "2"), ("ORT_DISABLE_TELEMETRY", "1")];

const PROGRAM: &str = "/usr/bin/strongroom-enclave";
const CONFIGURATION: &str = "/etc/strongroom/enclave.toml";

/// The one capability that is left. configfs gives the files of a request to root with rights for root alone, so that whoever
/// asks the security processor must be able to pass over them. What else it opens is `/dev`; the other file systems are read-only by then.
const KEPT: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// Becomes the enclave, or says why not.
pub fn become_the_enclave() -> Refusal {
    if let Err(refusal) = give_up(USER, GROUP, KEPT).and_then(|()| calls::only_what_the_enclave_needs()) {
        return refusal;
    }
    let error = Command::new(PROGRAM).args(["--config", CONFIGURATION]).env_clear().envs(ENVIRONMENT).exec();
    Refusal::io(PROGRAM, &error)
}

/// This process has no rights from now on, and no calls but those that exchange packets over a socket which it has.
///
/// # Errors
/// `internal`.
pub(crate) fn become_an_outsider() -> Result<()> {
    give_up(OUTSIDER, OUTSIDER, CapabilitySet::empty()).and_then(|()| only_what_a_socket_needs())
}

/// No cores, no root, no capability but those that are kept, and no way to more.
fn give_up(user: u32, group: u32, kept: CapabilitySet) -> Result<()> {
    let failed = |e: rustix::io::Errno| Refusal::new(Code::Internal, "rights of a process").because(e);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(failed)?;
    set_no_new_privs(true).map_err(failed)?;

    let others = CapabilitySet::all().difference(kept);
    for capability in others.iter() {
        // A kernel knows fewer than the list does.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability).map_err(failed)?;
        }
    }
    set_keep_capabilities(true).map_err(failed)?;
    set_thread_groups(&[]).map_err(failed)?;
    let (group, user) = (Gid::from_raw(group), Uid::from_raw(user));
    set_thread_res_gid(group, group, group).map_err(failed)?;
    set_thread_res_uid(user, user, user).map_err(failed)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).map_err(failed)?;
    kept.iter().try_for_each(|one| configure_capability_in_ambient_set(one, true).map_err(failed))
}

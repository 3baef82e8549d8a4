//! What a service sees to before the first secret is in its memory: that the memory is in no core dump, no debugger's sight and on
//! no disk. It is here because every service begins with this crate.

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use strongroom_wire::{Code, Refusal, Result};

/// Forbids core dumps and tracing by other processes of the same user (`PR_SET_DUMPABLE`, `RLIMIT_CORE`).
///
/// # Errors
/// `io` the kernel does not comply.
pub fn forbid_dumps() -> Result<()> {
    let failed = |error: Errno| Refusal::new(Code::Io, "forbidding core dumps").because(error);
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)
}

/// Keeps all memory of the process, now and later, from being swapped to a disk (`mlockall(2)`), page by page as it is used.
///
/// Where its amount is limited (`RLIMIT_MEMLOCK`, without `CAP_IPC_LOCK`) nothing is locked: what went beyond the limit later on
/// would not be refused to be locked, but refused.
///
/// # Errors
/// `memory-unlocked`: it is limited, or the kernel does not comply.
pub fn lock_memory() -> Result<()> {
    let refused = || Refusal::new(Code::MemoryUnlocked, "memory of the process");
    let may_raise = Rlimit { current: None, maximum: None };
    if getrlimit(Resource::Memlock) != may_raise && setrlimit(Resource::Memlock, may_raise).is_err() && !has_ipc_lock()
    {
        let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
        return Err(refused().got(format!("RLIMIT_MEMLOCK of {limit} bytes")).want("no limit, or CAP_IPC_LOCK"));
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|error| refused().because(error))
}

/// Whether no limit is asked about (`CAP_IPC_LOCK`, capabilities(7)).
fn has_ipc_lock() -> bool {
    const IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|bits| bits >> IPC_LOCK & 1 == 1)
}

//! The system calls that a confined process makes, and no others: what is not here fails with EPERM, as it would without the right to
//! it.
//!
//! The enclave's are those of Rust's standard library, of tokio, of glibc's resolver and dynamic loader, and of ONNX Runtime's thread
//! pools. What is missing and would be missed by an attacker: mounts, modules, namespaces, tracing, keys, BPF, `io_uring`, other
//! processes' memory, user and group ids, clocks and packet sockets.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use strongroom_wire::{Code, Refusal, Result};

const FILES: [i64; 34] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_getdents64,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_fchmod,
];
const MEMORY: [i64; 10] = [
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlockall,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
];
const NETWORK: [i64; 16] = [
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_ioctl,
];
const WAITING: [i64; 16] = [
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
];
const PROCESS: [i64; 35] = [
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_arch_prctl,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_umask,
];

/// Sockets of these families alone: Unix, IPv4, and netlink, which glibc asks for addresses before it resolves a name.
const FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_NETLINK];

/// Threads, and no namespaces (`CLONE_NEW…` of `linux/sched.h`).
const NAMESPACES: u64 = 0x7e02_0000;
/// Files in memory, and none that can be run (`MFD_EXEC` of `linux/memfd.h`). The kernel is told too that this is what is meant where
/// nothing is said (`vm.memfd_noexec`).
const RUNNABLE: u64 = 0x10;

/// What a process calls that sends and takes what goes over a socket which it was given, writes lines, and sleeps.
const SOCKET: [i64; 24] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_setsockopt,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_poll,
    libc::SYS_futex,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the calling thread, and what it becomes, under the enclave's filter. Nothing takes it off again.
///
/// # Errors
/// `internal`: the kernel has no filters, or the list is none.
pub(super) fn only_what_the_enclave_needs() -> Result<()> {
    // What `clone3` is asked for stands in memory, where no filter looks: it is said not to be there, and glibc takes `clone`.
    let clone3 = [(libc::SYS_clone3, Vec::new())].into();
    put(SeccompFilter::new(clone3, SeccompAction::Allow, errno(libc::ENOSYS), TargetArch::x86_64))?;
    put(of_the_enclave().and_then(allowing))
}

/// The same for the processes that speak DHCP, or with a metadata service.
///
/// # Errors
/// The same.
pub(crate) fn only_what_a_socket_needs() -> Result<()> {
    put(allowing(SOCKET.map(|call| (call, Vec::new())).into()))
}

type Compiled<T> = core::result::Result<T, seccompiler::BackendError>;

fn put(filter: Compiled<SeccompFilter>) -> Result<()> {
    let failed = |e: &dyn core::fmt::Display| Refusal::new(Code::Internal, "filter of system calls").because(e);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|e| failed(&e))?;
    apply_filter(&program).map_err(|e| failed(&e))
}

/// These calls, and no others.
fn allowing(rules: Rules) -> Compiled<SeccompFilter> {
    SeccompFilter::new(rules, errno(libc::EPERM), SeccompAction::Allow, TargetArch::x86_64)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn of_the_enclave() -> Compiled<Rules> {
    let calls = [&FILES[..], &MEMORY, &NETWORK, &WAITING, &PROCESS].concat();
    // The filter in front of this one has an answer for it.
    let mut rules: Rules = calls.into_iter().chain([libc::SYS_clone3]).map(|call| (call, Vec::new())).collect();
    let families = FAMILIES.map(|family| rule(0, SeccompCmpOp::Eq, family.unsigned_abs().into()));
    rules.insert(libc::SYS_socket, families.into_iter().collect::<Compiled<_>>()?);
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?]);
    rules.insert(libc::SYS_memfd_create, vec![rule(1, SeccompCmpOp::MaskedEq(RUNNABLE), 0)?]);
    Ok(rules)
}

/// That an argument, the first being number 0, is as it is said here, in its lower half.
fn rule(argument: u8, how: SeccompCmpOp, value: u64) -> Compiled<SeccompRule> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, inotify, memfd_create};
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};

    /// What `act` comes to in a thread under the filter, which the others do not get.
    fn filtered<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(|| {
            only_what_the_enclave_needs().unwrap();
            act()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn call_that_the_enclave_makes_passes_and_one_that_it_does_not_fails() {
        let file = filtered(|| std::fs::read("/proc/self/status").map(|status| status.is_empty()).ok());
        assert_eq!(file, Some(false));
        let watch = || inotify::init(inotify::CreateFlags::CLOEXEC).map(drop);
        assert_eq!(watch(), Ok(()), "it is a call that the kernel has");
        assert_eq!(filtered(watch), Err(Errno::PERM));
    }

    #[test]
    fn thread_and_file_in_memory_pass_and_file_that_can_be_run_fails() {
        assert!(filtered(|| std::thread::spawn(|| 7).join().unwrap()) == 7);
        let memory = |flags| filtered(move || memfd_create(c"test", flags).map(drop));
        assert_eq!(memory(MemfdFlags::CLOEXEC), Ok(()));
        assert_eq!(memory(MemfdFlags::EXEC), Err(Errno::PERM));
    }

    #[test]
    fn process_that_speaks_dhcp_exchanges_packets_and_opens_no_file() {
        let (mut sent, mut opened) = (None, None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                let own = socket.local_addr().unwrap();
                only_what_a_socket_needs().unwrap();
                let taken = socket.send_to(b"packet", own).and_then(|_| socket.recv_from(&mut [0; 16]));
                sent = taken.map(|(length, _)| length).ok();
                opened = std::fs::File::open("/proc/self/status").err().and_then(|e| e.raw_os_error());
            });
        });
        assert_eq!((sent, opened), (Some(6), Some(libc::EPERM)));
    }

    #[test]
    fn process_that_asks_a_metadata_service_exchanges_bytes_and_connects_nowhere() {
        let outcome = std::thread::spawn(|| {
            use std::io::{Read as _, Write as _};
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let mut own = std::net::TcpStream::connect(address).unwrap();
            let (mut other, _) = listener.accept().unwrap();
            only_what_a_socket_needs().unwrap();
            own.set_read_timeout(Some(core::time::Duration::from_secs(5))).unwrap();
            let mut taken = [0; 4];
            let exchanged = other.write_all(b"data").and_then(|()| own.read_exact(&mut taken)).is_ok();
            (exchanged, std::net::TcpStream::connect(address).map(drop).map_err(|e| e.raw_os_error()))
        });
        assert_eq!(outcome.join().unwrap(), (true, Err(Some(libc::EPERM))));
    }

    #[test]
    fn socket_of_a_family_that_the_enclave_has_passes_and_of_another_fails() {
        let open = |family| filtered(move || socket(family, SocketType::DGRAM, None).map(drop));
        assert_eq!(open(AddressFamily::INET), Ok(()));
        let crypto = AddressFamily::from_raw(38);
        assert_eq!(open(crypto), Err(Errno::PERM));
        assert_ne!(socket(crypto, SocketType::DGRAM, None).map(drop), Err(Errno::PERM));
    }
}

//! Seccomp: the system calls that a running server makes. All others end the process.
//!
//! The list was measured with strace during HTTP, joins and a stop, on Debian's glibc, and extended
//! by what tokio, mio, quinn-udp, the allocator, thread starts and a panic may call in other
//! versions. The tests of whole servers run with it: media, restarts, SIGHUP, a rotated
//! certificate, a full disk, limits, browsers. Powerful calls (memory protection, thread creation,
//! socket options, signals) are allowed only with the arguments in use.
//!
//! Why it ends the process instead of returning an error: an error would leave an intruder running,
//! and would bring a library that never met one there into an untested state. This server is built
//! to be restarted; its supervisor sees SIGSYS (systemd: `status=31/SYS`, a shell: `Bad system
//! call`), the kernel's audit log has the number of the call, and browsers are back within a
//! second.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::{Report, SandboxError};

/// Calls that are allowed with any arguments.
const PLAIN: &[i64] = &[
    // Files that are open, and the vault's (Landlock decides which can be opened).
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    // Sockets that are open. No socket, connect, bind or listen.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // Memory. mmap and mprotect are below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads and signals of this process. clone is below.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_membarrier,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Harmless queries. The kernel is asked for the time where the vDSO cannot answer.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // The backtrace of a panic.
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
];

/// Older names of the same calls, which glibc still uses where they exist.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// Commands of fcntl. None of them reaches another process.
const FILE_COMMANDS: &[i32] = &[
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_DUPFD_CLOEXEC,
];

/// Confines all threads of this process. `connects`: TCP connections can be made, to the ports that
/// Landlock allows.
pub(super) fn confine(connects: bool, report: &mut Report) -> Result<(), SandboxError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        report.lacking(format!(
            "the filter of system calls: none is known for {}",
            std::env::consts::ARCH
        ));
        return Ok(());
    };
    let programs = programs(arch, connects).map_err(|e| SandboxError::Seccomp(e.to_string()))?;
    for program in &programs {
        match seccompiler::apply_filter_all_threads(program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(e))
                if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
            {
                report.lacking("the filter of system calls: this kernel has no seccomp");
                return Ok(());
            }
            Err(e) => return Err(SandboxError::Seccomp(e.to_string())),
        }
    }
    report.held("only known system calls (seccomp)");
    Ok(())
}

/// The filters; where they differ, the kernel applies the stricter result.
pub(super) fn programs(arch: TargetArch, connects: bool) -> Result<[BpfProgram; 2], BackendError> {
    // The flags of clone3 are in memory, which no filter can read. If clone3 is reported as
    // missing, the C library uses clone.
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, vec![])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        arch,
    )?;
    let known = SeccompFilter::new(
        allowed(connects)?,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )?;
    Ok([no_clone3.try_into()?, known.try_into()?])
}

fn allowed(connects: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = PLAIN
        .iter()
        .chain(OLDER)
        .map(|&call| (call, vec![]))
        .collect();
    let mut when = |call, rules: Result<Vec<SeccompRule>, BackendError>| {
        calls.insert(call, rules?);
        Ok::<(), BackendError>(())
    };
    // The other filter decides.
    when(libc::SYS_clone3, Ok(vec![]))?;
    // Threads, but no processes.
    when(
        libc::SYS_clone,
        Ok(vec![rule(&[has(0, libc::CLONE_THREAD)?])?]),
    )?;
    // Memory never becomes executable.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        when(call, Ok(vec![rule(&[has_not(2, libc::PROT_EXEC)?])?]))?;
    }
    // Names of threads.
    when(
        libc::SYS_prctl,
        Ok(vec![rule(&[is(0, libc::PR_SET_NAME)?])?]),
    )?;
    // Limits of this process can be read (pthread_getattr_np, when a thread starts), never set.
    when(libc::SYS_prlimit64, Ok(vec![rule(&[is(0, 0)?, null(2)?])?]))?;
    // abort(): signals to this process only.
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    when(libc::SYS_tgkill, Ok(vec![rule(&[is(0, pid)?])?]))?;
    // Descriptors' flags.
    when(
        libc::SYS_fcntl,
        FILE_COMMANDS
            .iter()
            .map(|&command| rule(&[is(1, command)?]))
            .collect(),
    )?;
    when(
        libc::SYS_ioctl,
        Ok(vec![rule(&[request(1, libc::FIONBIO)?])?]),
    )?;
    if connects {
        let family = |family| rule(&[is(0, family)?, stream(1)?]);
        when(
            libc::SYS_socket,
            [libc::AF_INET, libc::AF_INET6]
                .into_iter()
                .map(family)
                .collect(),
        )?;
        when(libc::SYS_connect, Ok(vec![]))?;
    }
    // For connections.
    let nodelay = rule(&[is(1, libc::IPPROTO_TCP)?, is(2, libc::TCP_NODELAY)?])?;
    when(libc::SYS_setsockopt, Ok(vec![nodelay]))?;
    Ok(calls)
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

/// The argument, an `int`, has this value.
fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    request(argument, value.cast_unsigned().into())
}

/// The argument's lower 32 bits, all that the kernel looks at, have this value.
fn request(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// The argument, the type of a socket, is that of a stream, whatever flags it has.
fn stream(argument: u8) -> Result<SeccompCondition, BackendError> {
    // The flags are above the lowest four bits (socket(2), SOCK_TYPE_MASK).
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(0xf),
        libc::SOCK_STREAM.unsigned_abs().into(),
    )
}

/// The argument is a null pointer.
fn null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

/// The argument has this flag among others.
fn has(argument: u8, flag: i32) -> Result<SeccompCondition, BackendError> {
    let flag = flag.cast_unsigned().into();
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(flag),
        flag,
    )
}

/// The argument does not have this flag.
fn has_not(argument: u8, flag: i32) -> Result<SeccompCondition, BackendError> {
    let flag = flag.cast_unsigned().into();
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(flag),
        0,
    )
}

//! Properties of the process itself.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Report, SandboxError};

/// No core dump, by two means: a limit, which does not apply to dumps that are piped into a program
/// (core(5)), and the dumpable flag, which does, and which also closes `/proc/PID/mem` and
/// ptrace(2) to other processes of the same user (proc(5)).
pub(super) fn no_core_dumps(report: &mut Report) {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    match rustix::process::setrlimit(Resource::Core, none) {
        Ok(()) => report.held("no core dumps"),
        Err(e) => report.lacking(format!("a core dump limit of 0 ({e})")),
    }
    match rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        Ok(()) => report.held("memory closed to other processes"),
        Err(e) => report.lacking(format!("memory closed to other processes ({e})")),
    }
}

/// A set-user-ID program started by this process would run as this process's user.
pub(super) fn no_new_privileges(report: &mut Report) {
    match rustix::thread::set_no_new_privs(true) {
        Ok(()) => report.held("no new privileges"),
        Err(e) => report.lacking(format!("no new privileges ({e})")),
    }
}

/// New files are for their owner only, whatever mode was requested.
pub(super) fn own_files_only() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Keeps all memory, now and later, out of swap, unless a limit could make a later allocation fail.
pub(super) fn lock_memory(report: &mut Report) {
    // Root may raise the limit, and then needs no capability for locked memory.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = rustix::process::setrlimit(Resource::Memlock, unlimited);
    if let Some(bytes) = memlock_limit()
        && !may_lock_beyond_limit()
    {
        // With a limit, an allocation beyond it fails, and would end the server.
        let limit = format!(
            "locked memory: its limit is {} KiB and must be infinite (ulimit -l unlimited, \
             LimitMEMLOCK=infinity)",
            bytes / 1024
        );
        match has_swap() {
            Some(false) => report.held("no swap on this system"),
            Some(true) => report.lacking(format!(
                "{limit}; this system has swap, which session keys may reach"
            )),
            None => report.lacking(format!("{limit}; session keys may reach swap")),
        }
        return;
    }
    // On fault: memory that is reserved but unused (thread stacks) stays unused.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match rustix::mm::mlockall(all) {
        Ok(()) => report.held("memory locked"),
        Err(e) => report.lacking(format!("locked memory ({e})")),
    }
}

/// How much memory may be locked; `None` for no limit.
fn memlock_limit() -> Option<u64> {
    rustix::process::getrlimit(Resource::Memlock).current
}

fn may_lock_beyond_limit() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// Whether any swap is in use; `None` if that cannot be told.
fn has_swap() -> Option<bool> {
    let swaps = std::fs::read_to_string("/proc/swaps").ok()?;
    Some(swaps.lines().count() > 1)
}

/// Gives up all capabilities of this thread and of those that it will start. The vault and the
/// sockets are open; root's right to override file modes and the like would only help an intruder.
/// The right to lock memory is kept where allocations need it.
pub(super) fn give_up_capabilities(report: &mut Report) -> Result<(), SandboxError> {
    let left = if memlock_limit().is_some() && may_lock_beyond_limit() {
        CapabilitySet::IPC_LOCK
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: left,
        permitted: left,
        inheritable: CapabilitySet::empty(),
    };
    match rustix::thread::set_capabilities(None, sets) {
        Ok(()) if left.is_empty() => report.held("no capabilities"),
        Ok(()) => report.held("no capabilities but CAP_IPC_LOCK"),
        Err(Errno::NOSYS) => report.lacking("capabilities given up (this kernel has none)"),
        Err(e) => return Err(SandboxError::Capabilities(e.into())),
    }
    Ok(())
}

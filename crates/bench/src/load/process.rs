//! What a process has used, as reported by the kernel (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use serde::Serialize;

/// CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    /// User and system time together, from the scheduler, to the nanosecond.
    pub all: Duration,
    /// The part outside the kernel. The kernel rounds it to 10 ms, and samples the shares.
    pub user: Duration,
    /// The part inside the kernel.
    pub system: Duration,
}

impl Cpu {
    fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// The share that was spent outside the kernel.
    pub(crate) fn user_share(&self) -> f64 {
        let both = self.user + self.system;
        if both.is_zero() {
            return 0.0;
        }
        self.user.div_duration_f64(both)
    }
}

impl std::ops::AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.user += other.user;
        self.system += other.system;
    }
}

/// CPU time of all threads that run, by their ids, with their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads(BTreeMap<u32, (String, Cpu)>);

/// The use of all threads of one name.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ThreadUse {
    pub name: String,
    /// How many have this name.
    pub threads: usize,
    /// Cores that they kept busy.
    pub cores: f64,
    /// The share of CPU time outside the kernel.
    pub user_share: f64,
}

impl Threads {
    /// The threads of a process, up to now.
    pub(crate) fn of(process: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{process}/task"));
        let each = threads.into_iter().flatten().flatten();
        let read = each.filter_map(|thread| {
            let id = thread.file_name().to_str()?.parse().ok()?;
            Some((id, thread_use(&thread.path())?))
        });
        Self(read.collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Their use since `before`, in total. Threads that have ended are not included.
    pub(crate) fn since(&self, before: &Self) -> Cpu {
        let mut sum = Cpu::default();
        for (id, (_, now)) in &self.0 {
            let old = before.0.get(id).map(|(_, cpu)| *cpu).unwrap_or_default();
            sum += now.since(old);
        }
        sum
    }

    /// The same by name, the busiest first.
    pub(crate) fn by_name(&self, before: &Self, time: Duration) -> Vec<ThreadUse> {
        let mut names: BTreeMap<&str, (usize, Cpu)> = BTreeMap::new();
        for (id, (name, now)) in &self.0 {
            let old = before.0.get(id).map(|(_, cpu)| *cpu).unwrap_or_default();
            let (threads, sum) = names.entry(name).or_default();
            *threads += 1;
            *sum += now.since(old);
        }
        let each = names.into_iter().map(|(name, (threads, cpu))| ThreadUse {
            name: name.to_owned(),
            threads,
            cores: cpu.all.div_duration_f64(time),
            user_share: cpu.user_share(),
        });
        let mut uses: Vec<ThreadUse> = each.collect();
        uses.sort_by(|a, b| b.cores.total_cmp(&a.cores));
        uses
    }
}

fn thread_use(folder: &Path) -> Option<(String, Cpu)> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let ran = read("schedstat")?;
    let stat = read("stat")?;
    // The name is in parentheses, and may contain some.
    let (front, rest) = stat.rsplit_once(')')?;
    let name = front.split_once('(')?.1;
    // From the third field on; the fourteenth and fifteenth are wanted.
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || {
        let ticks: f64 = fields.next()?.parse().ok()?;
        Some(Duration::from_secs_f64(
            ticks / clock_ticks_per_second() as f64,
        ))
    };
    let (user, system) = (ticks()?, ticks()?);
    let all = ran.split_ascii_whitespace().next()?.parse().ok()?;
    let cpu = Cpu {
        all: Duration::from_nanos(all),
        user,
        system,
    };
    Some((name.to_owned(), cpu))
}

/// Resident memory of a process, in bytes; 0 where the system does not report it.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Datagrams to these UDP ports of this machine that found no room, for all their sockets.
pub(crate) fn dropped(ports: &[u16]) -> u64 {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(fs::read_to_string);
    let tables: String = tables.into_iter().map(Result::unwrap_or_default).collect();
    let drops = tables.lines().filter_map(|line| {
        let local = line.split_ascii_whitespace().nth(1)?;
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let drops = line.split_ascii_whitespace().last()?.parse::<u64>().ok()?;
        ports.contains(&port).then_some(drops)
    });
    drops.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_computes_is_told_under_its_name() {
        let own = std::process::id();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (ready, readied) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("of (my) own".into())
            .spawn(move || {
                let mut sum = 0_u64;
                let mut told = false;
                while stopped.try_recv().is_err() {
                    sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
                    if !std::mem::replace(&mut told, true) {
                        let _ = ready.send(());
                    }
                }
            })
            .expect("a thread");
        readied.recv().expect("it runs");
        let before = Threads::of(own);
        let busy = |uses: Vec<ThreadUse>| uses.into_iter().find(|one| one.name == "of (my) own");
        let found = (0..2000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            let uses = Threads::of(own).by_name(&before, Duration::from_secs(1));
            busy(uses).filter(|one| one.cores > 0.05)
        });
        stop.send(()).expect("it listens");
        thread.join().expect("it ends");
        assert_eq!(found.expect("it computes").threads, 1);
        assert!(resident(own) > 1 << 20);
    }

    #[test]
    fn what_a_full_socket_drops_is_counted() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to = socket.local_addr().expect("an address");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert_eq!(dropped(&[to.port()]), 0);
        for _ in 0..4000 {
            sender.send_to(&[0; 1200], to).expect("sent");
        }
        assert!(dropped(&[to.port()]) > 0);
    }
}

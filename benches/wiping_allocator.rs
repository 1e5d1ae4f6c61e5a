//! What it costs the media path that freed memory is overwritten: one publisher, 100 viewers, in
//! memory. The same core takes the same kind of packets in turns with and without the wiping
//! allocator; what counts is the CPU time of this thread, and the ratio of neighbours.
//!
//!     cargo bench --bench wiping_allocator

#[path = "../tests/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rekindle::sdp::Kind;
use support::{Id, World, ms};
use zeroizing_alloc::ZeroAlloc;

static WIPES: AtomicBool = AtomicBool::new(false);

/// The allocator of `src/main.rs`, or the system's own, whichever is asked for.
struct Either;

static WIPING: ZeroAlloc<System> = ZeroAlloc(System);

// SAFETY: both hand every call on to the system's allocator, so what one has allocated the other
// may free.
unsafe impl GlobalAlloc for Either {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if WIPES.load(Ordering::Relaxed) {
            unsafe { WIPING.realloc(pointer, layout, size) }
        } else {
            unsafe { System.realloc(pointer, layout, size) }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if WIPES.load(Ordering::Relaxed) {
            unsafe { WIPING.dealloc(pointer, layout) }
        } else {
            unsafe { System.dealloc(pointer, layout) }
        }
    }
}

#[global_allocator]
static ALLOCATOR: Either = Either;

const VIEWERS: usize = 100;
const PAIRS: usize = 40;
/// Media of one turn: 140 packets a second.
const TURN: u64 = 3000;

/// CPU time of this thread so far, in nanoseconds (proc(5), schedstat).
fn cpu() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("proc is mounted");
    stat.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number")
}

/// What the publisher sends in the time of one turn.
fn packets(world: &mut World, publisher: Id) -> Vec<(std::time::Instant, Bytes)> {
    let mut packets = Vec::new();
    for _ in 0..TURN {
        world.now += ms(1);
        let now = world.now;
        let client = world.client_mut(publisher);
        client.handle_timeout(now);
        packets.extend(client.outgoing().into_iter().map(|packet| (now, packet)));
    }
    packets
}

/// CPU time of a packet and all that goes out for it, in nanoseconds.
fn turn(world: &mut World, publisher: Id, wipes: bool) -> f64 {
    let packets = packets(world, publisher);
    let address = world.client(publisher).address;
    let mut out = Vec::new();
    let mut sent = 0;
    WIPES.store(wipes, Ordering::Relaxed);
    let begin = cpu();
    for (now, packet) in &packets {
        world.server().handle(*now, address, packet, &mut out);
        world.server().handle_timeout(*now, &mut out);
        sent += out.len();
        out.clear();
    }
    let took = cpu() - begin;
    WIPES.store(false, Ordering::Relaxed);
    assert!(
        sent > packets.len() * (VIEWERS - 10),
        "{sent} packets went out for {}",
        packets.len()
    );
    took as f64 / packets.len() as f64
}

fn main() {
    let (mut world, publisher, viewers) = World::broadcast(1, VIEWERS, None);
    assert!(world.got(viewers[0], publisher, Kind::Video) > 10);
    // Nobody may be thought gone while only the publisher is simulated.
    let mut ratios = Vec::new();
    let (mut plain, mut wiping) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        // In turns first and second.
        let (a, b) = if pair % 2 == 0 {
            let a = turn(&mut world, publisher, false);
            (a, turn(&mut world, publisher, true))
        } else {
            let b = turn(&mut world, publisher, true);
            (turn(&mut world, publisher, false), b)
        };
        // The first pair warms up.
        if pair > 0 {
            plain.push(a);
            wiping.push(b);
            ratios.push(b / a);
        }
        keep_consent(&mut world);
    }
    let median = |list: &mut Vec<f64>| {
        list.sort_by(f64::total_cmp);
        list[list.len() / 2]
    };
    println!("one packet to {VIEWERS} viewers, median of {PAIRS} turns:");
    println!("  without wiping {:8.1} us", median(&mut plain) / 1000.0);
    println!("  with wiping    {:8.1} us", median(&mut wiping) / 1000.0);
    println!(
        "  ratio          {:8.3} (quartiles {:.3} and {:.3})",
        median(&mut ratios),
        ratios[PAIRS / 4],
        ratios[PAIRS * 3 / 4]
    );
}

/// Every browser has a check answered, which are not simulated otherwise.
fn keep_consent(world: &mut World) {
    for id in world.all() {
        let pwd = world.client(id).session.credentials.server_pwd.clone();
        let check = world.client_mut(id).forged_check(&pwd);
        let address = world.client(id).address;
        world.attack(address, &check);
    }
}

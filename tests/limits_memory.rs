//! What a peer costs in memory (of Rust's heap; the cryptography library's own is not counted), and
//! that none of what it can send makes it cost much more.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use support::{Certificate, Id, Random, World, ms};

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts the bytes that are allocated.
struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; the counter touches none of
// the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Other tests' allocations would be counted too.
static ALONE: Mutex<()> = Mutex::new(());

const KIB: usize = 1024;

fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// A broadcast whose network is quiet, so that what is measured is the server's.
fn quiet(seed: u64, viewers: usize) -> (World, Id, Vec<Id>) {
    let (mut world, publisher, viewers) = World::broadcast(seed, viewers, None);
    // Handshakes that are complete stay for some seconds.
    world.client_mut(publisher).sender_mut().camera.running = false;
    world.run(ms(7000));
    (world, publisher, viewers)
}

/// How much more memory the server has after this.
fn growth(world: &mut World, attack: impl FnOnce(&mut World)) -> usize {
    let before = live();
    attack(world);
    live().saturating_sub(before)
}

#[test]
fn a_connected_viewer_costs_some_kilobytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut world, _, viewers) = quiet(700, 20);
    let ufrags: Vec<_> = viewers.iter().map(|id| world.ufrag(*id)).collect();
    let (now, before) = (world.now, live());
    for ufrag in &ufrags {
        assert!(world.server().leave(now, ufrag));
    }
    let each = (before - live()) / ufrags.len();
    println!("a connected viewer: {each} bytes");
    assert!((KIB..16 * KIB).contains(&each), "{each}");
}

#[test]
fn a_handshake_under_way_costs_less_than_what_the_limit_reckons_with() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut world, _, viewers) = quiet(701, 20);
    let stranger = Certificate::new();
    let now = world.now;
    let hellos: Vec<_> = viewers
        .iter()
        .map(|id| {
            (
                world.client(*id).address,
                world.client_mut(*id).client_hello(&stranger, now),
            )
        })
        .collect();
    let grown = growth(&mut world, |world| {
        for (address, hello) in &hellos {
            hello
                .iter()
                .for_each(|datagram| drop(world.attack(*address, datagram)));
        }
    });
    let each = grown / hellos.len();
    println!("a handshake under way: {each} bytes");
    assert!((KIB..48 * KIB).contains(&each), "{each}");
    // They end, and take nothing with them.
    drop(hellos);
    let (before, _) = (live(), world.run(ms(12_000)));
    let freed = before.saturating_sub(live());
    assert!(
        freed + 64 * KIB > grown,
        "{freed} of {grown} bytes were freed"
    );
}

#[test]
fn nothing_a_peer_sends_makes_it_cost_much_more() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut world, _, viewers) = quiet(702, 1);
    let address = world.client(viewers[0]).address;
    let mut random = Random::new(703);
    let pwd = world
        .client(viewers[0])
        .session
        .credentials
        .server_pwd
        .clone();

    // SRTP and SRTCP of ever new senders, all of it false.
    let grown = growth(&mut world, |world| {
        for n in 0..20_000_u32 {
            let mut packet = [
                0x80,
                96 + 104 * (n % 2) as u8,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                8,
            ]
            .to_vec();
            packet[4..12].copy_from_slice(&random.bytes::<8>());
            packet.extend(random.bytes::<64>());
            world.attack(address, &packet);
        }
    });
    println!("false media: {grown} bytes");
    assert!(grown < 256 * KIB, "{grown}");

    // DTLS: later fragments, records of no handshake, and one handshake after the other.
    let stranger = Certificate::new();
    let grown = growth(&mut world, |world| {
        for _ in 0..500 {
            let now = world.now;
            for mut datagram in world.client_mut(viewers[0]).client_hello(&stranger, now) {
                let mut rest = datagram.to_vec();
                rest[19..22].copy_from_slice(&[0, 4, 0]);
                world.attack(address, &rest);
                world.attack(address, &datagram);
                datagram.truncate(40);
                world.attack(address, &datagram);
            }
            world.attack(
                address,
                &[&[23, 0xfe, 0xfd, 0, 1][..], &random.bytes::<200>()].concat(),
            );
        }
    });
    println!("handshakes: {grown} bytes");
    assert!(grown < 512 * KIB, "{grown}");

    // Authentic checks from ever new addresses.
    let grown = growth(&mut world, |world| {
        for port in 1..20_000_u16 {
            let check = world.client_mut(viewers[0]).forged_check(&pwd);
            world.attack(([192, 0, 2, 77], port).into(), &check);
        }
    });
    println!("addresses: {grown} bytes");
    assert!(grown < 64 * KIB, "{grown}");
}

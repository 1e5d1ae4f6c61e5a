//! Freed memory holds nothing: the allocator of the program, searched from inside through
//! /proc/self/mem.

use std::alloc::System;
use std::fs::File;
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use zeroizing_alloc::ZeroAlloc;

/// The same as in `src/main.rs`.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Length of what is searched for. The first 16 bytes of a freed block may be the allocator's own.
const NEEDLE: usize = 32;

/// Other tests' buffers would hold copies of what they searched.
static ALONE: Mutex<()> = Mutex::new(());

/// The bytes of a pattern that is nowhere in the program: they are made when they are needed.
fn bytes(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = black_box(seed) | 1;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    })
}

fn fill(seed: u64, buffer: &mut [u8]) {
    buffer
        .iter_mut()
        .zip(bytes(seed))
        .for_each(|(to, byte)| *to = byte);
}

/// How often the beginning of a pattern, and its middle, are in this process's writable memory.
fn count(seed: u64, length: usize) -> usize {
    let part = |from| bytes(seed).skip(from).take(NEEDLE).collect::<Vec<u8>>();
    let needles = [part(0), part(length / 2)];
    let mut window = vec![0; 1 << 16];
    let own = [range(&needles[0]), range(&needles[1]), range(&window)];
    let memory = File::open("/proc/self/mem").expect("own memory");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
    let mut found = 0;
    for line in maps.lines() {
        let mut words = line.split(' ');
        let (bounds, access) = (words.next().expect("bounds"), words.next().expect("access"));
        if !access.starts_with("rw") {
            continue;
        }
        let (start, end) = bounds.split_once('-').expect("two bounds");
        let [mut at, end] =
            [start, end].map(|text| usize::from_str_radix(text, 16).expect("hexadecimal"));
        while at < end {
            let room = window.len().min(end - at);
            if memory
                .read_exact_at(&mut window[..room], at as u64)
                .is_err()
            {
                break;
            }
            for needle in &needles {
                found += places(&window[..room], needle)
                    .filter(|place| !own.iter().any(|r| r.contains(&(at + place))))
                    .count();
            }
            // Windows overlap, so that nothing hides at a border. What lies there is counted twice,
            // which is no less than once.
            at += if at + room < end { room - NEEDLE } else { room };
        }
    }
    found
}

fn places<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let starts = haystack
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == needle[0]);
    starts
        .map(|(place, _)| place)
        .filter(|&place| haystack[place..].starts_with(needle))
}

#[allow(
    clippy::ptr_arg,
    reason = "the whole buffer counts, not only what is in use"
)]
fn range(buffer: &Vec<u8>) -> Range<usize> {
    let start = buffer.as_ptr().addr();
    start..start + buffer.capacity()
}

#[test]
fn a_freed_buffer_is_gone_from_memory_and_a_live_one_is_found() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (seed, length) in [(1, 64), (2, 1200), (3, 100_000), (4, 1 << 20)] {
        let mut secret = vec![0; length];
        fill(seed, &mut secret);
        assert!(
            count(seed, length) >= 2,
            "the search finds what is there: {length}"
        );
        drop(black_box(secret));
        assert_eq!(
            count(seed, length),
            0,
            "{length} bytes are still there after they were freed"
        );
    }
}

#[test]
fn a_buffer_that_grows_leaves_no_copy_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut secret = vec![0; 64];
    fill(10, &mut secret);
    // Blocks behind each buffer, so that it cannot grow where it is.
    let mut fence = Vec::new();
    for length in [128, 1024, 20_000, 300_000, 3_000_000] {
        fence.push(vec![1_u8; 100]);
        secret.reserve_exact(length);
        black_box(&mut secret);
    }
    // Its beginning and its middle, in the one place where they belong.
    assert_eq!(count(10, 64), 2);
    secret.truncate(64);
    secret.shrink_to_fit();
    assert_eq!(count(10, 64), 2);
    drop(secret);
    assert_eq!(count(10, 64), 0);
    drop(fence);
}

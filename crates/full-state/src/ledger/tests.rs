//! The arithmetic of ceilings.

use std::time::{Duration, Instant};

use super::{Sent, Verdict, Window};
use crate::record::SentCounter;

fn used(sent: &mut Sent, sequence: u16) -> Option<u64> {
    match sent.judge(sequence) {
        Verdict::Use(index) => Some(index),
        _ => None,
    }
}

fn write(sent: &mut Sent, now: Instant, first: bool) -> SentCounter {
    sent.reserve(now, 7, first)
}

#[test]
fn keys_that_are_nowhere_on_disk_may_be_used_freely() {
    let mut sent = Sent::new(0, false);
    assert_eq!(used(&mut sent, 65_530), Some(65_530));
    assert_eq!(used(&mut sent, 3), Some(0x1_0003), "across the wrap");
    assert_eq!(used(&mut sent, 65_531), Some(65_531), "and back");
    assert!(!sent.is_low());
}

#[test]
fn nothing_at_or_above_the_ceiling_is_used_before_a_higher_one_is_durable() {
    let now = Instant::now();
    let mut sent = Sent::new(0, false);
    used(&mut sent, 100);
    let first = write(&mut sent, now, true);
    assert_eq!(first.ceiling, 101 + 64);
    // Already while it is being written: it may be on the disk.
    assert_eq!(used(&mut sent, 164), Some(164));
    assert_eq!(sent.judge(165), Verdict::Wait);
    sent.reserved(true);
    assert_eq!(sent.judge(165), Verdict::Wait);
    assert!(sent.is_low());
    let second = write(&mut sent, now, false);
    assert!(second.ceiling > 166);
    assert!(!sent.is_low(), "it is on its way");
    assert_eq!(
        sent.judge(165),
        Verdict::Wait,
        "the lower one may be what is on the disk"
    );
    sent.reserved(false);
    assert_eq!(
        sent.judge(165),
        Verdict::Wait,
        "it was not written, or nobody knows"
    );
    write(&mut sent, now, false);
    sent.reserved(true);
    assert_eq!(used(&mut sent, 165), Some(165));
}

#[test]
fn a_stream_that_begins_under_reserved_keys_waits_for_its_counter() {
    let now = Instant::now();
    let mut sent = Sent::new(512, true);
    assert_eq!(sent.judge(5), Verdict::Wait);
    assert!(sent.is_new() && sent.is_low());
    assert_eq!(write(&mut sent, now, false).ceiling, 6 + 512);
    assert_eq!(sent.judge(5), Verdict::Wait);
    sent.reserved(true);
    assert_eq!(used(&mut sent, 5), Some(5));
}

#[test]
fn a_new_process_goes_on_at_the_ceiling_and_never_below() {
    let now = Instant::now();
    let left = SentCounter {
        ssrc: 7,
        last: Some(0x1_FFF0),
        ceiling: 0x2_0010,
        ahead: 0,
    };
    let mut raised = left.clone();
    raised.raise();
    assert_eq!(
        raised, left,
        "a publisher's stream is where the publisher is"
    );
    let mut sent = Sent::resumed(&left, &raised);
    for spent in [0xFFF0, 0xFFFF, 0x0000, 0x000F] {
        assert_eq!(sent.judge(spent), Verdict::Spent);
    }
    assert_eq!(sent.judge(0x10), Verdict::Wait, "the next ceiling first");
    write(&mut sent, now, false);
    sent.reserved(true);
    assert_eq!(used(&mut sent, 0x10), Some(0x2_0010));
    assert_eq!(sent.judge(0x0F), Verdict::Spent);
}

#[test]
fn the_servers_own_numbers_start_at_the_ceiling_at_once() {
    let left = SentCounter {
        ssrc: 7,
        last: None,
        ceiling: 65_530,
        ahead: 512,
    };
    let mut raised = left.clone();
    raised.raise();
    let mut sent = Sent::resumed(&left, &raised);
    let start = sent.start().expect("a place");
    assert_eq!(start, 65_530);
    for n in 0..512 {
        assert_eq!(
            used(&mut sent, start.wrapping_add(n)),
            Some(65_530 + u64::from(n))
        );
    }
    assert_eq!(sent.judge(start.wrapping_add(512)), Verdict::Wait);
    assert_eq!(Sent::new(512, true).start(), None);
}

#[test]
fn kills_in_quick_succession_do_not_drive_the_ceiling_away() {
    let now = Instant::now();
    let mut counter = SentCounter {
        ssrc: 7,
        last: Some(1000),
        ceiling: 1500,
        ahead: 0,
    };
    for place in (1000..3000_u16).step_by(20) {
        let mut sent = Sent::resumed(&counter.clone(), &counter);
        sent.judge(place);
        counter = write(&mut sent, now, false);
        assert!(
            counter.ceiling <= u64::from(place) + 1 + 500,
            "at {place}: {counter:?}"
        );
    }
}

#[test]
fn what_a_stream_uses_in_half_a_second_is_reserved_ahead() {
    let start = Instant::now();
    let mut sent = Sent::new(0, false);
    used(&mut sent, 0);
    write(&mut sent, start, true);
    sent.reserved(true);
    for sequence in 0..300 {
        used(&mut sent, sequence);
    }
    let counter = write(&mut sent, start + Duration::from_secs(1), false);
    assert_eq!(counter.ceiling, 300 + 149);
    sent.reserved(true);
    let counter = write(&mut sent, start + Duration::from_secs(60), false);
    assert_eq!(counter.ceiling, 300 + 149, "a ceiling never sinks");
}

#[test]
fn a_step_that_no_receiver_would_follow_ends_the_stream() {
    let left = SentCounter {
        ssrc: 7,
        last: Some(1000),
        ceiling: 0x7000,
        ahead: 0,
    };
    let mut sent = Sent::resumed(&left, &left);
    assert_eq!(sent.judge(1000 + 0x7000), Verdict::Lost);
}

#[test]
fn a_window_takes_each_index_once_and_nothing_older_than_itself() {
    let mut window = Window::new(5000);
    assert!(!window.is_new(5000));
    for index in [5010, 5005, 4990] {
        assert!(window.is_new(index));
        window.take(index);
        assert!(!window.is_new(index));
    }
    assert!(window.is_new(5006) && !window.is_new(5010 - 2048) && window.is_new(5010 - 2047));
    window.take(5010 + 2048);
    assert!(window.is_new(5011) && window.is_new(5010 + 2047) && !window.is_new(5010));
    window.take(100_000);
    assert!(window.is_new(99_000) && !window.is_new(90_000));
}

#[test]
fn a_window_of_an_earlier_process_refuses_all_up_to_what_it_had_seen() {
    let mut window = Window::resumed(0x1_0005);
    assert!(
        (0..=0x1_0005)
            .rev()
            .take(5000)
            .all(|index| !window.is_new(index))
    );
    assert_eq!(window.index(0xFFFF), Some(0xFFFF));
    assert_eq!(window.index(0x0006), Some(0x1_0006));
    window.take(0x1_0008);
    assert!(window.is_new(0x1_0006) && window.is_new(0x1_0007));
}

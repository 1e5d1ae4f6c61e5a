//! Several jobs out at once, in any order, late or never.

use std::time::Duration;

use rekindle_ids::Role;

use super::*;
use crate::broadcast::tests::world::{CHANNEL, World};
use crate::broadcast::{Config, Event};

/// A publisher with keys, and so many viewers who have sent their checks.
fn crowd(viewers: usize) -> (World, Vec<usize>) {
    crowd_of(World::new(), viewers)
}

fn crowd_of(mut world: World, viewers: usize) -> (World, Vec<usize>) {
    world.connected(Role::Publisher);
    let viewers = (0..viewers).map(|_| waiting(&mut world, Role::Viewer));
    let viewers = viewers.collect();
    (world, viewers)
}

/// A peer that has sent its check, and no ClientHello.
fn waiting(world: &mut World, role: Role) -> usize {
    let id = world.browser(role);
    let ufrag = world.browsers[id].ufrag();
    let now = world.now;
    let channel = match role {
        Role::Viewer => CHANNEL.to_owned(),
        // One of its own.
        Role::Publisher => format!("{CHANNEL}{id}"),
    };
    world
        .core
        .reserve(now, role, &channel, &ufrag)
        .expect("room");
    let mut join = world.browsers[id].join.clone();
    join.channel = channel;
    world.core.join(now, join).expect("room");
    world.check(id);
    id
}

/// Its ClientHello is at the server.
fn hello(world: &mut World, id: usize) {
    world.browsers[id].start_dtls(world.now);
    speak(world, id);
}

/// What its DTLS wants to send is at the server, and nobody's turn comes.
fn speak(world: &mut World, id: usize) {
    let from = world.browsers[id].address;
    let mut out = Vec::new();
    for datagram in world.browsers[id].poll() {
        world.core.handle(world.now, from, &datagram, &mut out);
    }
    assert_eq!(out, [], "nothing is answered before its turn");
}

fn jobs(world: &mut World) -> Vec<Job> {
    std::iter::from_fn(|| world.core.poll_job(world.now)).collect()
}

/// Gives a job back, and hands what it has to send to the browsers. Their answers wait.
fn give_back(world: &mut World, job: Job) {
    let mut out = Vec::new();
    world.core.job_done(world.now, job.run(), &mut out);
    for transmit in out {
        let browser = world
            .browsers
            .iter_mut()
            .find(|browser| browser.address == transmit.to);
        browser
            .expect("it is a browser's")
            .receive(world.now, &transmit.data);
    }
}

/// What browsers have to say, jobs and answers, until nobody has anything to say. `order` has the
/// jobs of each round in the order in which they come back.
fn go_on(world: &mut World, ids: &[usize], order: impl Fn(&mut Vec<Job>)) {
    loop {
        ids.iter().for_each(|id| speak(world, *id));
        let mut jobs = jobs(world);
        if jobs.is_empty() {
            return;
        }
        order(&mut jobs);
        jobs.into_iter().for_each(|job| give_back(world, job));
    }
}

fn is_connected(world: &World, id: usize) -> bool {
    let id = world.core.by_ufrag[world.browsers[id].ufrag().as_str()];
    world.core.members[id].peer.is_connected()
}

#[test]
fn a_job_can_go_to_another_thread() {
    fn goes<T: Send + 'static>() {}
    goes::<Job>();
    goes::<Finished>();
}

#[test]
fn jobs_come_back_in_any_order_from_any_thread() {
    let (mut world, viewers) = crowd(8);
    viewers.iter().for_each(|id| hello(&mut world, *id));
    let mut jobs = jobs(&mut world);
    assert_eq!(jobs.len(), 8, "all are out at once");
    jobs.reverse();
    let threads = jobs
        .into_iter()
        .map(|job| std::thread::spawn(move || job.run()));
    let threads: Vec<_> = threads.collect();
    for thread in threads {
        let finished = thread.join().expect("done");
        let mut out = Vec::new();
        world.core.job_done(world.now, finished, &mut out);
        for transmit in out {
            let browser = world
                .browsers
                .iter_mut()
                .find(|browser| browser.address == transmit.to);
            browser
                .expect("a viewer's")
                .receive(world.now, &transmit.data);
        }
    }
    go_on(&mut world, &viewers, |jobs| jobs.reverse());
    for id in viewers {
        assert!(is_connected(&world, id));
        assert!(world.browsers[id].sending.is_some());
    }
}

#[test]
fn a_publisher_s_job_comes_before_viewers_that_came_before_it() {
    let (mut world, viewers) = crowd(3);
    let publisher = waiting(&mut world, Role::Publisher);
    viewers.iter().for_each(|id| hello(&mut world, *id));
    hello(&mut world, publisher);
    let roles: Vec<Role> = jobs(&mut world).iter().map(Job::role).collect();
    let [v, p] = [Role::Viewer, Role::Publisher];
    assert_eq!(roles, [p, v, v, v]);
}

#[test]
fn who_waits_for_keys_hears_of_its_handshake_when_its_turn_comes() {
    let (mut world, viewers) = crowd(1);
    while world.core.poll_event().is_some() {}
    hello(&mut world, viewers[0]);
    assert_eq!(world.core.poll_event(), None);
    let _out = jobs(&mut world);
    let ufrag = world.browsers[viewers[0]].ufrag();
    let told = std::iter::from_fn(|| world.core.poll_event());
    assert_eq!(told.collect::<Vec<_>>(), [Event::Handshake { ufrag }]);
}

#[test]
fn what_comes_while_a_job_is_out_waits_and_has_a_bound() {
    let (mut world, viewers) = crowd(1);
    let id = viewers[0];
    hello(&mut world, id);
    let mut out = jobs(&mut world);
    // Another attempt, which is to be told from the first one when that is back.
    hello(&mut world, id);
    let from = world.browsers[id].address;
    let junk = [22; 40];
    for n in 1..=20 {
        let routed = world.core.handle(world.now, from, &junk, &mut Vec::new());
        let waits = n < MAX_WAITING;
        assert_eq!(routed == crate::broadcast::Routed::Answered, waits, "{n}");
    }
    assert!(jobs(&mut world).is_empty(), "one at a time for an address");
    // The answer to the first attempt would spoil the other one, which waited.
    let (finished, mut sent) = (out.remove(0).run(), Vec::new());
    world.core.job_done(world.now, finished, &mut sent);
    assert_eq!(sent, []);
    go_on(&mut world, &[id], |_| {});
    assert!(is_connected(&world, id));
}

#[test]
fn what_came_of_a_job_is_dropped_where_its_peer_has_left_meanwhile() {
    let (mut world, viewers) = crowd(2);
    let (gone, stays) = (viewers[0], viewers[1]);
    viewers.iter().for_each(|id| hello(&mut world, *id));
    for job in jobs(&mut world) {
        give_back(&mut world, job);
    }
    viewers.iter().for_each(|id| speak(&mut world, *id));
    // These complete the handshakes.
    let out = jobs(&mut world);
    let ufrag = world.browsers[gone].ufrag();
    assert!(world.core.leave(world.now, &ufrag));
    // Somebody else is given its place.
    let other = waiting(&mut world, Role::Viewer);
    for job in out {
        let finished = job.run();
        let mut sent = Vec::new();
        world.core.job_done(world.now, finished, &mut sent);
        let to_gone = |t: &Transmit| t.to == world.browsers[gone].address;
        assert!(!sent.iter().any(to_gone));
    }
    assert!(is_connected(&world, stays));
    assert!(!is_connected(&world, other));
}

#[test]
fn a_job_that_never_comes_back_keeps_nobody_out_and_is_of_no_use_later() {
    let (mut world, viewers) = crowd(1);
    let id = viewers[0];
    hello(&mut world, id);
    let lost = jobs(&mut world).remove(0);
    world.pass(LOST - Duration::from_millis(1));
    hello(&mut world, id);
    assert!(jobs(&mut world).is_empty(), "it may come back");
    world.pass(Duration::from_millis(1));
    hello(&mut world, id);
    let jobs = jobs(&mut world);
    assert_eq!(jobs.len(), 1);
    let mut out = Vec::new();
    world.core.job_done(world.now, lost.run(), &mut out);
    assert_eq!(out, [], "it is of no use any more");
    for job in jobs {
        give_back(&mut world, job);
    }
    go_on(&mut world, &[id], |_| {});
    assert!(is_connected(&world, id));
}

#[test]
fn a_timer_that_ends_while_a_job_is_out_goes_off_when_it_is_back() {
    let (mut world, viewers) = crowd(1);
    let id = viewers[0];
    hello(&mut world, id);
    for job in jobs(&mut world) {
        // Lost on the way.
        world.core.job_done(world.now, job.run(), &mut Vec::new());
    }
    // The browser says its ClientHello again, and the first flight's timer ends meanwhile.
    hello(&mut world, id);
    let out = jobs(&mut world);
    world.arrives = Box::new(|_| false);
    world.pass(Duration::from_millis(1500));
    for job in out {
        world.core.job_done(world.now, job.run(), &mut Vec::new());
    }
    let next = world.core.next_timeout().expect("a timer");
    assert!(next <= world.now, "{:?}", next - world.now);
}

#[test]
fn as_many_handshakes_begin_as_may_however_many_jobs_are_out() {
    let config = Config {
        max_handshakes: 3,
        ..Config::default()
    };
    let (mut world, viewers) = crowd_of(World::with(config), 10);
    viewers.iter().for_each(|id| hello(&mut world, *id));
    let jobs = jobs(&mut world);
    assert_eq!(jobs.len(), 10);
    let threads = jobs
        .into_iter()
        .map(|job| std::thread::spawn(move || job.run()));
    let threads: Vec<_> = threads.collect();
    let mut out = Vec::new();
    for thread in threads {
        let finished = thread.join().expect("done");
        world.core.job_done(world.now, finished, &mut out);
    }
    let answered: std::collections::HashSet<_> = out.iter().map(|t| t.to).collect();
    assert_eq!(answered.len(), 3);
    assert_eq!(world.core.snapshot(world.now).failures.busy, 7);
}

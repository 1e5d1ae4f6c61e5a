//! BoringSSL's clock and its timers, which the `boring` crate does not wrap. The one module of this
//! crate with `unsafe`.
//!
//! BoringSSL asks for the time with a callback that gets no argument of ours (`SSL_CTX` has one
//! clock for all its connections, and the connection argument is always null). So the time is
//! stored for this thread before each call into it: [`at`].
#![allow(unsafe_code)]

use std::cell::Cell;
use std::time::Duration;

use boring::ssl::{SslContextBuilder, SslRef};
use foreign_types::ForeignTypeRef;

thread_local! {
    /// The time that BoringSSL is told in this thread, since a moment of the caller's choice.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The epoch is before time 0 of callers: BoringSSL subtracts some times without a sign.
const EPOCH: Duration = Duration::from_secs(1 << 20);

/// Runs `work`, in which this is BoringSSL's time.
pub(crate) fn at<T>(now: Duration, work: impl FnOnce() -> T) -> T {
    NOW.set(now);
    work()
}

unsafe extern "C" fn tell(_: *const boring_sys::SSL, out: *mut boring_sys::timeval) {
    let now = EPOCH + NOW.get();
    // SAFETY: BoringSSL passes a pointer to a timeval of its own stack, which nothing else uses
    // during the call. Nothing here unwinds: a clock of 64 bits in seconds does not overflow.
    unsafe {
        (*out).tv_sec = now.as_secs() as _;
        (*out).tv_usec = now.subsec_micros().into();
    }
}

/// Connections of this context take the time from [`at`], and never read the system's clock.
pub(crate) fn install(context: &mut SslContextBuilder) {
    // SAFETY: the pointer is that of a live SSL_CTX, which the builder owns; the callback is a
    // function that lives as long as the program and keeps to the signature that ssl.h asks for.
    unsafe { boring_sys::SSL_CTX_set_current_time_cb(context.as_ptr(), Some(tell)) }
}

/// The first retransmission timeout of each flight; it doubles.
pub(crate) fn set_first_timeout(ssl: &mut SslRef, timeout: Duration) {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: the pointer is that of a live SSL, borrowed exclusively.
    unsafe { boring_sys::DTLSv1_set_initial_timeout_duration(ssl.as_ptr(), milliseconds) }
}

/// How long after the time of [`at`] a timer ends; `None` where none runs. BoringSSL treats a timer
/// as ended 15 ms before its end.
pub(crate) fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = boring_sys::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // SAFETY: a live SSL, and a timeval that is ours and is written during the call only.
    let is_set = unsafe { boring_sys::DTLSv1_get_timeout(ssl.as_ptr(), &mut left) } == 1;
    let seconds = u64::try_from(left.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(left.tv_usec).unwrap_or_default();
    is_set.then(|| Duration::from_secs(seconds) + Duration::from_micros(microseconds))
}

/// Does what is due: repeats a flight, or sends an acknowledgement. Returns false where that failed
/// for good.
pub(crate) fn handle_timeout(ssl: &mut SslRef) -> bool {
    // SAFETY: a live SSL, borrowed exclusively, whose BIO is the pipe that its stream owns.
    unsafe { boring_sys::DTLSv1_handle_timeout(ssl.as_ptr()) >= 0 }
}

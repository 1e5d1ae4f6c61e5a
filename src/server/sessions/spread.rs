//! How pages of a large audience are spread when they come back after a restart. All of them lose
//! their streams at once, and the page that is answered last waits for all others. That must not be
//! the publisher's page, since nobody sees anything before its handshake.

use std::time::Duration;

use super::{Channel, Inner};
use crate::ids::Role;

use super::super::events::Frame;

/// Viewers of a channel with fewer sessions than this come back at once.
const FEW: usize = 50;
/// What each session of the server adds to the time over which viewers are spread: about what the
/// server's HTTP side takes to greet one.
const EACH: Duration = Duration::from_micros(300);
/// Never over more than this.
const MOST: Duration = Duration::from_millis(300);

/// The time over which a page of this role spreads its attempts to come back.
fn spread(role: Role, on_server: usize, of_channel: usize) -> Duration {
    if role == Role::Publisher || of_channel < FEW {
        return Duration::ZERO;
    }
    EACH.saturating_mul(u32::try_from(on_server).unwrap_or(u32::MAX))
        .min(MOST)
}

/// The same, for a page of a channel.
pub(super) fn of_page(role: Role, on_server: usize, channel: &Channel) -> Duration {
    spread(role, on_server, channel.members.len())
}

impl Inner {
    /// A peer has joined or left the channel. Its present viewers are told when the spread has
    /// doubled or halved: telling them with each step would be too often, and never telling them
    /// would leave the first ones with the value for few.
    pub(super) fn tell_spread(&mut self, channel: &str) {
        let on_server = self.sessions.len() + self.unread;
        let Some(channel) = self.channels.get_mut(channel) else {
            return;
        };
        let now = of_page(Role::Viewer, on_server, channel);
        let told = channel.spread_told;
        if now == told || (now < told * 2 && now * 2 > told) {
            return;
        }
        channel.spread_told = now;
        let frames = [Frame::spread(now)];
        for ufrag in &channel.members {
            if let Some(session) = self.sessions.get_mut(ufrag)
                && session.record.role == Role::Viewer
            {
                session.send(&frames);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_and_viewers_of_small_channels_come_back_at_once() {
        for on_server in [1, 49, 1000, 100_000] {
            assert_eq!(
                spread(Role::Publisher, on_server, on_server),
                Duration::ZERO
            );
            assert_eq!(
                spread(Role::Viewer, on_server, on_server.min(FEW - 1)),
                Duration::ZERO
            );
        }
    }

    #[test]
    fn the_time_over_which_viewers_are_spread_grows_with_the_sessions_of_the_server_up_to_a_bound()
    {
        let of = |on_server| spread(Role::Viewer, on_server, FEW);
        assert_eq!(of(50), EACH * 50);
        assert_eq!(of(500), EACH * 500);
        assert_eq!((of(100_000), of(usize::MAX)), (MOST, MOST));
    }
}

//! What is told to the operator's service, in the order in which it happens here.

use std::sync::Arc;

use super::{Inner, Session, Sessions};
use crate::broadcast::Departure;
use crate::ids::Role;

use super::super::event_hook::{Announcer, ChannelHere, Happening, MAX_CHANNELS, Member};
use super::super::events::reason;

impl Sessions {
    /// Tells this one from now on. To be called before there are sessions.
    pub(in crate::server) fn announce_to(&self, announcer: Arc<Announcer>) {
        self.lock().announcer = Some(announcer);
    }
}

impl Inner {
    /// A session is here. Those of the last boot are no news: they are in `up`.
    pub(super) fn announce_session(&self, session: &Session) {
        match (&self.announcer, session.resumed, self.loaded) {
            (Some(announcer), false, _) => announcer.tell(Happening::Join(member(session))),
            (Some(announcer), true, true) => announcer.tell(Happening::Adopt(member(session))),
            _ => {}
        }
    }

    /// A session has ended. Before `up` nobody knows of it.
    pub(super) fn announce_end(&self, session: &Session, why: Departure) {
        if let (Some(announcer), true) = (&self.announcer, self.loaded) {
            announcer.tell(Happening::Leave {
                member: member(session),
                reason: reason(why),
            });
        }
    }

    /// A channel's source has come or gone. Before `up` nobody asks.
    pub(super) fn announce_source(&self, name: &str, live: bool) {
        if let (Some(announcer), true) = (&self.announcer, self.loaded) {
            let members = self.channels.get(name).into_iter();
            let again = members
                .flat_map(|channel| &channel.members)
                .filter_map(|ufrag| self.sessions.get(ufrag))
                .any(|session| session.record.role == Role::Publisher && session.resumed);
            announcer.tell(Happening::Source {
                channel: name.to_owned(),
                live,
                again: live && again,
            });
        }
    }

    /// All records have been read.
    pub(super) fn announce_all(&self) {
        let Some(announcer) = &self.announcer else {
            return;
        };
        let mut names: Vec<_> = self.channels.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        let here = names.iter().take(MAX_CHANNELS).map(|(name, channel)| {
            let members = channel.members.iter();
            let published = |role| role == Role::Publisher;
            let publishers = members
                .filter_map(|ufrag| self.sessions.get(ufrag))
                .filter(|session| published(session.record.role))
                .count();
            ChannelHere {
                channel: (*name).clone(),
                publisher: publishers > 0,
                viewers: channel.members.len() - publishers,
                live: channel.live,
            }
        });
        announcer.tell(Happening::Up {
            sessions: self.sessions.len(),
            channels: here.collect(),
            more_channels: names.len().saturating_sub(MAX_CHANNELS),
        });
    }
}

fn member(session: &Session) -> Member {
    Member {
        r#use: match session.record.role {
            Role::Publisher => "publish",
            Role::Viewer => "watch",
        },
        channel: session.record.channel.clone(),
        peer: session.handle.to_string(),
    }
}

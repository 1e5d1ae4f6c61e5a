//! What the clients of the benchmark send and receive. It outlives their sessions.

mod camera;
mod tally;
mod watcher;

use std::time::{Duration, Instant};

use rekindle_client::client::{self, Outgoing};
pub(crate) use rekindle_client::publisher::Publisher;
use rekindle_ids::Role;
use rekindle_sdp::Media as Section;

pub(crate) use camera::{Camera, CameraSettings, Packets};
pub(crate) use tally::Tally;
pub(crate) use watcher::{Gap, Life, Watcher};

/// A client in a session.
pub(crate) type Client = client::Client<Media>;

/// See the module.
pub(crate) enum Media {
    /// Not in a session.
    Camera(Camera),
    /// In a session.
    Publisher(Box<Publisher<Camera>>),
    Viewer(Box<Watcher>),
}

impl Media {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Camera(_) | Self::Publisher(_) => Role::Publisher,
            Self::Viewer(_) => Role::Viewer,
        }
    }

    pub(super) fn viewer(&self) -> Option<&Watcher> {
        match self {
            Self::Viewer(viewer) => Some(viewer),
            _ => None,
        }
    }

    pub(super) fn viewer_mut(&mut self) -> Option<&mut Watcher> {
        match self {
            Self::Viewer(viewer) => Some(viewer),
            _ => None,
        }
    }

    pub(super) fn camera(&self) -> Option<&Camera> {
        match self {
            Self::Camera(camera) => Some(camera),
            Self::Publisher(publisher) => Some(&publisher.camera),
            Self::Viewer(_) => None,
        }
    }

    /// A session begins. `ssrcs`: audio, video, RTX of video.
    pub(super) fn begin(self, agreed: &[Section], ssrcs: (u32, u32, u32)) -> Self {
        match self.parted() {
            Self::Camera(camera) => {
                Self::Publisher(Box::new(Publisher::new(camera, agreed, ssrcs)))
            }
            Self::Viewer(mut viewer) => {
                viewer.begin(agreed);
                Self::Viewer(viewer)
            }
            publisher @ Self::Publisher(_) => publisher,
        }
    }

    /// As it is between two sessions.
    pub(super) fn parted(self) -> Self {
        match self {
            Self::Publisher(publisher) => Self::Camera(publisher.camera),
            other => other,
        }
    }
}

impl client::Media for Media {
    fn connected(&mut self, now: Instant) {
        if let Self::Publisher(publisher) = self {
            publisher.connected(now);
        }
    }

    fn set_rtt(&mut self, rtt: Duration) {
        if let Self::Viewer(viewer) = self {
            viewer.set_rtt(rtt);
        }
    }

    fn take_rtp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        if let Self::Viewer(viewer) = self {
            viewer.take_rtp(now, data, out);
        }
    }

    fn take_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        if let Self::Publisher(publisher) = self {
            publisher.take_rtcp(now, data, out);
        }
    }

    fn next_timeout(&self, connected: bool) -> Option<Instant> {
        match self {
            Self::Camera(_) => None,
            Self::Publisher(publisher) => publisher.next_timeout(connected),
            Self::Viewer(viewer) => viewer.next().filter(|_| connected),
        }
    }

    fn make(&mut self, now: Instant, connected: bool, out: &mut Outgoing) {
        match self {
            Self::Publisher(publisher) => publisher.make(now, connected, out),
            Self::Viewer(viewer) if connected => viewer.make(now, out),
            Self::Camera(_) | Self::Viewer(_) => {}
        }
    }
}

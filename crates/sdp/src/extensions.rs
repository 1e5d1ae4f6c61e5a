//! RTP header extensions (RFC 8285).

use super::lines::Section;
use super::{Extensions, Kind};

/// The extensions that the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    Mid,
    TransportCc,
    AbsSendTime,
    VideoOrientation,
    AudioLevel,
    DependencyDescriptor,
}

impl Extension {
    pub(super) const ALL: [Self; 6] = [
        Self::Mid,
        Self::TransportCc,
        Self::AbsSendTime,
        Self::VideoOrientation,
        Self::AudioLevel,
        Self::DependencyDescriptor,
    ];

    pub(super) fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Mid | Self::TransportCc | Self::AbsSendTime => true,
            Self::VideoOrientation | Self::DependencyDescriptor => kind == Kind::Video,
            Self::AudioLevel => kind == Kind::Audio,
        }
    }
}

impl Extensions {
    pub(super) fn get(&self, extension: Extension) -> Option<u8> {
        match extension {
            Extension::Mid => self.mid,
            Extension::TransportCc => self.transport_cc,
            Extension::AbsSendTime => self.abs_send_time,
            Extension::VideoOrientation => self.video_orientation,
            Extension::AudioLevel => self.audio_level,
            Extension::DependencyDescriptor => self.dependency_descriptor,
        }
    }

    fn slot(&mut self, extension: Extension) -> &mut Option<u8> {
        match extension {
            Extension::Mid => &mut self.mid,
            Extension::TransportCc => &mut self.transport_cc,
            Extension::AbsSendTime => &mut self.abs_send_time,
            Extension::VideoOrientation => &mut self.video_orientation,
            Extension::AudioLevel => &mut self.audio_level,
            Extension::DependencyDescriptor => &mut self.dependency_descriptor,
        }
    }

    /// The extensions that both have with the same id.
    pub(super) fn common(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for extension in Extension::ALL {
            *both.slot(extension) = self
                .get(extension)
                .filter(|id| other.get(extension) == Some(*id));
        }
        both
    }
}

/// The known extensions of a section: those with ids of the one-byte form (1 to 14), and offered in
/// both directions, as all known senders offer them. The first extension with an id has it.
pub(super) fn read(section: &Section<'_>, kind: Kind) -> Extensions {
    let mut found = Extensions::default();
    let mut taken = [false; 15];
    for value in section.attributes.all("extmap") {
        let mut words = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (words.next(), words.next()) else {
            continue;
        };
        let Some(id) = id.parse::<u8>().ok().filter(|id| (1..=14).contains(id)) else {
            continue;
        };
        let first = !std::mem::replace(&mut taken[usize::from(id)], true);
        let Some(extension) = Extension::ALL
            .into_iter()
            .find(|e| e.uri() == uri && e.fits(kind))
        else {
            continue;
        };
        let slot = found.slot(extension);
        if first && slot.is_none() {
            *slot = Some(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::lines::Description;
    use super::*;

    #[test]
    fn only_known_extensions_with_usable_ids_are_read() {
        let text = "v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\n\
            a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n\
            a=extmap:5 urn:ietf:params:rtp-hdrext:sdes:mid\n\
            a=extmap:2/recvonly http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\n\
            a=extmap:15 urn:3gpp:video-orientation\n\
            a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n\
            a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n\
            a=extmap:300 x\na=extmap:\na=extmap:7\n";
        let description = Description::parse(text).unwrap();
        let read = read(&description.media[0], Kind::Video);
        assert_eq!(
            read,
            Extensions {
                mid: Some(4),
                ..Extensions::default()
            }
        );
    }
}

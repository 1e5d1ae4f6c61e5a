//! What an offer must satisfy before anything is chosen from it.

use rekindle_ids::Role;

use super::lines::{Description, Section};
use super::{Fingerprint, Kind, SdpError, Setup, fingerprint};

/// A valid offer: its chosen sections share one transport with one certificate.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub description: Description<'a>,
    /// Mids of the BUNDLE group, in its order.
    pub bundle: Vec<&'a str>,
    pub fingerprints: Vec<Fingerprint>,
    /// The server's role in the DTLS handshake, as far as the offer decides it.
    pub setup: Setup,
    /// The sections to answer, in SDP order: at most one of each kind. All others are rejected. A
    /// single section need not be bundled.
    pub chosen: Vec<Chosen<'a>>,
}

/// A section to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<'a> {
    /// Its index among the m-sections.
    pub index: usize,
    pub kind: Kind,
    /// Empty where there is none.
    pub mid: &'a str,
    /// Whether the browser's direction fits its role; if not, it is answered inactive.
    pub active: bool,
}

impl<'a> Offer<'a> {
    /// Reads and checks an offer.
    ///
    /// # Errors
    /// An [`SdpError`] with the cause.
    pub(super) fn read(role: Role, text: &'a str) -> Result<Self, SdpError> {
        let description = Description::parse(text)?;
        let bundle = bundle(&description);
        check_mids(&description)?;
        let chosen = choose(role, &description, &bundle)?;
        let (fingerprints, setup) = check_transport(&description, &bundle, &chosen)?;
        Ok(Self {
            description,
            bundle,
            fingerprints,
            setup,
            chosen,
        })
    }

    pub(super) fn section(&self, chosen: &Chosen<'a>) -> &Section<'a> {
        &self.description.media[chosen.index]
    }
}

/// The mids of the first BUNDLE group (RFC 9143 §7); empty where there is none.
fn bundle<'a>(description: &Description<'a>) -> Vec<&'a str> {
    let group = description.session.all("group").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        (words.next() == Some("BUNDLE")).then_some(words)
    });
    group.into_iter().flatten().collect()
}

/// Mids are RFC 8866 tokens, each used once. Those of up to 16 bytes fit a one-byte header
/// extension.
fn check_mids(description: &Description<'_>) -> Result<(), SdpError> {
    let mids: Vec<&str> = description
        .media
        .iter()
        .filter_map(|m| m.attributes.first("mid"))
        .collect();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b);
    let fits = |mid: &&str| (1..=64).contains(&mid.len()) && mid.bytes().all(token);
    // At most 32 sections, so comparing all with all is cheap.
    let unique = mids
        .iter()
        .enumerate()
        .all(|(i, mid)| !mids[..i].contains(mid));
    if unique && mids.iter().all(fits) {
        Ok(())
    } else {
        Err(SdpError::BadMid)
    }
}

/// Picks one section of each kind: the first whose direction fits, else the first.
fn choose<'a>(
    role: Role,
    description: &Description<'a>,
    bundle: &[&str],
) -> Result<Vec<Chosen<'a>>, SdpError> {
    let mut chosen: Vec<Chosen<'a>> = Vec::new();
    let (mut media, mut named) = (false, false);
    // Nothing to bundle it with: RFC 9143 is for two and more sections.
    let alone = bundle.is_empty()
        && description
            .media
            .iter()
            .filter(|section| usable(section).is_some())
            .count()
            == 1;
    for (index, section) in description.media.iter().enumerate() {
        let Some(kind) = usable(section) else {
            continue;
        };
        media = true;
        let mid = section.attributes.first("mid").unwrap_or_default();
        named |= alone || !mid.is_empty();
        if !alone && !bundle.contains(&mid) {
            continue;
        }
        let new = Chosen {
            index,
            kind,
            mid,
            active: fits(role, description, section),
        };
        match chosen.iter_mut().find(|c| c.kind == kind) {
            Some(old) if new.active && !old.active => *old = new,
            Some(old) if new.active && old.active && role == Role::Publisher => {
                return Err(SdpError::SeveralStreams { kind });
            }
            Some(_) => {}
            None => chosen.push(new),
        }
    }
    chosen.sort_by_key(|c| c.index);
    if chosen.iter().any(|c| c.active) {
        return Ok(chosen);
    }
    Err(match (media, named, chosen.is_empty(), role) {
        (false, ..) => SdpError::NoMedia,
        (_, false, ..) => SdpError::BadMid,
        (_, _, true, _) => SdpError::NoBundle,
        (.., Role::Publisher) => SdpError::NothingSent,
        (.., Role::Viewer) => SdpError::NothingReceived,
    })
}

/// Audio or video over DTLS-SRTP that the offerer has not disabled itself (port 0, unless it is
/// `bundle-only`).
fn usable(section: &Section<'_>) -> Option<Kind> {
    let kind = match section.media {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        _ => return None,
    };
    let on = section.port != 0 || section.attributes.has("bundle-only");
    // RFC 9429 §5.1.2: any combination of these, and the answer repeats it.
    let secure = matches!(
        section.proto,
        "UDP/TLS/RTP/SAVPF"
            | "TCP/DTLS/RTP/SAVPF"
            | "UDP/TLS/RTP/SAVP"
            | "TCP/DTLS/RTP/SAVP"
            | "RTP/SAVPF"
            | "RTP/SAVP"
    );
    (on && secure).then_some(kind)
}

/// Whether the browser sends (publisher) or receives (viewer) here. Absent means sendrecv (RFC 8866
/// §6.7).
fn fits(role: Role, description: &Description<'_>, section: &Section<'_>) -> bool {
    const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let own = |attributes: &super::lines::Attributes<'_>| {
        DIRECTIONS.into_iter().find(|d| attributes.has(d))
    };
    let direction = own(&section.attributes)
        .or_else(|| own(&description.session))
        .unwrap_or("sendrecv");
    match role {
        Role::Publisher => matches!(direction, "sendrecv" | "sendonly"),
        Role::Viewer => matches!(direction, "sendrecv" | "recvonly"),
    }
}

/// One ICE transport, one certificate and rtcp-mux for all chosen sections. A bundled section may
/// leave its transport to the one that the group names first, even where that carries no media (RFC
/// 9143 §7.1.3, §7.2), so a missing attribute is no contradiction.
fn check_transport(
    description: &Description<'_>,
    bundle: &[&str],
    chosen: &[Chosen<'_>],
) -> Result<(Vec<Fingerprint>, Setup), SdpError> {
    let tagged = description.media.iter().find(|section| {
        section
            .attributes
            .first("mid")
            .is_some_and(|mid| bundle.first() == Some(&mid))
    });
    let effective = |section, name| {
        let own = description.effective(section, name);
        own.or_else(|| tagged.and_then(|tagged| description.effective(tagged, name)))
    };
    let mut ice: Option<(&str, &str)> = None;
    let mut prints: Option<Vec<Fingerprint>> = None;
    let mut setup = None;
    let session_prints = fingerprint::read(&description.session);
    for choice in chosen {
        let section = &description.media[choice.index];
        // Bundled media is multiplexed (RFC 9143 §9.3); a section that leaves its transport to
        // another one may leave this to it too.
        let leaves = bundle.len() > 1 && description.effective(section, "ice-ufrag").is_none();
        let leaves = leaves || section.attributes.has("bundle-only");
        if !section.attributes.has("rtcp-mux") && !leaves {
            return Err(SdpError::NoRtcpMux { kind: choice.kind });
        }
        let left = match effective(section, "setup") {
            None | Some("actpass" | "active") => Setup::Passive,
            Some("passive") => Setup::Active,
            Some(_) => return Err(SdpError::BadSetup),
        };
        if *setup.get_or_insert(left) != left {
            return Err(SdpError::SplitTransport);
        }
        match (
            effective(section, "ice-ufrag"),
            effective(section, "ice-pwd"),
        ) {
            (None, None) => {}
            (Some(ufrag), Some(pwd)) if ice_text(ufrag, 4) && ice_text(pwd, 22) => {
                if *ice.get_or_insert((ufrag, pwd)) != (ufrag, pwd) {
                    return Err(SdpError::SplitTransport);
                }
            }
            _ => return Err(SdpError::BadIceCredentials),
        }
        // RFC 8122 §5: a section's own fingerprints replace the session's.
        let own = fingerprint::read(&section.attributes)?
            .map_or_else(|| session_prints.clone(), |own| Ok(Some(own)))?;
        if let Some(own) = own {
            match &prints {
                Some(known) if *known != own => return Err(SdpError::SplitTransport),
                _ => prints = Some(own),
            }
        }
    }
    ice.ok_or(SdpError::BadIceCredentials)?;
    if prints.is_none()
        && let Some(tagged) = tagged
    {
        prints = fingerprint::read(&tagged.attributes)?;
    }
    let prints = prints.ok_or(SdpError::NoFingerprint)?;
    Ok((prints, setup.unwrap_or_default()))
}

/// `ice-char`s (RFC 8839 §5.4), at least `min` and at most 256.
fn ice_text(text: &str, min: usize) -> bool {
    let ice_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    (min..=256).contains(&text.len()) && text.bytes().all(ice_char)
}

//! Reads both texts for the media path, at the join and again after a restart.

use rekindle_ids::Role;

use super::codecs::{self, CodecLine};
use super::lines::{Attributes, Description, Section};
use super::offer::Offer;
use super::{Media, Negotiated, Payload, SdpError, Setup, Ssrc, address, extensions, fingerprint};

/// Most streams of one section that are read. Browsers announce one; the limit bounds a hostile
/// offer.
const MAX_STREAMS: usize = 8;

/// The media that an offer and another server's answer agreed on. The answer need not satisfy what
/// ours do.
///
/// # Errors
/// An [`SdpError`] with the cause.
pub fn agreed(role: Role, offer: &str, answer: &str) -> Result<Vec<Media>, SdpError> {
    media(
        role,
        &Offer::read(role, offer)?,
        &Description::parse(answer)?,
        false,
    )
}

/// Reads what an offer and its answer agreed on.
///
/// # Errors
/// An [`SdpError`] with the cause; never for a pair where [`super::answer`] made the answer.
pub fn negotiated(role: Role, offer: &str, answer: &str) -> Result<Negotiated, SdpError> {
    read(
        role,
        Offer::read(role, offer)?,
        &Description::parse(answer)?,
    )
}

/// The same for parsed texts.
pub(super) fn read(
    role: Role,
    offer: Offer<'_>,
    answer: &Description<'_>,
) -> Result<Negotiated, SdpError> {
    let certificate = certificate(answer).ok_or(SdpError::AnswerMismatch)?;
    let media = media(role, &offer, answer, true)?;
    let setup = setup(&offer, answer)?;
    Ok(Negotiated {
        address: address::read(&offer.description),
        fingerprints: offer.fingerprints,
        certificate,
        setup,
        media,
    })
}

/// The media of an answer; `own`: it is of this server, which answers only with what was offered.
fn media(
    role: Role,
    offer: &Offer<'_>,
    answer: &Description<'_>,
    own: bool,
) -> Result<Vec<Media>, SdpError> {
    if answer.media.len() != offer.description.media.len() {
        return Err(SdpError::AnswerMismatch);
    }
    let mut media = Vec::new();
    for (index, answered) in answer.media.iter().enumerate() {
        if answered.port == 0 || answered.attributes.has("inactive") {
            continue;
        }
        let chosen = offer
            .chosen
            .iter()
            .find(|c| c.index == index)
            .ok_or(SdpError::AnswerMismatch)?;
        if answered.attributes.first("mid").unwrap_or_default() != chosen.mid
            || answered.media != chosen.kind.to_string()
        {
            return Err(SdpError::AnswerMismatch);
        }
        let section = offer.section(chosen);
        let offered = codecs::read(section, chosen.kind);
        let mut agreed = codecs::read(answered, chosen.kind);
        let known = |line: &CodecLine<'_>| {
            offered.iter().any(|o| {
                o.pt == line.pt
                    && o.codec == line.codec
                    && (line.rtx.is_none() || line.rtx == o.rtx)
            })
        };
        if !own {
            agreed.retain(&known);
        }
        if agreed.is_empty() || !agreed.iter().all(known) {
            return Err(SdpError::AnswerMismatch);
        }
        media.push(Media {
            kind: chosen.kind,
            mid: chosen.mid.to_owned(),
            payloads: agreed.iter().map(payload).collect(),
            extensions: extensions::read(section, chosen.kind)
                .common(&extensions::read(answered, chosen.kind)),
            ssrcs: match role {
                Role::Publisher => streams(&section.attributes),
                Role::Viewer => streams(&answered.attributes),
            },
        });
    }
    if media.is_empty() {
        return Err(SdpError::AnswerMismatch);
    }
    Ok(media)
}

/// The server's role in the DTLS handshake, the same in all sections that carry media.
fn setup(offer: &Offer<'_>, answer: &Description<'_>) -> Result<Setup, SdpError> {
    let mut agreed = None;
    let live = |section: &&Section<'_>| section.port != 0 && !section.attributes.has("inactive");
    for section in answer.media.iter().filter(live) {
        let own = match section.attributes.first("setup") {
            Some("passive") => Setup::Passive,
            // The offer leaves no choice: a client that can begin a new handshake is not made to
            // wait for the server.
            Some("active") if offer.setup == Setup::Active => Setup::Active,
            _ => return Err(SdpError::AnswerMismatch),
        };
        if *agreed.get_or_insert(own) != own {
            return Err(SdpError::AnswerMismatch);
        }
    }
    agreed.ok_or(SdpError::AnswerMismatch)
}

/// SHA-256 of the server's certificate in an answer of ours; `None` for an answer that names none,
/// or two.
pub fn answer_certificate(answer: &str) -> Option<[u8; 32]> {
    certificate(&Description::parse(answer).ok()?)
}

fn certificate(answer: &Description<'_>) -> Option<[u8; 32]> {
    let mut named = None;
    for section in &answer.media {
        for fingerprint in fingerprint::read(&section.attributes)
            .ok()?
            .into_iter()
            .flatten()
        {
            let digest = fingerprint.digest.as_slice().try_into().ok()?;
            if *named.get_or_insert(digest) != digest {
                return None;
            }
        }
    }
    named
}

fn payload(line: &CodecLine<'_>) -> Payload {
    Payload {
        pt: line.pt,
        codec: line.codec.clone(),
        rtx: line.rtx.map(|(pt, _)| pt),
        nack: line.feedback.nack,
        pli: line.feedback.pli,
        transport_cc: line.feedback.transport_cc,
        remb: line.feedback.remb,
    }
}

/// The streams of `a=ssrc` (RFC 5576 §4.1), paired with their RTX by `a=ssrc-group:FID` (§4.2).
/// Members of other groups after the first (simulcast layers, FEC) are ignored.
fn streams(attributes: &Attributes<'_>) -> Vec<Ssrc> {
    let mut found: Vec<Ssrc> = Vec::new();
    let mut secondary: Vec<u32> = Vec::new();
    for group in attributes.all("ssrc-group").take(MAX_STREAMS) {
        let mut words = group.split_ascii_whitespace();
        let fid = words.next() == Some("FID");
        let mut members = words.filter_map(|w| w.parse::<u32>().ok());
        let Some(media) = members.next() else {
            continue;
        };
        let others: Vec<u32> = members.take(MAX_STREAMS).collect();
        if fid && found.iter().all(|s| s.media != media) {
            found.push(Ssrc {
                media,
                rtx: others.first().copied().filter(|rtx| *rtx != media),
            });
        }
        secondary.extend(others);
    }
    found.retain(|s| !secondary.contains(&s.media));
    for value in attributes.all("ssrc") {
        if found.len() >= MAX_STREAMS {
            break;
        }
        let Some(media) = value
            .split_ascii_whitespace()
            .next()
            .and_then(|w| w.parse().ok())
        else {
            continue;
        };
        if !secondary.contains(&media) && found.iter().all(|s| s.media != media) {
            found.push(Ssrc { media, rtx: None });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Vec<(u32, Option<u32>)> {
        let text = format!(
            "v=0\n{}",
            lines.iter().map(|l| format!("a={l}\n")).collect::<String>()
        );
        streams(&Description::parse(&text).unwrap().session)
            .into_iter()
            .map(|s| (s.media, s.rtx))
            .collect()
    }

    #[test]
    fn rtx_is_paired_and_never_a_stream_of_its_own() {
        assert_eq!(
            of(&[
                "ssrc-group:FID 1 2",
                "ssrc:1 cname:x",
                "ssrc:1 msid:y",
                "ssrc:2 cname:x"
            ]),
            [(1, Some(2))]
        );
        // Firefox writes the group last.
        assert_eq!(
            of(&["ssrc:1 cname:x", "ssrc:2 cname:x", "ssrc-group:FID 1 2"]),
            [(1, Some(2))]
        );
        assert_eq!(of(&["ssrc:1", "ssrc:4294967296 x", "ssrc:x"]), [(1, None)]);
        assert_eq!(
            of(&["ssrc-group:FID 7", "ssrc-group:FID", "ssrc-group:FID 8 8"]),
            [(7, None)]
        );
    }

    #[test]
    fn simulcast_layers_and_fec_are_left_out() {
        let lines = [
            "ssrc-group:SIM 1 2 3",
            "ssrc-group:FID 1 11",
            "ssrc-group:FID 2 12",
            "ssrc-group:FEC-FR 1 21",
            "ssrc:1 x",
            "ssrc:3 x",
            "ssrc:21 x",
        ];
        assert_eq!(of(&lines), [(1, Some(11))]);
    }

    #[test]
    fn a_flood_of_streams_is_bounded() {
        let lines: Vec<String> = (0..1000).map(|n| format!("ssrc:{n} cname:x")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(of(&lines).len(), MAX_STREAMS);
    }
}

//! Chooses what to agree on, and writes the answer (RFC 9429 §5.3, ICE-lite by RFC 8445 §2.5).

use std::fmt::{self, Write};

use rekindle_ids::Role;

use super::codecs::{self, CodecLine};
use super::extensions::{self, Extension};
use super::lines::{Description, Section};
use super::offer::{Chosen, Offer};
use super::{
    Answer, Codec, Extensions, Local, MAX_SDP, SdpError, Setup, Source, Stream, address,
    fingerprint, negotiated,
};

/// Stream id of `a=msid` towards viewers. The same on every channel, so that an answer says nothing
/// of its channel.
const STREAM: &str = "rekindle";
/// RFC 8285 §6: elements of the two-byte form may come as well.
const ALLOW_MIXED: &str = "extmap-allow-mixed";

/// Answers an offer: ICE-lite, DTLS server where the offer allows it, one transport for all
/// (BUNDLE, rtcp-mux).
///
/// At most one audio and one video section are accepted, in the offer's order with the offer's
/// mids; all other sections are rejected. From a publisher one codec of each kind is accepted, the
/// first of its offer that the server forwards (H.265 last). A viewer's answer has all of its
/// codecs that the server forwards, so that a later publisher's codec needs no new offer. Those of
/// `source`, the channel's present publisher, come first, or otherwise those that serve them best
/// ([`Codec::serves`]). An offer that can receive none of a kind's codecs is refused.
///
/// The publisher's SSRCs pass through, and the viewer's answer names them: a browser discards its
/// decoder when a stream that was not announced is still missing in the description that a page
/// applies after a restart.
///
/// What was agreed on is read from the answer's own text, as a later boot will read it: the text is
/// the one owner of that fact.
///
/// # Errors
/// An [`SdpError`] with the cause.
pub fn answer(
    role: Role,
    offer: &str,
    source: Option<&Source>,
    local: &Local<'_>,
) -> Result<Answer, SdpError> {
    if offer.len() > MAX_SDP {
        return Err(SdpError::TooLong);
    }
    let offer = Offer::read(role, offer)?;
    if address::has_reserved(&offer.description) {
        return Err(SdpError::ReservedCandidate);
    }
    let (codecs, streams) = source.map_or((&[][..], &[][..]), |s| (&s.codecs[..], &s.streams[..]));
    let mut agreed = Vec::new();
    for chosen in &offer.chosen {
        match agree(role, &offer, *chosen, codecs) {
            Ok(section) => agreed.push(section),
            // It carries nothing now, so it is rejected and the rest continues.
            Err(_) if !chosen.active => {}
            Err(error) => return Err(error),
        }
    }
    check_shared_numbers(&agreed)?;
    let mut text = String::with_capacity(4096);
    // Writing to a String cannot fail.
    let _ = write_answer(&mut text, role, &offer, &agreed, streams, local);
    let negotiated = negotiated::read(role, offer, &Description::parse(&text)?)?;
    Ok(Answer { text, negotiated })
}

/// What is agreed on in one section.
struct Agreed<'a> {
    chosen: Chosen<'a>,
    codecs: Vec<CodecLine<'a>>,
    extensions: Extensions,
}

fn agree<'a>(
    role: Role,
    offer: &Offer<'a>,
    chosen: Chosen<'a>,
    source: &[Codec],
) -> Result<Agreed<'a>, SdpError> {
    let section = offer.section(&chosen);
    let kind = chosen.kind;
    let mut codecs = codecs::read(section, kind);
    if codecs.is_empty() {
        return Err(SdpError::NoCommonCodec { kind });
    }
    let mut extensions = extensions::read(section, kind);
    // A one-byte header extension has room for 16 bytes (RFC 8285 §4.2).
    extensions.mid = extensions
        .mid
        .filter(|_| (1..=16).contains(&chosen.mid.len()));
    let mixed = section.attributes.has(ALLOW_MIXED) || offer.description.session.has(ALLOW_MIXED);
    extensions.dependency_descriptor = extensions.dependency_descriptor.filter(|_| mixed);
    match role {
        Role::Publisher => {
            // Few viewers can decode H.265, so it is chosen only where there is nothing else.
            let first = codecs
                .iter()
                .position(|line| !matches!(line.codec, Codec::H265 { .. }));
            codecs.swap(0, first.unwrap_or(0));
            codecs.truncate(1);
            // Transport-wide feedback needs both lines; goog-remb is the older way to the same
            // result.
            let wanted = codecs[0].feedback.transport_cc;
            extensions.transport_cc = extensions.transport_cc.filter(|_| wanted);
            let feedback = &mut codecs[0].feedback;
            feedback.transport_cc = extensions.transport_cc.is_some();
            feedback.remb &= !feedback.transport_cc;
        }
        Role::Viewer => {
            let sent: Vec<&Codec> = source.iter().filter(|c| c.kind() == kind).collect();
            // The others keep the viewer's own order where one is identical.
            let exact = codecs.iter().any(|line| sent.contains(&&line.codec));
            let rank = |codec: &Codec| {
                let served = sent
                    .iter()
                    .enumerate()
                    .filter_map(|(at, sent)| Some((at, codec.serves(sent)?)));
                let served = served.filter(|(_, worse)| !exact || *worse == 0);
                served.min().unwrap_or((usize::MAX, 0))
            };
            if !sent.is_empty() && codecs.iter().all(|c| rank(&c.codec).0 == usize::MAX) {
                let sent: Vec<String> = sent.iter().map(ToString::to_string).collect();
                return Err(SdpError::SourceCodec {
                    kind,
                    sent: sent.join(" or "),
                });
            }
            codecs.sort_by_key(|c| rank(&c.codec));
            extensions.transport_cc = None;
            for line in &mut codecs {
                line.feedback.transport_cc = false;
                line.feedback.remb = false;
            }
        }
    }
    Ok(Agreed {
        chosen,
        codecs,
        extensions,
    })
}

/// Bundled sections share one space of payload types and one of extension ids (RFC 9143 §9):
/// packets could not be told apart.
fn check_shared_numbers(agreed: &[Agreed<'_>]) -> Result<(), SdpError> {
    let mut taken = [false; 128];
    for pt in agreed
        .iter()
        .flat_map(|a| &a.codecs)
        .flat_map(payload_types)
    {
        if std::mem::replace(&mut taken[usize::from(pt)], true) {
            return Err(SdpError::PayloadTypeConflict { pt });
        }
    }
    let mut meaning: [Option<Extension>; 16] = [None; 16];
    for section in agreed {
        for extension in Extension::ALL {
            let Some(id) = section.extensions.get(extension) else {
                continue;
            };
            if *meaning[usize::from(id)].get_or_insert(extension) != extension {
                return Err(SdpError::ExtensionConflict { id });
            }
        }
    }
    Ok(())
}

fn payload_types(line: &CodecLine<'_>) -> impl Iterator<Item = u8> + use<> {
    std::iter::once(line.pt).chain(line.rtx.map(|(pt, _)| pt))
}

fn write_answer(
    out: &mut String,
    role: Role,
    offer: &Offer<'_>,
    agreed: &[Agreed<'_>],
    streams: &[Stream],
    local: &Local<'_>,
) -> fmt::Result {
    // RFC 9429 §5.2.1: the session id has its highest bit clear. The version starts at 1; the page
    // counts it up.
    let session_id = local.session_id & (u64::MAX >> 1);
    write!(
        out,
        "v=0\r\no=- {session_id} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    )?;
    let bundled = |mid: &&&str| agreed.iter().any(|a| a.chosen.mid == **mid);
    let mids: Vec<&str> = offer.bundle.iter().filter(bundled).copied().collect();
    if !mids.is_empty() {
        write!(out, "a=group:BUNDLE {}\r\n", mids.join(" "))?;
    }
    // "ice2": this agent follows RFC 8445 (§10 there). "trickle" is absent: all candidates are in
    // the answer.
    out.write_str("a=ice-lite\r\na=ice-options:ice2\r\n")?;
    if offer.description.session.has(ALLOW_MIXED) {
        write!(out, "a={ALLOW_MIXED}\r\n")?;
    }
    for (index, section) in offer.description.media.iter().enumerate() {
        match agreed.iter().find(|a| a.chosen.index == index) {
            Some(agreed) => {
                write_section(out, role, section, agreed, (local, offer.setup))?;
                if role == Role::Viewer && agreed.chosen.active {
                    write_streams(out, agreed, streams)?;
                }
            }
            None => write_rejected(out, section)?,
        }
    }
    Ok(())
}

/// RFC 3264 §6: a rejected section keeps its place, with port 0 and at least one format.
fn write_rejected(out: &mut String, section: &Section<'_>) -> fmt::Result {
    let format = section.formats.split_whitespace().next().unwrap_or("0");
    write!(
        out,
        "m={} 0 {} {format}\r\nc=IN IP4 0.0.0.0\r\n",
        section.media, section.proto
    )?;
    if let Some(mid) = section.attributes.first("mid") {
        write!(out, "a=mid:{mid}\r\n")?;
    }
    out.write_str("a=inactive\r\n")
}

fn write_section(
    out: &mut String,
    role: Role,
    section: &Section<'_>,
    agreed: &Agreed<'_>,
    (local, setup): (&Local<'_>, Setup),
) -> fmt::Result {
    let Agreed {
        chosen,
        codecs,
        extensions,
    } = agreed;
    // Port 9 at 0.0.0.0: the addresses are in the candidates (RFC 8839 §4.2.5 allows this pair).
    write!(out, "m={} 9 {}", chosen.kind, section.proto)?;
    for pt in codecs.iter().flat_map(payload_types) {
        write!(out, " {pt}")?;
    }
    out.write_str("\r\nc=IN IP4 0.0.0.0\r\n")?;
    write_transport(out, local, setup)?;
    if !chosen.mid.is_empty() {
        write!(out, "a=mid:{}\r\n", chosen.mid)?;
    }
    for extension in Extension::ALL {
        if let Some(id) = extensions.get(extension) {
            write!(out, "a=extmap:{id} {}\r\n", extension.uri())?;
        }
    }
    if section.attributes.has(ALLOW_MIXED) {
        write!(out, "a={ALLOW_MIXED}\r\n")?;
    }
    match (chosen.active, role) {
        (false, _) => out.write_str("a=inactive\r\n")?,
        (true, Role::Publisher) => out.write_str("a=recvonly\r\n")?,
        (true, Role::Viewer) => write!(
            out,
            "a=sendonly\r\na=msid:{STREAM} {STREAM}-{}\r\n",
            chosen.kind
        )?,
    }
    out.write_str("a=rtcp-mux\r\n")?;
    if section.attributes.has("rtcp-rsize") {
        out.write_str("a=rtcp-rsize\r\n")?;
    }
    codecs.iter().try_for_each(|line| write_codec(out, line))
}

/// The publisher's streams of this section's kind (RFC 5576 §4.1, and §4.2 with RFC 4588 §8.6).
fn write_streams(out: &mut String, agreed: &Agreed<'_>, streams: &[Stream]) -> fmt::Result {
    let with_rtx = agreed.codecs.iter().any(|line| line.rtx.is_some());
    for Stream { ssrc, .. } in streams
        .iter()
        .filter(|stream| stream.kind == agreed.chosen.kind)
    {
        let rtx = ssrc.rtx.filter(|_| with_rtx);
        if let Some(rtx) = rtx {
            write!(out, "a=ssrc-group:FID {} {rtx}\r\n", ssrc.media)?;
        }
        for ssrc in std::iter::once(ssrc.media).chain(rtx) {
            write!(out, "a=ssrc:{ssrc} cname:{STREAM}\r\n")?;
        }
    }
    Ok(())
}

/// The type preference of host candidates (RFC 8445 §5.1.2.2).
const HOST: u32 = 126;
/// That of host candidates of TCP: below all of UDP (RFC 6544 §4.2), which loses no time over
/// packets that are lost.
const HOST_TCP: u32 = 90;
/// The direction preference of a passive host candidate (RFC 6544 §4.2).
const PASSIVE: u32 = 4;

/// The transport is in every section, not only in the one that BUNDLE tags: the page moves the tag
/// to make Firefox run DTLS again.
fn write_transport(out: &mut String, local: &Local<'_>, setup: Setup) -> fmt::Result {
    let setup = match setup {
        Setup::Passive => "passive",
        Setup::Active => "active",
    };
    write!(
        out,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        local.ice.ufrag,
        local.ice.pwd.expose()
    )?;
    write!(
        out,
        "a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        fingerprint::write(local.fingerprint_sha256)
    )?;
    write_candidates(out, local)?;
    out.write_str("a=end-of-candidates\r\n")
}

/// RFC 8445 §5.1.2.1: a type preference, a local preference of its own for each address, component
/// 1. Foundations differ, since each address and each protocol has its own (§5.1.1.3).
fn write_candidates(out: &mut String, local: &Local<'_>) -> fmt::Result {
    let preferences = || (0..=u32::from(u16::MAX)).rev().zip(local.addresses);
    let udp = preferences().map(|(preference, address)| ("udp", HOST, preference, address, ""));
    let tcp = preferences().map(|(preference, address)| {
        let preference = (PASSIVE << 13) | (preference & 0x1fff);
        ("tcp", HOST_TCP, preference, address, " tcptype passive")
    });
    let all = udp.chain(tcp.filter(|_| local.tcp));
    for (foundation, (protocol, kind, preference, address, end)) in (1..).zip(all) {
        let priority = (kind << 24) | (preference << 8) | 255;
        let (ip, port) = (address.ip().to_canonical(), address.port());
        write!(
            out,
            "a=candidate:{foundation} 1 {protocol} {priority} {ip} {port} typ host{end}\r\n"
        )?;
    }
    Ok(())
}

fn write_codec(out: &mut String, line: &CodecLine<'_>) -> fmt::Result {
    let CodecLine {
        pt,
        rtpmap,
        fmtp,
        rtx,
        feedback,
        ..
    } = line;
    write!(out, "a=rtpmap:{pt} {rtpmap}\r\n")?;
    let agreed = [
        (feedback.transport_cc, "transport-cc"),
        (feedback.remb, "goog-remb"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
    ];
    for (_, name) in agreed.iter().filter(|(agreed, _)| *agreed) {
        write!(out, "a=rtcp-fb:{pt} {name}\r\n")?;
    }
    if let Some(fmtp) = fmtp {
        write!(out, "a=fmtp:{pt} {fmtp}\r\n")?;
    }
    if let Some((rtx, rtpmap)) = rtx {
        write!(out, "a=rtpmap:{rtx} {rtpmap}\r\na=fmtp:{rtx} apt={pt}\r\n")?;
    }
    Ok(())
}

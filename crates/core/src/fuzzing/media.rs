//! RTP and RTCP as an authenticated browser may send it: anybody can be one.

use std::time::Duration;

use super::input::Input;
use super::world::World;

/// Steps of one input.
const MOST: usize = 128;

/// An RTP packet of a track.
fn packet(
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    time: u32,
    marker: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
    packet.extend(sequence.to_be_bytes());
    packet.extend(time.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A publisher's packets. Each step is a byte that says what comes, and the bytes it takes: a
/// packet as it is; one of the video, of the audio, or a retransmission, with a sequence number and
/// a payload; or time.
pub fn rtp(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(1);
    let [video, audio] = World::tracks();
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let step = input.byte();
        let plain = match step % 5 {
            0 => input.chunk().to_vec(),
            1 => {
                let sequence = input.number();
                let time = u32::from(input.number()) << 8;
                packet(
                    video.ssrc,
                    video.payload,
                    sequence,
                    time,
                    step & 128 != 0,
                    input.chunk(),
                )
            }
            2 => {
                let sequence = input.number();
                packet(
                    audio.ssrc,
                    audio.payload,
                    sequence,
                    u32::from(sequence) * 960,
                    false,
                    input.chunk(),
                )
            }
            3 => {
                let (ssrc, payload_type) = video.rtx.expect("a browser offers RTX");
                packet(ssrc, payload_type, input.number(), 0, false, input.chunk())
            }
            _ => {
                world.pass(Duration::from_millis(input.byte().into()));
                continue;
            }
        };
        if let Some(datagram) = world.browsers[0].protect_rtp(&plain) {
            world.from(0, &datagram);
        }
        world.deliver();
    }
    world.pass(Duration::from_millis(200));
    world.deliver();
}

/// Both sides' RTCP, after some packets have flowed. Each step is a byte that says who sends, a
/// compound packet, and time.
pub fn rtcp(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(1);
    for (n, track) in (0_u16..).zip(World::tracks()) {
        for sequence in (0..20_u16).filter(|sequence| sequence % 7 != 3) {
            let plain = packet(
                track.ssrc,
                track.payload,
                sequence.wrapping_sub(5),
                n.into(),
                false,
                &[0x10, 0, 1, 2],
            );
            let datagram = world.browsers[0]
                .protect_rtp(&plain)
                .expect("an RTP packet");
            world.from(0, &datagram);
        }
    }
    world.deliver();
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let step = input.byte();
        let who = u16::from(step & 1);
        if let Some(datagram) = world.browsers[usize::from(who)].protect_rtcp(input.chunk()) {
            world.from(who, &datagram);
        }
        world.pass(Duration::from_millis(u64::from(step >> 1)));
        world.deliver();
    }
    assert!(world.all_connected());
}

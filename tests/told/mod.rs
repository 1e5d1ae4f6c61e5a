//! What server processes told before they were killed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

/// Keys, SSRC (none for SRTCP, whose indices are counted for all SSRCs together), index.
type Place = ([u8; 16], Option<u32>, u64);

/// All packets that all processes protected.
#[derive(Default)]
pub struct Told {
    packets: HashMap<Place, [u8; 16]>,
    /// Places that were used for two packets.
    pub twice: Vec<Place>,
    pub rtp: usize,
    pub rtcp: usize,
    /// At which steps processes ended, and how often.
    pub ended_at: BTreeMap<String, usize>,
    /// Steps that any process came past.
    pub steps: BTreeSet<String>,
    /// The last process ended by itself.
    pub ended: bool,
}

impl Told {
    /// Reads what one process told. It may have been cut off in the middle of a word.
    pub fn hear(&mut self, path: &Path) {
        let told = fs::read(path).unwrap_or_default();
        self.ended = false;
        let mut rest = &told[..];
        while let Some(next) = self.hear_one(rest) {
            rest = next;
        }
    }

    fn hear_one<'a>(&mut self, told: &'a [u8]) -> Option<&'a [u8]> {
        let (&kind, rest) = told.split_first()?;
        let (&number, rest) = rest.split_first()?;
        if kind == b'P' {
            let (id, rest) = rest.split_first_chunk()?;
            let (ssrc, rest) = rest.split_first_chunk()?;
            let (index, rest) = rest.split_first_chunk()?;
            let (packet, rest) = rest.split_first_chunk()?;
            let ssrc = (number == 1).then_some(u32::from_be_bytes(*ssrc));
            self.protects((*id, ssrc, u64::from_be_bytes(*index)), *packet);
            return Some(rest);
        }
        let (what, rest) = rest.split_at_checked(number.into())?;
        let what = std::str::from_utf8(what).expect("text");
        match kind {
            b'S' => {}
            b'K' => {
                self.ended = true;
                *self.ended_at.entry(what.into()).or_default() += 1;
            }
            other => panic!("told {other}"),
        }
        self.steps.insert(what.into());
        Some(rest)
    }

    fn protects(&mut self, place: Place, packet: [u8; 16]) {
        *(if place.1.is_some() {
            &mut self.rtp
        } else {
            &mut self.rtcp
        }) += 1;
        if *self.packets.entry(place).or_insert(packet) != packet {
            self.twice.push(place);
        }
    }
}

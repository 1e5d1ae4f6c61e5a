//! The fields of full-state mode's files, for the auditor.
//!
//! All are of class forbidden, including those that are no secrets themselves: they exist only for
//! the keys.

use rekindle_full_state::record::{
    Counters, ReceivedCounter, SentCounter, SessionCounters, SessionRecord,
};

use super::{COUNTERS, SESSION};
use crate::audit::inventory::{Builder, encoded};
use crate::audit::report::Class;
use crate::layout::{file_name, session_path};
use crate::record::limits;
use crate::seal::decode_of_any_kind;

/// Larger files stay one item: a report of a hundred thousand fields helps nobody. In bytes.
const MOST: usize = limits::PEER_FILE;

/// Names the fields of a session or of the counters, if they can be decoded; otherwise does
/// nothing.
pub(crate) fn fields(builder: &mut Builder<'_>, kind: u8, content: &[u8]) {
    if content.len() > MOST {
        return;
    }
    // A list may take more in memory than in a file.
    if kind == SESSION.byte() {
        match decode_of_any_kind::<_, { limits::SESSION_FILE }>(content) {
            Ok((_, session)) => builder.session(&session),
            Err(_) => builder.finding("unfit", "the session does not decode"),
        }
    } else if kind == COUNTERS.byte() {
        match decode_of_any_kind::<_, { limits::COUNTERS_FILE }>(content) {
            Ok((_, counters)) => builder.counters(&counters),
            Err(_) => builder.finding("unfit", "the counters do not decode"),
        }
    }
}

impl Builder<'_> {
    fn session(&mut self, record: &SessionRecord) {
        // Without `..`, here and below: a field that is added does not compile before it has a
        // name.
        let SessionRecord {
            ufrag,
            profile,
            material,
        } = record;
        self.inventory.name = Some(session_path(&file_name(ufrag)));
        self.forbidden("ufrag.length", &ufrag.as_str().len());
        self.put("ufrag", Class::Forbidden, ufrag.as_str().as_bytes());
        self.forbidden("profile", profile);
        let material = &*material.0;
        self.forbidden("material.length", &material.len());
        // RFC 5764 §4.1.2 and §4.2, RFC 7714 §12.
        let (key, salt) = match profile {
            1 => (16, 14),
            7 => (16, 12),
            8 => (32, 12),
            _ => (0, 0),
        };
        if material.len() != 2 * (key + salt) {
            self.finding("unfit", "key material that does not fit its profile");
            return self.put("material", Class::Forbidden, material);
        }
        let (keys, salts) = material.split_at(2 * key);
        for (name, bytes) in [
            ("client key", &keys[..key]),
            ("server key", &keys[key..]),
            ("client salt", &salts[..salt]),
            ("server salt", &salts[salt..]),
        ] {
            self.put(name, Class::Forbidden, bytes);
        }
    }

    fn counters(&mut self, counters: &Counters) {
        let Counters { sender, sessions } = counters;
        self.forbidden("sender", sender);
        self.forbidden("sessions.count", &sessions.len());
        for (index, session) in sessions.iter().enumerate() {
            self.counters_of(&format!("sessions[{index}]"), session);
        }
        if !counters.fits() {
            self.finding(
                "unfit",
                "counters that full-state mode could not have written",
            );
        }
    }

    fn counters_of(&mut self, at: &str, session: &SessionCounters) {
        let SessionCounters {
            ufrag,
            id,
            local,
            rtcp_ceiling,
            sent,
            received,
        } = session;
        self.forbidden(&format!("{at} ufrag.length"), &ufrag.as_str().len());
        self.put(
            &format!("{at} ufrag"),
            Class::Forbidden,
            ufrag.as_str().as_bytes(),
        );
        self.put(&format!("{at} id"), Class::Forbidden, id);
        self.put(&format!("{at} local"), Class::Forbidden, &encoded(local));
        self.forbidden(&format!("{at} rtcp_ceiling"), rtcp_ceiling);
        self.forbidden(&format!("{at} sent.count"), &sent.len());
        for (index, stream) in sent.iter().enumerate() {
            let SentCounter {
                ssrc,
                last,
                ceiling,
                ahead,
            } = stream;
            let at = format!("{at} sent[{index}]");
            self.forbidden(&format!("{at} ssrc"), ssrc);
            self.put(&format!("{at} last"), Class::Forbidden, &encoded(last));
            self.forbidden(&format!("{at} ceiling"), ceiling);
            self.forbidden(&format!("{at} ahead"), ahead);
        }
        self.forbidden(&format!("{at} received.count"), &received.len());
        for (index, stream) in received.iter().enumerate() {
            let ReceivedCounter { ssrc, rtp, rtcp } = stream;
            let at = format!("{at} received[{index}]");
            self.forbidden(&format!("{at} ssrc"), ssrc);
            self.put(&format!("{at} rtp"), Class::Forbidden, &encoded(rtp));
            self.put(&format!("{at} rtcp"), Class::Forbidden, &encoded(rtcp));
        }
    }

    fn forbidden(&mut self, field: &str, number: &(impl serde::Serialize + ToString)) {
        self.number(field, Class::Forbidden, number);
    }
}

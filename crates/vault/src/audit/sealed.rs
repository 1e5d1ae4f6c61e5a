//! One age file, or one plaintext that was decrypted elsewhere.

use super::header;
use super::inventory::{Redactor, take_apart};
use super::report::{AgeFacts, Content, MacVerdict, OpenedBy, Report};
use crate::clock::rfc3339;
use crate::error::FileFault;
use crate::layout::{path_in_vault, session_path};
use crate::record::MAC_LEN;
use crate::seal::{OpeningKey, decrypt};

/// The keys of an audit, and what it may show.
pub(super) struct Look {
    /// `None` without a key file.
    pub keys: Option<Vec<OpeningKey>>,
    pub redactor: Redactor,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// The name that a MAC must cover.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<'a> {
    /// This one.
    As(&'a str),
    /// That of a file of this name, in the folder where its content belongs.
    InItsFolder(&'a str),
    /// The content determines it, or it is unknown.
    ByItself,
}

impl Named<'_> {
    fn path(self, kind: Option<&str>, said: Option<&str>) -> Option<String> {
        match self {
            Named::As(name) => Some(name.to_owned()),
            Named::InItsFolder(file) if kind == Some("session") => Some(session_path(file)),
            Named::InItsFolder(file) => Some(path_in_vault(file)),
            Named::ByItself => said.map(str::to_owned),
        }
    }
}

/// The largest stanza of filler that the age library makes, in bytes.
const GREASE_LIMIT: usize = 256;
/// Clocks differ by less than this, in seconds.
const CLOCK_TOLERANCE: u64 = 86_400;

impl Look {
    /// Looks at an age file.
    pub(super) fn at_file(
        &self,
        report: &mut Report,
        path: &str,
        name: Named<'_>,
        file: &[u8],
    ) -> (Option<AgeFacts>, Result<Option<Content>, FileFault>) {
        let age = match header::parse(file) {
            Ok(age) => age,
            Err(fault) => {
                report.finding(
                    "not-age",
                    path,
                    format!("byte {}: {}", fault.offset, fault.why),
                );
                return (None, Err(FileFault::NotAge));
            }
        };
        self.judge_stanzas(report, path, &age);
        let Some(keys) = &self.keys else {
            return (Some(age), Ok(None));
        };
        let (plaintext, key) = match decrypt(keys, file) {
            Ok(decrypted) => decrypted,
            Err(fault) => return (Some(age), Err(fault)),
        };
        let opened_by = OpenedBy {
            recipient: keys[key].recipient(),
            position: key,
        };
        if key > 0 {
            report.note(
                "old-key",
                path,
                "still encrypted to an old key of the key file: `rekindle rekey` changes that",
            );
        }
        let content = self.at_plaintext(report, path, name, &plaintext, Some(opened_by));
        (Some(age), Ok(Some(content)))
    }

    /// Looks at a plaintext.
    pub(super) fn at_plaintext(
        &self,
        report: &mut Report,
        path: &str,
        name: Named<'_>,
        plaintext: &[u8],
        opened_by: Option<OpenedBy>,
    ) -> Content {
        let inventory = take_apart(plaintext, &self.redactor);
        for (code, text) in inventory.findings {
            report.finding(code, path, text);
        }
        for (code, text) in inventory.notes {
            report.note(code, path, text);
        }
        let said = inventory.name.as_deref();
        let name = name.path(inventory.kind, said);
        let name = name.as_deref();
        if let (Some(expected), Some(said)) = (name, said)
            && expected != said
        {
            report.finding(
                "name",
                path,
                format!("its content belongs to another name than {expected}"),
            );
        }
        let mac = self.judge_mac(plaintext, name, opened_by.as_ref());
        match mac {
            MacVerdict::Wrong => report.finding("mac", path, FileFault::Forged.to_string()),
            MacVerdict::Unchecked => {
                report.note(
                    "mac-unchecked",
                    path,
                    "its MAC was not checked, for want of a key file or of a name",
                );
            }
            MacVerdict::Right => {}
        }
        let written_at = inventory.header.map(|h| h.written_at);
        for (what, time) in [
            ("written", written_at),
            ("a peer joined", inventory.joined_at),
        ] {
            if let Some(time) = time.filter(|t| *t > self.now.saturating_add(CLOCK_TOLERANCE)) {
                report.note(
                    "clock",
                    path,
                    format!("{what} at {}, which is yet to come", rfc3339(time)),
                );
            }
        }
        Content {
            opened_by,
            name: name.map(str::to_owned),
            schema: inventory.header.map(|h| h.schema),
            kind: inventory.kind,
            boot: inventory.header.map(|h| h.boot),
            written_at,
            certificates: inventory.certificates,
            mac,
            items: inventory.items,
        }
    }

    /// The MAC must be made with the key of the identity that opened the file; for a plaintext,
    /// with any of them.
    fn judge_mac(
        &self,
        plaintext: &[u8],
        name: Option<&str>,
        opened_by: Option<&OpenedBy>,
    ) -> MacVerdict {
        let (Some(keys), Some(name)) = (&self.keys, name) else {
            return MacVerdict::Unchecked;
        };
        let (content, mac) = plaintext.split_at(plaintext.len().saturating_sub(MAC_LEN));
        let keys = match opened_by {
            Some(opened_by) => &keys[opened_by.position..=opened_by.position],
            None => &keys[..],
        };
        let right = keys.iter().any(|key| key.mac_is_right(name, content, mac));
        if right {
            MacVerdict::Right
        } else {
            MacVerdict::Wrong
        }
    }

    /// One X25519 recipient and possibly one stanza of filler, and nothing else: another recipient
    /// could read the file, and the content of other stanzas is unknowable.
    fn judge_stanzas(&self, report: &mut Report, path: &str, age: &AgeFacts) {
        let (mut recipients, mut filler) = (0, 0);
        for stanza in &age.stanzas {
            match stanza.kind.as_str() {
                "X25519" => recipients += 1,
                kind if kind.ends_with("-grease") && stanza.bytes <= GREASE_LIMIT => filler += 1,
                kind => {
                    let kind = kind.escape_debug();
                    report.finding(
                        "stanza",
                        path,
                        format!("a stanza of {} bytes of type {kind}", stanza.bytes),
                    );
                }
            }
        }
        if recipients != 1 {
            report.finding(
                "stanza",
                path,
                format!("{recipients} X25519 recipients, where there should be one"),
            );
        }
        if filler > 1 {
            report.finding(
                "stanza",
                path,
                format!("{filler} stanzas of filler, where there should be one at most"),
            );
        }
    }
}

//! Splits a plaintext into consecutive items, each with its class.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use bincode::config;
use rekindle_ids::{IceCredentials, hex};
use serde::Serialize;

use super::der;
use super::report::{Class, Item};
use super::sdp::{self, Side};
use crate::error::FileFault;
use crate::layout::{COUNTERS, IDENTITY, file_name, path_in_vault};
use crate::record::{
    CertificateRecord, FULL_STATE_BIT, Header, IdentityRecord, Kind, MAC_LEN, MAGIC, PeerRecord,
    SCHEMA, full_state, limits,
};
use crate::seal::{MacKey, decode, decode_of_any_kind};

/// Shows values, or short keyed hashes of them, so that equal values can be recognised but not
/// guessed.
pub(crate) struct Redactor {
    pub key: MacKey,
    pub reveal: bool,
}

impl Redactor {
    fn show(&self, bytes: &[u8]) -> String {
        if !self.reveal {
            return format!("#{}", hex::encode(&self.key.tag(&[bytes])[..4]));
        }
        match std::str::from_utf8(bytes) {
            // Escaped: a file's content must not control a terminal.
            Ok(text)
                if !text
                    .chars()
                    .any(|c| c.is_control() && !"\r\n\t".contains(c)) =>
            {
                text.escape_debug().to_string()
            }
            _ => hex::encode(bytes),
        }
    }
}

/// A plaintext, split into items.
pub(crate) struct Inventory {
    pub items: Vec<Item>,
    /// `None` if it has no header of ours.
    pub header: Option<Header>,
    /// `identity` or `peer`; of full-state mode `session`, `counters`, or `full-state` for unknown
    /// content.
    pub kind: Option<&'static str>,
    /// The file name that the content belongs to.
    pub name: Option<String>,
    /// SHA-256 of certificates, in hexadecimal digits: those that an identity holds, or the one
    /// that a peer's answer names.
    pub certificates: Vec<String>,
    /// A peer's, in seconds since the Unix epoch.
    pub joined_at: Option<u64>,
    /// Faults: code and text.
    pub findings: Vec<(&'static str, String)>,
    /// Remarks: code and text.
    pub notes: Vec<(&'static str, String)>,
}

fn sha256(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes)
}

/// Collects items.
pub(crate) struct Builder<'a> {
    redactor: &'a Redactor,
    at: usize,
    pub(crate) inventory: Inventory,
}

/// Splits a plaintext. Every byte of it is in exactly one item, whatever its content.
pub(crate) fn take_apart(plaintext: &[u8], redactor: &Redactor) -> Inventory {
    let inventory = Inventory {
        items: Vec::new(),
        header: None,
        kind: None,
        name: None,
        certificates: Vec::new(),
        joined_at: None,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    let mut builder = Builder {
        redactor,
        at: 0,
        inventory,
    };
    let (content, mac) = plaintext.split_at(plaintext.len().saturating_sub(MAC_LEN));
    if builder.content(content) {
        builder.put("mac", Class::Public, mac);
    } else {
        builder.unaccounted(&plaintext[builder.at..]);
    }
    builder.inventory
}

impl Builder<'_> {
    /// Header and body. Returns whether the content ends where the MAC should begin.
    fn content(&mut self, content: &[u8]) -> bool {
        let bounded = config::standard().with_limit::<64>();
        let header = content
            .starts_with(&MAGIC)
            .then(|| bincode::serde::decode_from_slice(content, bounded));
        let Some(Ok((header, used))) = header else {
            self.finding(
                "not-ours",
                "it does not begin as a plaintext of rekindle does",
            );
            return false;
        };
        let header: Header = header;
        if encoded(&header) != content[..used] {
            self.finding("unaccounted", FileFault::Malformed.to_string());
            return false;
        }
        self.header(&header);
        let fault = match header.kind {
            _ if header.schema != SCHEMA => FileFault::Schema(header.schema),
            kind if is_identity(kind) => {
                match decode_of_any_kind::<_, { limits::PEER_FILE }>(content) {
                    Ok((_, record)) => return self.identity(&record),
                    Err(fault) => fault,
                }
            }
            kind if kind & FULL_STATE_BIT != 0 => {
                self.session_state(kind, content);
                return true;
            }
            kind if kind == Kind::PEER.byte() => match decode(Kind::PEER, content) {
                Ok((_, record)) => return self.peer(&record),
                Err(fault) => fault,
            },
            _ => FileFault::WrongKind,
        };
        self.finding(
            if matches!(fault, FileFault::Schema(_)) {
                "schema"
            } else {
                "unaccounted"
            },
            fault.to_string(),
        );
        false
    }

    fn header(&mut self, header: &Header) {
        // Without `..`: a field that is added does not compile before it has a class here.
        let Header {
            magic,
            schema,
            kind,
            boot,
            written_at,
        } = header;
        self.put("magic", Class::Public, magic);
        self.number("schema", Class::Public, schema);
        self.number("kind", Class::Public, kind);
        self.number("boot", Class::Public, boot);
        // When a peer joined, moved or had media is personal data; when the server started is not.
        let class = if is_identity(*kind) {
            Class::Public
        } else {
            Class::PersonalData
        };
        self.number("written_at", class, written_at);
        self.inventory.header = Some(*header);
        if *kind == full_state::IDENTITY {
            let text = "written by full-state mode: session keys are kept in this vault, or were";
            self.finding("full-state", text);
        }
    }

    /// What full-state mode writes in addition: all of it exists for keys that must not be on disk.
    /// Only a build with that mode can name each byte.
    fn session_state(&mut self, kind: u8, content: &[u8]) {
        let text = match kind {
            full_state::SESSION => {
                self.inventory.kind = Some("session");
                "a peer's session keys: they decrypt what somebody has recorded of its traffic"
            }
            full_state::COUNTERS => {
                self.inventory.kind = Some("counters");
                self.inventory.name = Some(COUNTERS.to_owned());
                "rollover counters and indices of session keys"
            }
            _ => {
                self.inventory.kind = Some("full-state");
                "of a kind that is not known, written by a mode that keeps session keys"
            }
        };
        self.finding("forbidden", text);
        crate::full_state::fields(self, kind, content);
        self.put("session state", Class::Forbidden, &content[self.at..]);
    }

    fn identity(&mut self, record: &IdentityRecord<'_>) -> bool {
        let IdentityRecord { current, earlier } = record;
        self.inventory.kind = Some("identity");
        self.inventory.name = Some(IDENTITY.to_owned());
        self.certificate("", current);
        self.number("earlier.count", Class::Public, &earlier.len());
        if earlier.len() > limits::EARLIER {
            self.finding(
                "unfit",
                format!(
                    "{} earlier certificates, where {} is the most",
                    earlier.len(),
                    limits::EARLIER
                ),
            );
        }
        for (index, record) in earlier.iter().enumerate() {
            self.certificate(&format!("earlier[{index}] "), record);
        }
        true
    }

    fn certificate(&mut self, prefix: &str, record: &CertificateRecord<'_>) {
        let CertificateRecord {
            certificate,
            private_key,
        } = record;
        self.inventory
            .certificates
            .push(hex::encode(sha256(certificate).as_ref()));
        let parts = der::identity(certificate, private_key);
        let (certificate_parts, private_parts) = match parts {
            Ok((certificate, private)) => (Some(certificate), Some(private)),
            Err(wrong) => {
                self.finding("certificate", wrong);
                (None, None)
            }
        };
        for (name, bytes, parts, class) in [
            ("certificate", certificate, certificate_parts, Class::Public),
            (
                "private_key",
                private_key,
                private_parts,
                Class::LongLivedSecret,
            ),
        ] {
            self.number(
                &format!("{prefix}{name}.length"),
                Class::Public,
                &bytes.len(),
            );
            // An unparsed structure is one item, of the gravest class that it could contain.
            let whole = vec![der::Part {
                length: bytes.len(),
                name: "whole",
                class,
            }];
            let mut rest: &[u8] = bytes;
            for part in parts.unwrap_or(whole) {
                let (bytes, next) = rest.split_at(part.length);
                self.put(&format!("{prefix}{name} {}", part.name), part.class, bytes);
                rest = next;
            }
        }
    }

    fn peer(&mut self, record: &PeerRecord) -> bool {
        // Without `..`, as above.
        let PeerRecord {
            role,
            channel,
            ice: IceCredentials { ufrag, pwd },
            offer,
            answer,
            joined_at,
        } = record;
        self.inventory.kind = Some("peer");
        self.inventory.name = Some(path_in_vault(&file_name(ufrag)));
        self.inventory.joined_at = Some(*joined_at);
        self.put("role", Class::PersonalData, &encoded(role));
        self.inventory.certificates.extend(sdp::certificate(answer));
        self.text("channel", Class::PersonalData, channel);
        // In clear in every STUN request.
        self.text("ice.ufrag", Class::Public, ufrag.as_str());
        self.text("ice.pwd", Class::Credential, pwd.expose());
        self.sdp("offer", Side::Offer, offer);
        self.sdp("answer", Side::Answer, answer);
        self.number("joined_at", Class::PersonalData, joined_at);
        if let Err(unfit) = record.check() {
            self.finding("unfit", unfit.to_string());
        }
        true
    }

    fn text(&mut self, field: &str, class: Class, text: &str) {
        self.number(&format!("{field}.length"), Class::Public, &text.len());
        self.put(field, class, text.as_bytes());
    }

    fn sdp(&mut self, field: &str, side: Side, text: &str) {
        self.number(&format!("{field}.length"), Class::Public, &text.len());
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(judged) = sdp::judge(side, line) else {
                self.finding(
                    "unaccounted",
                    format!(
                        "line {} of the {field} is no line of a session description",
                        index + 1
                    ),
                );
                self.put(
                    &format!("{field}[{index}] ?"),
                    Class::Unaccounted,
                    line.as_bytes(),
                );
                continue;
            };
            if judged.class == Class::Forbidden {
                self.finding(
                    "forbidden",
                    format!(
                        "line {} of the {field}, {}, carries a key",
                        index + 1,
                        judged.label
                    ),
                );
            }
            if !judged.known {
                let text = format!(
                    "{field}: {} is not known to the auditor; look at it with --reveal",
                    judged.label
                );
                self.inventory.notes.push(("unknown-line", text));
            }
            self.put(
                &format!("{field}[{index}] {}", judged.label),
                judged.class,
                line.as_bytes(),
            );
        }
    }

    /// A number in bincode's encoding. Those of class public are shown, and the time of writing
    /// too, since the report contains it anyway.
    pub(crate) fn number(
        &mut self,
        field: &str,
        class: Class,
        number: &(impl Serialize + ToString),
    ) {
        let length = encoded(number).len();
        if class == Class::Public || field == "written_at" || self.redactor.reveal {
            self.item(field, class, length, number.to_string());
        } else {
            self.put(field, class, &encoded(number));
        }
    }

    pub(crate) fn put(&mut self, field: &str, class: Class, bytes: &[u8]) {
        let value = self.redactor.show(bytes);
        self.item(field, class, bytes.len(), value);
    }

    fn item(&mut self, field: &str, class: Class, length: usize, value: String) {
        if length > 0 {
            self.inventory.items.push(Item {
                offset: self.at,
                length,
                field: field.to_owned(),
                class,
                value,
            });
            self.at += length;
        }
    }

    fn unaccounted(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.put("unaccounted", Class::Unaccounted, rest);
        }
    }

    pub(crate) fn finding(&mut self, code: &'static str, text: impl Into<String>) {
        self.inventory.findings.push((code, text.into()));
    }
}

fn is_identity(kind: u8) -> bool {
    kind == Kind::IDENTITY.byte() || kind == full_state::IDENTITY
}

/// Its encoding in a file.
pub(crate) fn encoded(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config::standard()).expect("numbers and names encode")
}

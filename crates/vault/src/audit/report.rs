//! What an audit found, as it goes into `--json`. The fields are described in
//! `threat-model/persisted-format.md`.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a byte is, and so what its theft allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Good for as long as the vault: the DTLS private key.
    LongLivedSecret,
    /// Good for one peer's session: ICE passwords.
    Credential,
    /// About a person: addresses, times, what was watched, what the browser is.
    PersonalData,
    /// On the wire in clear, or part of the format.
    Public,
    /// Must not be on disk: session keys and the like.
    Forbidden,
    /// Not explained by the format.
    Unaccounted,
}

impl Class {
    /// All classes, the gravest last.
    pub const ALL: [Class; 6] = [
        Class::Public,
        Class::PersonalData,
        Class::Credential,
        Class::LongLivedSecret,
        Class::Unaccounted,
        Class::Forbidden,
    ];

    /// As in the JSON report.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::LongLivedSecret => "long-lived-secret",
            Class::Credential => "credential",
            Class::PersonalData => "personal-data",
            Class::Public => "public",
            Class::Forbidden => "forbidden",
            Class::Unaccounted => "unaccounted",
        }
    }
}

/// Some bytes of a plaintext. The items of a file lie end to end from offset 0 to its last byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// From the first byte of the plaintext.
    pub offset: usize,
    /// In bytes.
    pub length: usize,
    /// What it is; a path such as `offer[12] a=ice-pwd` (the 13th line of the offer).
    pub field: String,
    /// Its class.
    pub class: Class,
    /// `#` and 32 bits of a keyed hash, or the value itself: a number of class public, or anything
    /// with `--reveal`.
    pub value: String,
}

/// One recipient stanza of an age header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stanza {
    /// Its first word: `X25519`, or the name of filler that ends in `-grease`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Words after the first.
    pub arguments: usize,
    /// Of its body, decoded.
    pub body_bytes: usize,
    /// Of the whole stanza in the file.
    pub bytes: usize,
}

/// What an age file shows without a key. Header, nonce, plaintext and tags add up to the file's
/// size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgeFacts {
    /// `v1`.
    pub version: &'static str,
    /// In their order.
    pub stanzas: Vec<Stanza>,
    /// Version line, stanzas and header MAC.
    pub header_bytes: usize,
    /// Before the payload.
    pub nonce_bytes: usize,
    /// Of the payload, decrypted.
    pub plaintext_bytes: usize,
    /// Poly1305 tags, 16 for each chunk of 64 KiB.
    pub tag_bytes: usize,
}

/// Which identity of the key file opens a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenedBy {
    /// `age1...`
    pub recipient: String,
    /// In the key file, from 0. Others than 0 are old keys.
    pub position: usize,
}

/// Whether the MAC at the end of a plaintext is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacVerdict {
    /// Made with the key file, for this file name.
    Right,
    /// Not so.
    Wrong,
    /// No key file was given, or the content does not say the name.
    Unchecked,
}

/// What is in a plaintext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// `None` for a plaintext that was decrypted elsewhere.
    pub opened_by: Option<OpenedBy>,
    /// The file name that the MAC is for.
    pub name: Option<String>,
    /// Version of the schema.
    pub schema: Option<u8>,
    /// `identity` or `peer`; of full-state mode `session`, `counters`, or `full-state` for what
    /// nobody knows.
    pub kind: Option<&'static str>,
    /// The boot it was written in.
    pub boot: Option<u64>,
    /// Seconds since the Unix epoch.
    pub written_at: Option<u64>,
    /// SHA-256 of certificates, in hexadecimal digits: those that an identity holds, the current
    /// one first; the one that a peer's answer names.
    pub certificates: Vec<String>,
    /// Of the MAC.
    pub mac: MacVerdict,
    /// Every byte.
    pub items: Vec<Item>,
}

/// What an entry of the vault is, by its name and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// `identity.age`
    Identity,
    /// `peers/<ufrag>.age`
    Peer,
    /// In `set-aside/`.
    SetAside,
    /// `sessions/<ufrag>.age`, of full-state mode.
    Session,
    /// `counters.age`, of full-state mode.
    Counters,
    /// In `rekey/` or `.tmp-rekey/`.
    Rekey,
    /// `lock`
    Lock,
    /// A folder of the vault.
    Folder,
    /// Being written, or left by a killed process.
    Temporary,
    /// None of the above.
    Stray,
    /// Named on the command line.
    Named,
}

/// One file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// From the vault's folder.
    pub path: String,
    /// What it is there for.
    pub place: Place,
    /// In bytes.
    pub size: u64,
    /// User number.
    pub owner: u32,
    /// Permission bits, four octal digits.
    pub mode: String,
    /// Hard links.
    pub links: u64,
    /// If it is an age file.
    pub age: Option<AgeFacts>,
    /// If it was decrypted.
    pub content: Option<Content>,
}

/// Something that should not be so, or that a reviewer wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable, for scripts.
    pub code: &'static str,
    /// The file, or empty for the vault as a whole.
    pub file: String,
    /// For people.
    pub text: String,
}

/// Whether a process uses the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// A process has it.
    Held,
    /// Nobody has it.
    Free,
    /// There is no lock file, or we may not open it.
    Unknown,
}

/// A recipient of the key file, and what is under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecipientFacts {
    /// `age1...`
    pub recipient: String,
    /// Files that its identity opens.
    pub files: usize,
}

/// The vault as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultFacts {
    /// Who has the lock.
    pub lock: Lock,
    /// The boot that `identity.age` says.
    pub boot: Option<u64>,
    /// Files in `peers/`.
    pub peers: usize,
    /// Of the key file, in its order: all but the first are old keys.
    pub recipients: Vec<RecipientFacts>,
}

/// Clean or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No findings.
    Clean,
    /// At least one.
    Findings,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `rekindle-audit`
    pub report: &'static str,
    /// Of this layout: 1.
    pub version: u32,
    /// Of the program.
    pub program: &'static str,
    /// The folder or file; `-` for the standard input.
    pub target: String,
    /// Whether a key file was given.
    pub with_key: bool,
    /// Whether values are shown.
    pub revealed: bool,
    /// For a folder.
    pub vault: Option<VaultFacts>,
    /// In order of their paths.
    pub files: Vec<FileReport>,
    /// Bytes of plaintext by class.
    pub totals: BTreeMap<&'static str, u64>,
    /// Each of them fails the audit.
    pub findings: Vec<Finding>,
    /// None of them does.
    pub notes: Vec<Finding>,
    /// Of all.
    pub verdict: Verdict,
}

impl Report {
    /// An empty report.
    pub(super) fn new(target: &str, with_key: bool, revealed: bool) -> Self {
        Self {
            report: "rekindle-audit",
            version: 1,
            program: concat!("rekindle ", env!("CARGO_PKG_VERSION")),
            target: target.to_owned(),
            with_key,
            revealed,
            vault: None,
            files: Vec::new(),
            totals: BTreeMap::new(),
            findings: Vec::new(),
            notes: Vec::new(),
            verdict: Verdict::Clean,
        }
    }

    /// Adds up, sorts, judges.
    pub(super) fn conclude(mut self) -> Self {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.totals = Class::ALL.iter().map(|c| (c.as_str(), 0)).collect();
        for item in self
            .files
            .iter()
            .filter_map(|f| f.content.as_ref())
            .flat_map(|c| &c.items)
        {
            *self.totals.entry(item.class.as_str()).or_default() += item.length as u64;
        }
        self.verdict = if self.findings.is_empty() {
            Verdict::Clean
        } else {
            Verdict::Findings
        };
        self
    }

    /// Something that fails the audit.
    pub(super) fn finding(&mut self, code: &'static str, file: &str, text: impl Into<String>) {
        self.findings.push(Finding {
            code,
            file: file.to_owned(),
            text: text.into(),
        });
    }

    /// Something to know.
    pub(super) fn note(&mut self, code: &'static str, file: &str, text: impl Into<String>) {
        self.notes.push(Finding {
            code,
            file: file.to_owned(),
            text: text.into(),
        });
    }
}

//! The result of an audit, in the form of `--json`. The fields are described in
//! `threat-model/persisted-format.md`.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a byte is, and so what its theft would allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Valid as long as the vault: the DTLS private key.
    LongLivedSecret,
    /// Valid for one peer's session: ICE passwords.
    Credential,
    /// About a person: addresses, times, what was watched, the browser.
    PersonalData,
    /// Sent in clear, or part of the format.
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

    /// Its name in the JSON report.
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

/// Some bytes of a plaintext. The items of a file cover it from offset 0 to its last byte.
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
    /// Length of its body, decoded.
    pub body_bytes: usize,
    /// Length of the whole stanza in the file.
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
    /// Length of version line, stanzas and header MAC.
    pub header_bytes: usize,
    /// Length of the nonce before the payload.
    pub nonce_bytes: usize,
    /// Length of the decrypted payload.
    pub plaintext_bytes: usize,
    /// Length of the Poly1305 tags, 16 for each chunk of 64 KiB.
    pub tag_bytes: usize,
}

/// Which identity of the key file opens a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenedBy {
    /// `age1...`
    pub recipient: String,
    /// Its position in the key file, from 0. All but the first are old keys.
    pub position: usize,
}

/// Whether the MAC at the end of a plaintext is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacVerdict {
    /// Made with the key file, for this file name.
    Right,
    /// Invalid.
    Wrong,
    /// No key file was given, or the name is not known.
    Unchecked,
}

/// The content of a plaintext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// `None` for a plaintext that was decrypted elsewhere.
    pub opened_by: Option<OpenedBy>,
    /// The file name that the MAC is for.
    pub name: Option<String>,
    /// Version of the schema.
    pub schema: Option<u8>,
    /// `identity` or `peer`; of full-state mode `session`, `counters`, or `full-state` for unknown
    /// content.
    pub kind: Option<&'static str>,
    /// The boot it was written in.
    pub boot: Option<u64>,
    /// Seconds since the Unix epoch.
    pub written_at: Option<u64>,
    /// SHA-256 of certificates, in hexadecimal digits: those that an identity holds, the current
    /// one first; or the one that a peer's answer names.
    pub certificates: Vec<String>,
    /// Whether the MAC is valid.
    pub mac: MacVerdict,
    /// Every byte.
    pub items: Vec<Item>,
}

/// What an entry of the vault is, by its name and folder.
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
    /// Path within the vault's folder.
    pub path: String,
    /// Its purpose.
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

/// A fault, or a remark for the reviewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, for scripts.
    pub code: &'static str,
    /// The file, or empty for the vault as a whole.
    pub file: String,
    /// Text for people.
    pub text: String,
}

/// Whether a process uses the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// A process has it.
    Held,
    /// No process has it.
    Free,
    /// There is no lock file, or it may not be opened.
    Unknown,
}

/// A recipient of the key file, and the files for it.
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
    /// The boot in `identity.age`.
    pub boot: Option<u64>,
    /// Files in `peers/`.
    pub peers: usize,
    /// The recipients of the key file, in its order: all but the first are old keys.
    pub recipients: Vec<RecipientFacts>,
}

/// The verdict.
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
    /// Version of this layout: 1.
    pub version: u32,
    /// Version of the program.
    pub program: &'static str,
    /// The folder or file; `-` for the standard input.
    pub target: String,
    /// Whether a key file was given.
    pub with_key: bool,
    /// Whether values are shown.
    pub revealed: bool,
    /// Present for a folder.
    pub vault: Option<VaultFacts>,
    /// Ordered by path.
    pub files: Vec<FileReport>,
    /// Bytes of plaintext by class.
    pub totals: BTreeMap<&'static str, u64>,
    /// Faults; each of them fails the audit.
    pub findings: Vec<Finding>,
    /// Remarks; none of them does.
    pub notes: Vec<Finding>,
    /// The overall verdict.
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

    /// Sums, sorts, judges.
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

    /// Adds a fault, which fails the audit.
    pub(super) fn finding(&mut self, code: &'static str, file: &str, text: impl Into<String>) {
        self.findings.push(Finding {
            code,
            file: file.to_owned(),
            text: text.into(),
        });
    }

    /// Adds a remark.
    pub(super) fn note(&mut self, code: &'static str, file: &str, text: impl Into<String>) {
        self.notes.push(Finding {
            code,
            file: file.to_owned(),
            text: text.into(),
        });
    }
}

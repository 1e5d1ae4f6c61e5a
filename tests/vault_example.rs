//! The worked example of `threat-model/persisted-format.md` is a real vault, in
//! `threat-model/example/`. What the document shows of it must be what the programs say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rekindle::cli::audit_report::{write_human, write_json};
use rekindle::ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle::sdp::fingerprint_value;
use rekindle::vault::audit::{Options, Verdict, audit};
use rekindle::vault::{KeyFile, PeerRecord, Vault};

const FILES: [&str; 2] = ["identity.age", "peers/Ab3dEf7h.age"];
/// Of `example-full-state`, which `tests/audit_full_state.rs` makes. Those that the document shows
/// come first.
const KEPT: [&str; 6] = [
    "sessions/Pwu9BhAi07IFgP4Z.age",
    "counters.age",
    "sessions/V7YcWR3Y8MJN38GL.age",
    "identity.age",
    "peers/Pwu9BhAi07IFgP4Z.age",
    "peers/V7YcWR3Y8MJN38GL.age",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("threat-model")
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_060)
}

/// A copy with the modes that a vault has, which git does not keep.
fn copy_of_the_example() -> tempfile::TempDir {
    copy_of("example", &FILES)
}

fn copy_of(example: &str, files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode")
    };
    let vault = dir.path().join("vault");
    for file in files {
        let (from, to) = (root().join(example).join(file), vault.join(file));
        let folder = to.parent().expect("a folder");
        fs::create_dir_all(folder).expect("made");
        mode(folder, 0o700);
        fs::copy(from, &to).expect("copied");
        mode(&to, 0o600);
    }
    mode(&vault, 0o700);
    fs::copy(root().join("example/key.txt"), dir.path().join("key.txt")).expect("copied");
    mode(&dir.path().join("key.txt"), 0o600);
    dir
}

/// `rekindle audit FILE --key-file KEY --reveal`, from the line of column names on.
fn items(dir: &Path, file: &str, verdict: Verdict) -> String {
    let options = Options {
        target: dir.join("vault").join(file),
        key_file: Some(dir.join("key.txt")),
        reveal: true,
        ..Options::default()
    };
    let report = audit(&options, &mut &b""[..], now()).expect("could look");
    assert_eq!(report.verdict, verdict, "{:?}", report.findings);
    let mut text = Vec::new();
    write_human(&report, true, false, &mut text).expect("written");
    let text = String::from_utf8(text).expect("text");
    let table = &text[text.find("     offset").expect("the table")..];
    let table = &table[..table.find("\n\n").expect("its end") + 1];
    table
        .lines()
        .map(|line| {
            format!(
                "{}\n",
                line.strip_prefix("     ").unwrap_or(line).trim_end()
            )
        })
        .collect()
}

#[test]
fn the_document_shows_what_the_auditor_says_of_the_example() {
    let document = fs::read_to_string(root().join("persisted-format.md")).expect("the document");
    let dir = copy_of_the_example();
    for file in FILES {
        let table = items(dir.path(), file, Verdict::Clean);
        assert!(
            document.contains(&table),
            "persisted-format.md should have this table of {file}:\n{table}"
        );
    }
}

/// In a build without full-state mode too: it knows what it does not read.
#[test]
fn a_vault_that_a_full_state_server_left_fails_the_audit_of_any_build() {
    let dir = copy_of("example-full-state", &KEPT);
    let options = Options {
        target: dir.path().join("vault"),
        key_file: Some(dir.path().join("key.txt")),
        ..Options::default()
    };
    let report = audit(&options, &mut &b""[..], now()).expect("could look");
    assert_eq!(report.verdict, Verdict::Findings);
    let mut found: Vec<_> = report.findings.iter().map(|f| (f.code, &*f.file)).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("forbidden", KEPT[1]),
            ("forbidden", KEPT[0]),
            ("forbidden", KEPT[2]),
            ("full-state", "identity.age"),
            ("full-state", "sessions")
        ]
    );
    // 107 bytes of each session, 142 of the counters: all between header and MAC.
    assert_eq!(
        (report.totals["forbidden"], report.totals["unaccounted"]),
        (356, 0)
    );
    for file in report.files.iter().filter(|file| file.age.is_some()) {
        let (age, content) = (
            file.age.as_ref().expect("age"),
            file.content.as_ref().expect("content"),
        );
        let items: usize = content.items.iter().map(|item| item.length).sum();
        assert_eq!(items, age.plaintext_bytes, "{}", file.path);
    }
    // The server of a build without that mode does not start on it; that of one with it removes the
    // keys.
    let keys = KeyFile::load(&options.key_file.expect("named above")).expect("the key file");
    let opened = Vault::open(&options.target, keys, now());
    if cfg!(feature = "full-state") {
        opened.expect("opens").vault.commit_boot().expect("written");
        assert!(
            !dir.path().join("vault/sessions").exists()
                && !dir.path().join("vault/counters.age").exists()
        );
    } else {
        let error = opened.expect_err("refused").to_string();
        assert!(error.contains("full-state"), "{error}");
    }
}

#[cfg(feature = "full-state")]
#[test]
fn the_document_shows_what_the_auditor_says_of_the_full_state_example() {
    let document = fs::read_to_string(root().join("persisted-format.md")).expect("the document");
    let dir = copy_of("example-full-state", &KEPT);
    for file in &KEPT[..2] {
        let table = items(dir.path(), file, Verdict::Findings);
        assert!(
            document.contains(&table),
            "persisted-format.md should have this table of {file}:\n{table}"
        );
    }
}

#[test]
fn the_example_is_a_clean_vault_that_a_server_opens() {
    let dir = copy_of_the_example();
    let (vault, key_file) = (dir.path().join("vault"), dir.path().join("key.txt"));
    let options = Options {
        target: vault.clone(),
        key_file: Some(key_file.clone()),
        ..Options::default()
    };
    let report = audit(&options, &mut &b""[..], now()).expect("could look");
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
    let keys = KeyFile::load(&key_file).expect("the key file");
    let opened = Vault::open(&vault, keys, now()).expect("opens");
    assert_eq!(opened.boot, 2);
    let example = example(opened.identity.sha256());
    assert_eq!(
        opened.reader.read(&example.ice.ufrag).expect("read"),
        Some(example)
    );
}

/// The values of a schema that are one of a few, and the names of its properties.
fn enumerated(schema: &serde_json::Value, found: &mut Vec<String>) {
    let values = schema["enum"].as_array().into_iter().flatten();
    found.extend(values.filter_map(|value| value.as_str().map(str::to_owned)));
    found.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys().cloned()),
    );
    let inside = schema.as_object().into_iter().flat_map(|map| map.values());
    inside
        .filter(|value| value.is_object())
        .for_each(|value| enumerated(value, found));
}

/// A report of another layout is noticed.
#[test]
fn the_schema_of_the_json_report_refuses_what_is_not_in_it() {
    let dir = copy_of_the_example();
    let options = Options {
        target: dir.path().join("vault"),
        key_file: Some(dir.path().join("key.txt")),
        ..Options::default()
    };
    let report = audit(&options, &mut &b""[..], now()).expect("could look");
    let good = serde_json::to_value(&report).expect("JSON");
    rekindle_testing::schema::must_fit(&good);
    let spoiled = |spoil: &dyn Fn(&mut serde_json::Value)| {
        let mut report = good.clone();
        spoil(&mut report);
        rekindle_testing::schema::faults(&rekindle_testing::schema::schema(), &report)
    };
    assert_eq!(
        spoiled(&|r| r["more"] = 1.into()),
        ["report: additionalProperties"]
    );
    assert_eq!(
        spoiled(&|r| r["version"] = 2.into()),
        ["report.version: const"]
    );
    assert_eq!(
        spoiled(&|r| r["verdict"] = "good".into()),
        ["report.verdict: enum"]
    );
    assert_eq!(
        spoiled(&|r| r["files"][1]["size"] = (-1).into()),
        ["report.files[1].size: minimum"]
    );
    let item =
        |r: &mut serde_json::Value| r["files"][1]["content"]["items"][3]["class"] = "secret".into();
    assert_eq!(
        spoiled(&item),
        ["report.files[1].content.items[3].class: enum"]
    );
    let without = |r: &mut serde_json::Value| {
        drop(
            r["vault"]
                .as_object_mut()
                .expect("an object")
                .remove("lock"),
        )
    };
    assert_eq!(spoiled(&without), ["report.vault: required"]);
}

/// Every name that the JSON report can have is in the document.
#[test]
fn the_document_describes_the_json_report() {
    fn names(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    found.push(name.clone());
                    names(value, found);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    let dir = copy_of_the_example();
    fs::write(dir.path().join("vault/stray"), b"").expect("written");
    let target = dir.path().join("vault");
    let options = Options {
        target,
        key_file: Some(dir.path().join("key.txt")),
        ..Options::default()
    };
    let report = audit(&options, &mut &b""[..], now()).expect("could look");
    let mut text = Vec::new();
    write_json(&report, &mut text).expect("written");
    let mut found = Vec::new();
    let report = serde_json::from_slice(&text).expect("JSON");
    rekindle_testing::schema::must_fit(&report);
    names(&report, &mut found);
    assert!(found.len() > 50);
    // What this report does not have, but another might: also every value that is one of a few.
    let mut possible = Vec::new();
    enumerated(&rekindle_testing::schema::schema(), &mut possible);
    assert!(possible.len() > 50);
    found.extend(possible);
    let document = fs::read_to_string(root().join("persisted-format.md")).expect("the document");
    for name in found {
        assert!(
            document.contains(&format!("`{name}`")),
            "persisted-format.md says nothing of `{name}`"
        );
    }
}

/// The peer, of a server with this certificate.
fn example(certificate: [u8; 32]) -> PeerRecord {
    let fingerprint = fingerprint_value("sha-256", &certificate);
    let pwd = "yT0cXk4bLr9sVq2mWn6eJh8a";
    PeerRecord {
        role: Role::Viewer,
        channel: "lobby".into(),
        ice: IceCredentials {
            ufrag: Ufrag::new("Ab3dEf7h").expect("a ufrag"),
            pwd: IcePassword::new(pwd.into()),
        },
        offer: "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
                a=group:BUNDLE 0\r\n\
                m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:4ZcD\r\n\
                a=ice-pwd:2/1muCWoOi3uLifh0NuRHlgs\r\n\
                a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:\
                46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\na=setup:actpass\r\n\
                a=mid:0\r\n\
                a=recvonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
                a=candidate:1 1 udp 2130706431 192.0.2.17 49203 typ host\r\n"
            .into(),
        answer: format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-lite\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Ab3dEf7h\r\n\
             a=ice-pwd:{pwd}\r\n\
             a=fingerprint:{fingerprint}\r\na=setup:passive\r\na=mid:0\r\na=sendonly\r\n\
             a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
             a=candidate:1 1 udp 2130706431 198.51.100.7 3478 typ host\r\n"
        ),
        joined_at: 1_800_000_000,
    }
}

/// Makes the example anew: `cargo test --test vault_example -- --ignored`. Then put the tables into
/// the document.
#[test]
#[ignore = "makes the example anew"]
fn make_the_example() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let key = dir.path().join("key.txt");
    fs::copy(root().join("example/key.txt"), &key).expect("copied");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    let vault = dir.path().join("vault");
    let opened =
        Vault::open(&vault, KeyFile::load(&key).expect("the key file"), now()).expect("made");
    let example = example(opened.identity.sha256());
    opened.vault.save(&example, now()).expect("saved");
    fs::create_dir_all(root().join("example/peers")).expect("made");
    for file in FILES {
        fs::copy(vault.join(file), root().join("example").join(file)).expect("copied");
    }
    for file in FILES {
        println!("{file}\n{}", items(dir.path(), file, Verdict::Clean));
    }
}

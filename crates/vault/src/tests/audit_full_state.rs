//! The auditor on what full-state mode keeps, in builds with and without that mode. The files here
//! are made byte for byte, as `threat-model/persisted-format.md` says; vaults that a server of that
//! mode wrote are audited in `tests/audit_full_state.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::audit::{PEER, codes, look, options, plaintext_of};
use super::*;
use crate::audit::{Item, MacVerdict, Options, Report, Verdict, audit};

const SESSION: &str = "sessions/somebody00.age";
const COUNTERS: &str = "counters.age";
/// Magic, schema, kind, boot, time.
const HEADER: usize = 8 + 1 + 1 + 1 + 5;
const MAC: usize = 32;

fn header(kind: u8, boot: u8) -> Vec<u8> {
    [
        &b"rekindle\x02"[..],
        &[kind, boot, 0xfc],
        &1_800_000_000_u32.to_le_bytes(),
    ]
    .concat()
}

/// AES-128-GCM: two keys, two salts.
fn session() -> Vec<u8> {
    let material: Vec<u8> = (0..56).map(|n| 0xa0 ^ n).collect();
    [&header(0x83, 1)[..], b"\x0asomebody00", &[7, 56], &material].concat()
}

/// One session, with a stream in each direction.
fn counters() -> Vec<u8> {
    [
        &header(0x84, 1)[..],
        &[0xfc, 1, 2, 3, 4, 1],
        b"\x0asomebody00",
        &[0x1d; 16],
        &[1, 0, 192, 0, 2, 7],
        &[0xfb, 0, 16],
        // Sent: SSRC, the last index, the ceiling, ahead.
        &[1, 0xfc, 9, 9, 9, 9, 1, 0xfd, 0, 0, 1, 0, 1, 0, 0, 0],
        &[0xfd, 0, 1, 1, 0, 1, 0, 0, 0, 64],
        // Received: SSRC, SRTP, no SRTCP.
        &[1, 0xfc, 8, 8, 8, 8, 1, 77, 0],
    ]
    .concat()
}

fn put(place: &Place, path: &str, content: &[u8]) {
    let sealed = place.keys().keys[0].sealing().seal_with_mac(path, content);
    let path = place.vault_path().join(path);
    let folder = path.parent().expect("a folder");
    if !folder.exists() {
        fs::create_dir(folder).expect("made");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("a mode");
    }
    fs::write(&path, sealed).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
}

/// A vault as full-state mode leaves it.
fn kept() -> Place {
    let place = Place::with_peers(&["somebody00"]);
    let mut identity = plaintext_of(&place, "identity.age");
    identity.truncate(identity.len() - MAC);
    identity[9] |= 0x80;
    put(&place, "identity.age", &identity);
    put(&place, SESSION, &session());
    put(&place, COUNTERS, &counters());
    place
}

fn items<'a>(report: &'a Report, path: &str) -> &'a [Item] {
    let file = report
        .files
        .iter()
        .find(|file| file.path == path)
        .expect("the file");
    &file.content.as_ref().expect("content").items
}

/// In order of their files.
fn found(report: &Report) -> Vec<(&str, &str)> {
    let mut found = codes(report);
    found.sort_unstable_by_key(|(code, file)| (*file, *code));
    found
}

#[test]
fn all_that_full_state_mode_keeps_is_accounted_for_and_fails_the_audit() {
    let report = look(&options(&kept()));
    assert_eq!(report.verdict, Verdict::Findings);
    assert_eq!(
        found(&report),
        [
            ("forbidden", COUNTERS),
            ("full-state", "identity.age"),
            ("full-state", "sessions"),
            ("forbidden", SESSION)
        ]
    );
    // In either build, all after the header is forbidden; and all that there is belongs to a field.
    let forbidden = session().len() + counters().len() - 2 * HEADER;
    assert_eq!(report.totals["forbidden"], forbidden as u64);
    assert_eq!(report.totals["unaccounted"], 0);
    for (path, content) in [(SESSION, session()), (COUNTERS, counters())] {
        let items = items(&report, path);
        assert_eq!(
            items.iter().map(|i| i.length).sum::<usize>(),
            content.len() + MAC
        );
        for item in items
            .iter()
            .filter(|i| i.offset >= HEADER && i.field != "mac")
        {
            assert_eq!(item.class.as_str(), "forbidden", "{item:?}");
            assert!(
                item.value.starts_with('#') && item.value.len() == 9,
                "{item:?}"
            );
        }
    }
    // The identity is one as any other.
    assert_eq!(report.totals["long-lived-secret"], 32);
}

#[test]
fn only_a_build_that_has_full_state_mode_takes_its_keys_apart() {
    let place = kept();
    let report = look(&options(&place));
    let forbidden = |path: &str| -> Vec<(String, usize)> {
        let items = items(&report, path)
            .iter()
            .filter(|i| i.class.as_str() == "forbidden");
        items.map(|i| (i.field.clone(), i.length)).collect()
    };
    if !cfg!(feature = "full-state") {
        for (path, content) in [(SESSION, session()), (COUNTERS, counters())] {
            assert_eq!(
                forbidden(path),
                [("session state".to_owned(), content.len() - HEADER)]
            );
        }
        return;
    }
    let named = |path: &str, expected: &[(&str, usize)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(field, length)| ((*field).to_owned(), *length))
            .collect();
        assert_eq!(forbidden(path), expected);
    };
    named(
        SESSION,
        &[
            ("ufrag.length", 1),
            ("ufrag", 10),
            ("profile", 1),
            ("material.length", 1),
            ("client key", 16),
            ("server key", 16),
            ("client salt", 12),
            ("server salt", 12),
        ],
    );
    named(
        COUNTERS,
        &[
            ("sender", 5),
            ("sessions.count", 1),
            ("sessions[0] ufrag.length", 1),
            ("sessions[0] ufrag", 10),
            ("sessions[0] id", 16),
            ("sessions[0] local", 6),
            ("sessions[0] rtcp_ceiling", 3),
            ("sessions[0] sent.count", 1),
            ("sessions[0] sent[0] ssrc", 5),
            ("sessions[0] sent[0] last", 10),
            ("sessions[0] sent[0] ceiling", 9),
            ("sessions[0] sent[0] ahead", 1),
            ("sessions[0] received.count", 1),
            ("sessions[0] received[0] ssrc", 5),
            ("sessions[0] received[0] rtp", 2),
            ("sessions[0] received[0] rtcp", 1),
        ],
    );
    // Only when asked for.
    let shown = look(&Options {
        reveal: true,
        ..options(&place)
    });
    let key = items(&shown, SESSION)
        .iter()
        .find(|i| i.field == "server key");
    assert_eq!(
        key.expect("named").value,
        "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
    );
}

#[test]
fn without_a_key_files_of_full_state_mode_are_known_by_their_places() {
    let place = kept();
    let outside = Options {
        key_file: None,
        ..options(&place)
    };
    assert_eq!(
        found(&look(&outside)),
        [
            ("forbidden", COUNTERS),
            ("full-state", "sessions"),
            ("forbidden", SESSION)
        ]
    );
    // Also if they do not open, and whatever else is wrong.
    fs::write(place.vault_path().join(SESSION), b"torn").expect("written");
    fs::write(place.vault_path().join("sessions/.tmp-1-1"), b"").expect("written");
    fs::write(place.vault_path().join("sessions/strange"), b"").expect("written");
    for name in [".tmp-1-1", "strange"] {
        let path = place.vault_path().join("sessions").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    assert_eq!(
        found(&look(&options(&place))),
        [
            ("forbidden", COUNTERS),
            ("full-state", "identity.age"),
            ("full-state", "sessions"),
            ("temporary", "sessions/.tmp-1-1"),
            ("forbidden", SESSION),
            ("not-age", SESSION),
            ("stray", "sessions/strange"),
        ]
    );
}

#[test]
fn one_file_of_full_state_mode_and_its_plaintext_get_the_same_verdict() {
    let place = kept();
    for (path, code) in [
        (SESSION, "forbidden"),
        (COUNTERS, "forbidden"),
        ("identity.age", "full-state"),
    ] {
        let target = place.vault_path().join(path);
        let one = look(&Options {
            target: target.clone(),
            ..options(&place)
        });
        assert_eq!(codes(&one), [(code, &*target.to_string_lossy())]);
        let content = one.files[0].content.as_ref().expect("content");
        assert_eq!(
            (content.mac, content.name.as_deref()),
            (MacVerdict::Right, Some(path))
        );

        let plaintext = plaintext_of(&place, path);
        for (name, key_file) in [
            (None, None),
            (Some(path.to_owned()), None),
            (Some(path.to_owned()), Some(place.key_path())),
        ] {
            let expected = if key_file.is_some() {
                MacVerdict::Right
            } else {
                MacVerdict::Unchecked
            };
            let stdin = Options {
                target: "-".into(),
                key_file,
                name,
                ..Options::default()
            };
            let report = audit(&stdin, &mut &plaintext[..], now()).expect("could look");
            assert_eq!(codes(&report), [(code, "-")]);
            assert_eq!(
                report.files[0].content.as_ref().expect("content").mac,
                expected
            );
            assert_eq!(report.totals, one.totals);
        }
    }
}

#[test]
fn files_of_full_state_mode_are_judged_as_all_others() {
    let spoiled = |spoil: &dyn Fn(&Place)| -> Vec<(String, String)> {
        let place = kept();
        spoil(&place);
        let report = look(&options(&place));
        let known = [
            ("forbidden", COUNTERS),
            ("forbidden", SESSION),
            ("full-state", "identity.age"),
            ("full-state", "sessions"),
        ];
        let more = found(&report)
            .into_iter()
            .filter(|finding| !known.contains(finding));
        more.map(|(code, file)| (code.to_owned(), file.to_owned()))
            .collect()
    };
    let is = |found: Vec<(String, String)>, expected: &[(&str, &str)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(c, f)| ((*c).to_owned(), (*f).to_owned()))
            .collect();
        assert_eq!(found, expected);
    };
    is(spoiled(&|_| {}), &[]);
    // Another session's keys under this name: only who reads the name in it can tell, beside the
    // MAC.
    let swapped = spoiled(&|place| {
        put(
            place,
            "sessions/elsebody00.age",
            &[&header(0x83, 1)[..], b"\x0aelsebody00", &[7, 56], &[5; 56]].concat(),
        );
        fs::rename(
            place.vault_path().join("sessions/elsebody00.age"),
            place.vault_path().join(SESSION),
        )
        .expect("moved");
    });
    let both: &[_] = &[("mac", SESSION), ("name", SESSION)];
    is(
        swapped,
        if cfg!(feature = "full-state") {
            both
        } else {
            &both[..1]
        },
    );
    // Of another kind than its place says.
    is(spoiled(&|place| put(place, COUNTERS, &session())), {
        let both: &[_] = &[("name", COUNTERS), ("name", COUNTERS)];
        if cfg!(feature = "full-state") {
            both
        } else {
            &both[..1]
        }
    });
    is(
        spoiled(&|place| put(place, PEER, &session())),
        &if cfg!(feature = "full-state") {
            vec![("forbidden", PEER), ("name", PEER), ("name", PEER)]
        } else {
            vec![("forbidden", PEER), ("name", PEER)]
        },
    );
    // Ahead of the identity. Counters may be by one boot.
    is(
        spoiled(&|place| {
            put(
                place,
                SESSION,
                &[&header(0x83, 2), &session()[HEADER..]].concat(),
            );
            put(
                place,
                COUNTERS,
                &[&header(0x84, 2), &counters()[HEADER..]].concat(),
            );
        }),
        &[("rolled-back", SESSION)],
    );
    is(
        spoiled(&|place| {
            put(
                place,
                COUNTERS,
                &[&header(0x84, 3), &counters()[HEADER..]].concat(),
            )
        }),
        &[("rolled-back", COUNTERS)],
    );
    // Bytes that are no field: in one piece, and forbidden as well.
    let longer = spoiled(&|place| put(place, SESSION, &[&session()[..], &[0]].concat()));
    is(
        longer,
        if cfg!(feature = "full-state") {
            &[("unfit", SESSION)]
        } else {
            &[]
        },
    );
    let too_large = spoiled(&|place| put(place, SESSION, &[&session()[..], &[0; 5000]].concat()));
    is(too_large, &[("too-large", SESSION)]);
}

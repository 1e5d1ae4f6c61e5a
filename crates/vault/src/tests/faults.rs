//! Files that are torn, changed, foreign, forged, swapped, oversized or not even files: each costs
//! itself only.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::reader::open_peer;
use crate::record::{Header, Kind};
use crate::seal::{SealingKey, seal_peer};

const BAD: &str = "badpeer00";
const GOOD: &str = "goodpeer0";

/// Puts a file in a peer's place; expects that this peer, and it alone, is lost, with its file set
/// aside.
fn costs_that_peer_only(spoil: impl FnOnce(&Place)) {
    let place = Place::with_peers(&[BAD, GOOD]);
    spoil(&place);
    decoder::must_agree_on(&place);
    let opened = place.open();
    assert_eq!(opened.reader.read(&ufrag(BAD)).expect("no error"), None);
    assert_eq!(
        opened.reader.read(&ufrag(GOOD)).expect("read"),
        Some(record(GOOD))
    );
    let files = place.files();
    assert!(
        files.contains(&format!("set-aside/{BAD}.2.age")),
        "{files:?}"
    );
    assert!(!files.contains(&format!("peers/{BAD}.age")), "{files:?}");
}

fn bytes_of(place: &Place, name: &str) -> Vec<u8> {
    fs::read(place.peer_path(name)).expect("read")
}

fn fault(place: &Place, name: &str, file: &[u8]) -> FileFault {
    open_peer(&place.keys().keys, &ufrag(name), file, 1).expect_err("refused")
}

fn first_recipient(place: &Place) -> String {
    place.keys().recipients().next().expect("a recipient")
}

#[test]
fn a_torn_file() {
    costs_that_peer_only(|place| {
        let bytes = bytes_of(place, BAD);
        fs::write(place.peer_path(BAD), &bytes[..bytes.len() - 1]).expect("written");
    });
}

#[test]
fn a_file_torn_anywhere_is_refused() {
    let place = Place::with_peers(&[BAD]);
    let bytes = bytes_of(&place, BAD);
    let keys = place.keys();
    assert!(open_peer(&keys.keys, &ufrag(BAD), &bytes, 1).is_ok());
    for length in (0..bytes.len()).step_by(3).chain([bytes.len() - 1]) {
        assert!(
            open_peer(&keys.keys, &ufrag(BAD), &bytes[..length], 1).is_err(),
            "{length}"
        );
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(open_peer(&keys.keys, &ufrag(BAD), &longer, 1).is_err());
}

#[test]
fn a_file_with_any_bit_flipped_is_refused() {
    let place = Place::with_peers(&[BAD]);
    let bytes = bytes_of(&place, BAD);
    let keys = place.keys();
    for position in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        assert!(
            open_peer(&keys.keys, &ufrag(BAD), &flipped, 1).is_err(),
            "{position}"
        );
    }
}

#[test]
fn a_foreign_file() {
    let foreign = Place::with_peers(&[BAD]);
    let bytes = bytes_of(&foreign, BAD);
    costs_that_peer_only(|place| {
        assert_eq!(fault(place, BAD, &bytes), FileFault::ForeignRecipient);
        fs::write(place.peer_path(BAD), &bytes).expect("written");
    });
}

#[test]
fn a_file_forged_by_somebody_who_knows_the_recipient() {
    costs_that_peer_only(|place| {
        let header = Header::new(Kind::PEER, 1, 1_800_000_000);
        let forger = SealingKey::forger(&first_recipient(place));
        let forged = seal_peer(&forger, &format!("peers/{BAD}.age"), &header, &record(BAD));
        assert_eq!(fault(place, BAD, &forged), FileFault::Forged);
        fs::write(place.peer_path(BAD), forged).expect("written");
    });
}

#[test]
fn another_peers_file_under_this_name() {
    costs_that_peer_only(|place| {
        let bytes = bytes_of(place, GOOD);
        assert_eq!(fault(place, BAD, &bytes), FileFault::Forged);
        fs::write(place.peer_path(BAD), bytes).expect("written");
    });
}

#[test]
fn the_identity_under_a_peers_name() {
    costs_that_peer_only(|place| {
        fs::copy(
            place.vault_path().join("identity.age"),
            place.peer_path(BAD),
        )
        .expect("copied");
    });
}

#[test]
fn an_oversized_file() {
    costs_that_peer_only(|place| {
        fs::write(place.peer_path(BAD), vec![b'x'; 256 * 1024 + 1]).expect("written");
    });
}

#[test]
fn a_sparse_file_of_a_terabyte() {
    costs_that_peer_only(|place| {
        // Where the file system takes it: the size is what counts, nothing of it is read.
        let file = fs::File::create(place.peer_path(BAD)).expect("created");
        let size = file
            .set_len(1 << 40)
            .map(|()| 1_u64 << 40)
            .or_else(|_| file.set_len(1 << 30).map(|()| 1 << 30));
        assert!(size.is_ok());
    });
}

#[test]
fn an_empty_file() {
    costs_that_peer_only(|place| fs::write(place.peer_path(BAD), b"").expect("written"));
}

#[test]
fn a_symbolic_link_even_to_a_good_file() {
    costs_that_peer_only(|place| {
        let moved = place.dir.path().join("moved");
        fs::rename(place.peer_path(BAD), &moved).expect("moved");
        symlink(&moved, place.peer_path(BAD)).expect("a link");
    });
}

#[test]
fn a_hard_link() {
    costs_that_peer_only(|place| {
        fs::hard_link(place.peer_path(BAD), place.dir.path().join("copy")).expect("a link");
    });
}

#[test]
fn a_folder() {
    costs_that_peer_only(|place| {
        fs::remove_file(place.peer_path(BAD)).expect("removed");
        fs::create_dir(place.peer_path(BAD)).expect("a folder");
    });
}

#[test]
fn a_pipe_nobody_writes_to() {
    costs_that_peer_only(|place| {
        fs::remove_file(place.peer_path(BAD)).expect("removed");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, place.peer_path(BAD), kind, mode, 0).expect("a pipe");
    });
}

/// Somebody with the key file can write anything; even then nothing is read that this program would
/// not write.
mod with_a_right_mac {
    use super::*;

    const FILE: &str = "peers/badpeer00.age";

    fn content(place: &Place) -> Vec<u8> {
        let keys = place.keys().keys;
        let (plaintext, _) =
            super::super::super::seal::decrypt(&keys, &bytes_of(place, BAD)).expect("decrypts");
        plaintext[..plaintext.len() - 32].to_vec()
    }

    fn fault_of(change: impl FnOnce(&mut Vec<u8>)) -> FileFault {
        let place = Place::with_peers(&[BAD]);
        let mut content = content(&place);
        let sealing = place.keys().keys[0].sealing();
        let unchanged = sealing.seal_with_mac(FILE, &content);
        assert!(open_peer(&place.keys().keys, &ufrag(BAD), &unchanged, 1).is_ok());
        change(&mut content);
        let changed = sealing.seal_with_mac(FILE, &content);
        fs::write(place.peer_path(BAD), &changed).expect("written");
        decoder::must_agree_on(&place);
        fault(&place, BAD, &changed)
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(fault_of(|c| c.push(0)), FileFault::Malformed);
    }

    #[test]
    fn missing_bytes_are_refused() {
        assert_eq!(fault_of(|c| c.truncate(c.len() - 1)), FileFault::Malformed);
        assert_eq!(fault_of(|c| c.truncate(10)), FileFault::Malformed);
        assert_eq!(fault_of(|c| c.truncate(8)), FileFault::NotOurs);
        assert_eq!(fault_of(Vec::clear), FileFault::NotOurs);
    }

    #[test]
    fn an_integer_longer_than_needed_is_refused() {
        // The boot number, 1, as a two-byte integer.
        assert_eq!(
            fault_of(|c| drop(c.splice(10..11, [251, 1, 0]))),
            FileFault::Malformed
        );
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_without_an_allocation() {
        let huge = [253, 255, 255, 255, 255, 255, 255, 255, 127];
        // Header: magic 8, schema, kind, boot 1, time 5. Body: role 1, then the channel's length.
        assert_eq!(
            fault_of(|c| drop(c.splice(17..18, huge))),
            FileFault::Malformed
        );
    }

    #[test]
    fn other_magic_versions_kinds_and_modes_are_called_by_their_names() {
        assert_eq!(fault_of(|c| c[0] = b'R'), FileFault::NotOurs);
        assert_eq!(fault_of(|c| c[8] = 1), FileFault::Schema(1));
        assert_eq!(fault_of(|c| c[8] = 3), FileFault::Schema(3));
        assert_eq!(fault_of(|c| c[9] = 1), FileFault::WrongKind);
        assert_eq!(fault_of(|c| c[9] = 7), FileFault::WrongKind);
        assert_eq!(fault_of(|c| c[9] |= 0x80), FileFault::FullState);
        assert_eq!(fault_of(|c| c[10] = 2), FileFault::FutureBoot(2));
    }

    #[test]
    fn fields_that_this_server_could_not_have_made_are_refused() {
        let at = |c: &[u8], text: &[u8]| {
            c.windows(text.len())
                .position(|w| w == text)
                .expect("found")
        };
        let channel = fault_of(|c| {
            let position = at(c, b"lobby");
            c[position] = 7;
        });
        assert_eq!(channel, FileFault::Unfit(UnfitRecord::Channel));
        let name = fault_of(|c| {
            let position = at(c, BAD.as_bytes());
            c[position] = b'B';
        });
        assert_eq!(name, FileFault::WrongName);
        let slash = fault_of(|c| {
            let position = at(c, BAD.as_bytes());
            c[position] = b'/';
        });
        assert_eq!(slash, FileFault::Malformed);
        let utf8 = fault_of(|c| {
            let position = at(c, b"v=0");
            c[position] = 0xff;
        });
        assert_eq!(utf8, FileFault::Malformed);
        let role = fault_of(|c| c[16] = 2);
        assert_eq!(role, FileFault::Malformed);
    }

    #[test]
    fn a_plaintext_that_is_not_ours_is_refused() {
        let place = Place::with_peers(&[BAD]);
        let sealing = place.keys().keys[0].sealing();
        for plaintext in [&b""[..], b"hello", &[0; 31], &[0; 32], &[0; 100]] {
            assert_eq!(
                fault(&place, BAD, &sealing.seal_bytes(plaintext)),
                FileFault::NotOurs
            );
        }
    }
}

/// Spoils `identity.age`; expects an error that says what to do, and that nothing was changed.
fn stops_the_start(spoil: impl FnOnce(&Path)) -> VaultError {
    let place = Place::with_peers(&[GOOD]);
    let path = place.vault_path().join("identity.age");
    let original = fs::read(&path).expect("read");
    spoil(&path);
    let before = (
        place.files(),
        fs::symlink_metadata(&path).map(|m| m.len()).ok(),
    );
    let error = place.try_open().expect_err("refused");
    let after = (
        place.files(),
        fs::symlink_metadata(&path).map(|m| m.len()).ok(),
    );
    assert_eq!(before, after);
    assert!(
        error.to_string().contains("backup") || error.to_string().contains("restore"),
        "{error}"
    );
    // Restored, all is well.
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    fs::write(&path, original).expect("written");
    assert_eq!(
        place.open().reader.read(&ufrag(GOOD)).expect("read"),
        Some(record(GOOD))
    );
    error
}

#[test]
fn a_damaged_identity_stops_the_start_and_is_never_replaced() {
    let cause = |error| match error {
        VaultError::IdentityDamaged { cause, .. } => cause,
        other => panic!("{other}"),
    };
    let torn = stops_the_start(|path| {
        let bytes = fs::read(path).expect("read");
        fs::write(path, &bytes[..bytes.len() - 5]).expect("written");
    });
    assert_eq!(cause(torn), FileFault::Torn);
    assert_eq!(
        cause(stops_the_start(
            |path| fs::write(path, b"").expect("written")
        )),
        FileFault::NotAge
    );
    let large = stops_the_start(|path| fs::write(path, vec![0; 64 * 1024 + 1]).expect("written"));
    assert_eq!(cause(large), FileFault::TooLarge);
    let swapped = stops_the_start(|path| {
        let peer = path.with_file_name("peers").join(format!("{GOOD}.age"));
        fs::copy(peer, path).expect("copied");
    });
    assert_eq!(cause(swapped), FileFault::Forged);
    let folder = stops_the_start(|path| {
        fs::remove_file(path).expect("removed");
        fs::create_dir(path).expect("a folder");
    });
    assert_eq!(cause(folder), FileFault::NotRegular);
}

#[test]
fn a_foreign_identity_is_the_wrong_key() {
    let foreign = Place::with_peers(&[]);
    let other = foreign.vault_path().join("identity.age");
    let error = stops_the_start(|path| {
        fs::copy(other, path).expect("copied");
    });
    assert!(matches!(error, VaultError::WrongKey(_)), "{error}");
}

#[test]
fn a_missing_identity_beside_peers_is_no_first_run() {
    let error = stops_the_start(|path| fs::remove_file(path).expect("removed"));
    assert!(
        matches!(error, VaultError::IdentityMissing { files: 1, .. }),
        "{error}"
    );
}

#[test]
fn strange_files_are_left_alone() {
    let place = Place::with_peers(&[GOOD]);
    for name in ["notes.txt", "short.age", "has space.age", "..age"] {
        fs::write(place.vault_path().join("peers").join(name), b"mine").expect("written");
    }
    let before = place.files();
    let opened = place.open();
    assert_eq!(opened.reader.len(), 1);
    assert_eq!(place.files(), before);
}

#[test]
fn a_peers_folder_that_is_a_link_is_refused() {
    let place = Place::with_peers(&[GOOD]);
    let elsewhere = place.dir.path().join("elsewhere");
    fs::rename(place.vault_path().join("peers"), &elsewhere).expect("moved");
    symlink(&elsewhere, place.vault_path().join("peers")).expect("a link");
    assert!(matches!(place.try_open(), Err(VaultError::Io { .. })));
}

#[test]
fn a_file_without_read_permission_costs_that_peer_only() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root reads every file");
        return;
    }
    costs_that_peer_only(|place| {
        fs::set_permissions(place.peer_path(BAD), fs::Permissions::from_mode(0o000))
            .expect("permissions");
    });
}

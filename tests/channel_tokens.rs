//! Tokens for single channels, made by `rekindle token`: what each allows, and how they change while
//! the server runs.

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use running::{PUBLISH, Server, WATCH, agent, header, output, refused, rekindle, said};

const FILE: &str = "tokens";
/// A viewer is let in, and there is nothing to watch yet.
const NOBODY_PUBLISHES: u16 = 409;
const OPTIONS: [&str; 2] = ["--channel-tokens", FILE];

/// Makes a token.
fn make(folder: &Path, uses: &str, channel: &str) -> String {
    let arguments = ["token", uses, channel, "--channel-tokens", FILE];
    let made = output(rekindle(folder).args(arguments));
    assert!(made.status.success(), "{}", said(&made));
    let token = String::from_utf8(made.stdout).expect("text");
    assert_eq!(token.lines().count(), 1, "{token}");
    token.trim().to_owned()
}

fn status(server: &Server, path: &str, sdp: &str, token: Option<&str>) -> u16 {
    let answer = match token {
        Some(token) => server.offer_as(path, sdp, token),
        None => server.offer(path, sdp),
    };
    answer.status().as_u16()
}

#[test]
fn a_token_is_good_for_its_channel_and_use_alone_and_after_a_kill_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let camera = make(folder, "publish", "live/*");
    let viewer = make(folder, "watch", "live/one");
    let staff = make(folder, "both", "meeting");
    let file = folder.join(FILE);
    let text = fs::read_to_string(&file).expect("readable");
    for token in [&camera, &viewer, &staff] {
        assert_eq!(token.len(), 32);
        assert!(!text.contains(token.as_str()), "hashes alone are in {text}");
    }
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut server = Server::start(folder, &OPTIONS);
    for _ in 0..2 {
        let (camera, viewer, staff) = (Some(&*camera), Some(&*viewer), Some(&*staff));
        for (path, sdp, token, expected) in [
            ("/whip/live/one", PUBLISH, None, 401),
            ("/whip/live/one", PUBLISH, viewer, 401),
            ("/whip/live/one", PUBLISH, staff, 401),
            ("/whip/meeting", PUBLISH, camera, 401),
            ("/whep/live/one", WATCH, None, 401),
            ("/whep/live/one", WATCH, camera, 401),
            ("/whep/live/two", WATCH, viewer, 401),
            ("/whep/live/one", WATCH, viewer, NOBODY_PUBLISHES),
            ("/whep/meeting", WATCH, staff, NOBODY_PUBLISHES),
        ] {
            let token_given = token.is_some();
            let got = status(&server, path, sdp, token);
            assert_eq!(got, expected, "{path}, a token is shown: {token_given}");
        }
        server = server.kill_and_start_again_as(rekindle(folder).args(OPTIONS));
    }

    // Who may publish elsewhere may not end this session.
    let (camera, staff) = (&*camera, &*staff);
    let answer = server.offer_as("/whip/live/one", PUBLISH, camera);
    assert_eq!(answer.status(), 201);
    let watches = status(&server, "/whep/live/one", WATCH, Some(&viewer));
    assert_eq!(watches, 201);
    let session = header(&answer, "location").to_owned();
    assert_eq!(server.delete_as(&session, staff).status(), 401);
    assert_eq!(server.delete_as(&session, camera).status(), 200);

    // What is to be watched is not told to others either.
    let ask = |path: &str, token: &str| {
        let request = agent().get(server.url(path));
        let request = request.header("Authorization", format!("Bearer {token}"));
        request.call().expect("an answer").status().as_u16()
    };
    assert_eq!(ask("/channel/live/one", &viewer), 200);
    // Who publishes sees how many watch, and no more than that.
    assert_eq!(ask("/channel/live/two", camera), 200);
    assert_eq!(ask("/channel/meeting", camera), 401);
    assert_eq!(ask("/channel/meeting", &viewer), 401);
    assert_eq!(ask("/channel/meeting", staff), 200);
    let log = server.log();
    for token in [camera, &viewer, staff] {
        assert!(!log.contains(token), "a token is in {log}");
    }
}

#[test]
fn on_sighup_new_lines_count_and_old_ones_do_not_unless_the_file_is_wrong() {
    const ANEW: &str = "the channel tokens were taken anew";
    const STAY: &str = "the channel tokens were not taken, and the old ones stay";
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let file = folder.join(FILE);
    let old = make(folder, "publish", "a");
    let server = Server::start(folder, &OPTIONS);
    let may_watch = || status(&server, "/whep/a", WATCH, None) != 401;
    assert!(!may_watch());

    fs::write(&file, "anybody watch a\n").expect("written");
    let new = make(folder, "publish", "a");
    server.signal("HUP");
    server.wait_for_log(ANEW, 1);
    assert!(may_watch());
    assert_eq!(status(&server, "/whip/a", PUBLISH, Some(&old)), 401);
    assert_eq!(status(&server, "/whip/a", PUBLISH, Some(&new)), 201);

    fs::write(&file, "anybody publish a\n").expect("written");
    server.signal("HUP");
    server.wait_for_log(STAY, 1);
    assert!(server.log().contains("line 1"), "{}", server.log());
    assert!(may_watch());
}

#[test]
fn the_general_tokens_are_good_for_every_channel_still() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let one = make(folder, "watch", "a");
    let all = "0123456789-publish";
    let options = [OPTIONS[0], OPTIONS[1], "--publish-token", all];
    let server = Server::start(folder, &options);
    assert_eq!(status(&server, "/whip/a", PUBLISH, Some(all)), 201);
    assert_eq!(status(&server, "/whep/a", WATCH, Some(all)), 401);
    assert_eq!(status(&server, "/whep/a", WATCH, Some(&one)), 201);
}

#[test]
fn what_cannot_be_used_is_said_with_its_line_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    refused(
        folder,
        &["serve", OPTIONS[0], OPTIONS[1]],
        &["tokens cannot be read"],
    );
    let text = "# A comment.\nsecret publish a\n";
    fs::write(folder.join(FILE), text).expect("written");
    refused(
        folder,
        &["serve", OPTIONS[0], OPTIONS[1]],
        &["tokens, line 2: ", "`rekindle token`"],
    );
    let token = ["token", "publish", "a", OPTIONS[0], OPTIONS[1]];
    refused(folder, &token, &["tokens, line 2: "]);
    let nowhere = ["token", "publish", "a//b", OPTIONS[0], OPTIONS[1]];
    refused(folder, &nowhere, &["a//b is no channel"]);
    assert_eq!(
        fs::read_to_string(folder.join(FILE)).expect("readable"),
        text
    );
}

//! A whole broadcast, with a restart and with mishaps of all kinds: what the log says of it at the
//! level "info" leads to nobody.

mod live;
mod running;
mod support;

use std::fs;

use live::{Live, broadcast, renew, run_until_connected, run_until_more_video};
use rekindle::ids::Role;
use running::{Server, rekindle};

#[test]
fn the_log_of_a_broadcast_at_info_has_no_address_no_sdp_no_credential_and_no_token() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let token = "correct-horse-battery-staple";
    let options = ["--watch-token", token, "--rotate-identity"];
    let mut log = String::new();

    let server = Server::start(folder.path(), &options[2..]);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 800);
    let mut mover = Live::join(&server, Role::Viewer, "news", 802);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut mover]);
    // A new address, and somebody with another certificate.
    mover.move_to_another_port();
    renew(&mut [&mut mover]);
    let mut stranger = Live::join(&server, Role::Viewer, "news", 803);
    stranger.client.session.certificate = support::Certificate::new();
    live::run_for(
        &mut [&mut publisher, &mut viewer, &mut mover, &mut stranger],
        support::ms(500),
    );
    log += &server.log();

    // Of the next boot's records one is torn, one is a link, one belongs to somebody else.
    let peers = folder.path().join("rekindle-state/peers");
    let server = {
        let mut command = rekindle(folder.path());
        fs::write(peers.join("Vtorn000000.age"), "torn").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", peers.join("Vlink000000.age")).expect("linked");
        let any = fs::read_dir(&peers)
            .expect("a folder")
            .next()
            .expect("a record")
            .expect("an entry")
            .path();
        fs::copy(any, peers.join("Vcopy000000.age")).expect("copied");
        server.kill_and_start_again_as(command.args(options))
    };
    renew(&mut [&mut publisher, &mut viewer, &mut mover]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut mover], 20);
    // A wrong token, a bad offer, a key file that is none, garbage on the media port.
    let sdp = ("content-type", "application/sdp");
    let wrong = server.post(
        "/whep/news",
        &[sdp, ("authorization", "Bearer wrong-horse-battery")],
        b"v=0\r\n",
    );
    assert_eq!(wrong.status(), 401);
    let right = format!("Bearer {token}");
    let bad = server.post(
        "/whep/news",
        &[sdp, ("authorization", &right)],
        b"v=0\r\nnonsense-offer\r\n",
    );
    assert_eq!(bad.status(), 400);
    fs::write(
        folder.path().join("rekindle-key.txt"),
        "AGE-SECRET-KEY-1NONSENSE\n",
    )
    .expect("written");
    server.signal("HUP");
    server.wait_for_log("the key file was not taken", 1);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    for first in [0, 22, 128] {
        socket.send_to(&[first; 100], server.media()).expect("sent");
    }
    assert_eq!(server.delete_as(&viewer.session, token).status(), 200);
    let (code, rest) = server.terminate();
    assert_eq!(code, Some(0));
    log += &rest;

    for said in [
        "a peer joins",
        "fresh keys are in use",
        "a peer leaves",
        "set-aside",
        "a new certificate",
    ] {
        assert!(log.contains(said), "{said:?} is not in {log}");
    }
    let mut private = vec![
        token.to_owned(),
        "wrong-horse".into(),
        "nonsense-offer".into(),
        "NONSENSE".into(),
    ];
    private.extend(
        [
            "127.0.0.1",
            "candidate",
            "a=",
            "ice-",
            "sha-256",
            "torn000000",
            "link000000",
        ]
        .map(String::from),
    );
    for browser in [&publisher, &viewer, &mover, &stranger] {
        let credentials = &browser.client.session.credentials;
        private.extend([
            credentials.server_ufrag.clone(),
            credentials.server_pwd.clone(),
            credentials.own_pwd.clone(),
            format!(":{}", browser.client.address.port()),
            browser.session.trim_start_matches("/session/").to_owned(),
        ]);
    }
    for word in private {
        assert!(!log.contains(&word), "{word} is in the log: {log}");
    }
}

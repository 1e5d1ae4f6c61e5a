//! What is printed on standard output once the server is ready.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;

use crate::server::Ready;

use super::args::Announce;

/// Prints that the server is ready. Nobody needs to read it: a closed pipe is no reason to stop.
pub(super) fn print(form: Announce, ready: &Ready) {
    let text = match form {
        Announce::Text => block(ready),
        Announce::Json => line(ready),
        Announce::None => return,
    };
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// For people.
fn block(ready: &Ready) -> String {
    let mut text = String::new();
    let mut row = |name: &str, what: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<9} {what}");
    };
    let made = |made: bool| if made { "  (made just now)" } else { "" };
    row("page", page(ready));
    if let Some(admin) = ready.admin {
        row("admin", admin.to_string());
    }
    let advertised: Vec<String> = ready.advertised.iter().map(ToString::to_string).collect();
    row(
        "media",
        format!(
            "udp {}, reached at {}",
            ready.media,
            advertised.join(" and ")
        ),
    );
    row("boot", ready.boot.to_string());
    row(
        "state",
        format!("{}{}", ready.state_dir.display(), made(ready.first_run)),
    );
    row(
        "key file",
        format!("{}{}", ready.key_file.display(), made(ready.made_key)),
    );
    let publish = match (ready.publish_token, ready.by_channel, ready.open) {
        (_, true, _) => "who has a right to the channel (docs/tokens.md)",
        (true, false, _) => "who has the publish token",
        (false, false, true) => "ANYBODY who reaches this server (--open)",
        (false, false, false) => "anybody on this machine",
    };
    row("publish", publish.to_owned());
    let watch = match (ready.watch_token, ready.by_channel) {
        (_, true) => "who has a right to the channel, too",
        (true, false) => "who has the watch token",
        (false, false) => "anybody who reaches this server",
    };
    row("watch", watch.to_owned());
    let mut all = format!("rekindle {} is up\n{text}", env!("CARGO_PKG_VERSION"));
    if ready.made_key {
        let _ = writeln!(
            all,
            "  A new key file was made, mode 0600. Without it the state folder is lost; whoever \
             has both can pose as this server."
        );
    }
    all
}

/// For programs: one line.
fn line(ready: &Ready) -> String {
    let value = json!({
        "event": "ready",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "page": page(ready),
        "http": ready.http,
        "admin": ready.admin,
        "media": ready.media,
        "advertised": ready.advertised,
        "boot": ready.boot,
        "mode": ready.mode.name(),
        "state_dir": ready.state_dir.to_string_lossy(),
        "key_file": ready.key_file.to_string_lossy(),
        "made_key": ready.made_key,
        "first_run": ready.first_run,
        "took_us": u64::try_from(ready.took.as_micros()).unwrap_or(u64::MAX),
    });
    format!("{value}\n")
}

/// The page's URL: by the name that the certificate is obtained for, whose port 443 is this server's;
/// else as seen from this machine.
fn page(ready: &Ready) -> String {
    if let Some(name) = &ready.name {
        return format!("https://{name}/");
    }
    let ip = match ready.http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let scheme = if ready.tls { "https" } else { "http" };
    format!("{scheme}://{}/", SocketAddr::new(ip, ready.http.port()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ready() -> Ready {
        Ready {
            http: "0.0.0.0:8080".parse().expect("address"),
            admin: None,
            media: "0.0.0.0:8189".parse().expect("address"),
            advertised: vec!["192.0.2.1:8189".parse().expect("address")],
            boot: 7,
            mode: Default::default(),
            state_dir: "state".into(),
            key_file: "key".into(),
            made_key: true,
            first_run: false,
            took: Duration::from_millis(3),
            open: true,
            publish_token: false,
            watch_token: true,
            by_channel: false,
            name: None,
            tls: false,
        }
    }

    #[test]
    fn people_are_told_where_everything_is_and_what_was_made() {
        let text = block(&ready());
        for part in [
            "http://127.0.0.1:8080/",
            "192.0.2.1:8189",
            "boot      7",
            "state",
            "key  (made just now)",
            "ANYBODY",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_page_has_the_scheme_that_the_port_speaks() {
        let with_tls = Ready {
            name: None,
            tls: true,
            ..ready()
        };
        assert!(block(&with_tls).contains(" https://127.0.0.1:8080/"));
        assert!(line(&with_tls).contains("\"https://127.0.0.1:8080/\""));
    }

    #[test]
    fn programs_get_one_line_of_json() {
        let text = line(&ready());
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["http"], "0.0.0.0:8080");
        assert_eq!(value["boot"], 7);
    }
}

use super::*;

#[test]
fn a_url_has_a_scheme_a_host_and_no_user_and_prints_no_path() {
    let url: OutboundUrl = "https://example.org/hooks/s3cret?key=1"
        .parse()
        .expect("a URL");
    assert_eq!((url.host(), url.port()), ("example.org", 443));
    assert_eq!(format!("{url:?}"), "OutboundUrl(\"https://example.org\")");
    let url: OutboundUrl = "http://[::1]:9000".parse().expect("a URL");
    assert_eq!((url.host(), url.port()), ("::1", 9000));
    assert!(!url.is_exposed());
    let exposed = |text: &str| text.parse::<OutboundUrl>().expect("a URL").is_exposed();
    assert!(exposed("http://10.0.0.1/"));
    assert!(!exposed("https://10.0.0.1/"));
    assert!(!exposed("http://127.0.0.1/"));
    for bad in [
        "",
        "example.org",
        "/path",
        "ftp://example.org/",
        "https://",
        "https://user@example.org/",
        "https://user:secret@example.org/",
        "https://example.org:port/",
        "https://example.org:99999/",
        "unix:///run/hook",
    ] {
        assert!(bad.parse::<OutboundUrl>().is_err(), "{bad}");
    }
}

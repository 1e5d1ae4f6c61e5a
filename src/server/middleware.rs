//! What applies to every request: who may ask, from which origins (CORS), and the headers that
//! every response carries.
//!
//! A server without a publish token is private: it listens on loopback only, and everybody on this
//! machine may publish. Every web page in a browser on this machine could then reach it as well: by
//! a cross-origin request, or by a name of its own that resolves to 127.0.0.1 (DNS rebinding). So a
//! private server answers only pages of this machine, under names that no stranger can own. With a
//! publish token, or with `--open`, the server is meant to be public, and pages of any origin may
//! use its endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::{App, ClientAddress};
use super::body::SDP;
use super::problem::Problem;

/// The page loads only its own scripts and styles, connects only to its own server and to others
/// that may have its sessions (inserted between the two parts), and cannot be framed.
const CONTENT_SECURITY_POLICY: [&str; 2] = [
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'",
    "; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'",
];
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), \
                                  autoplay=(self), \
     fullscreen=(self), picture-in-picture=(self), geolocation=(), payment=(), usb=()";

/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("86400");
const PREFLIGHT_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-match, last-event-id");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "location, etag, link, retry-after, www-authenticate, rekindle-fingerprint, rekindle-boot, \
     rekindle-process, rekindle-mode, rekindle-events",
);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The layer around all handlers.
pub(super) async fn check(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    if app.behind_proxy
        && let Some(client) = forwarded_for(request.headers())
    {
        request.extensions_mut().insert(ClientAddress(client));
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = allowed_origin(app.private, origin.as_ref());
    let foreign =
        app.private && (origin.is_some() && allowed.is_none() || !is_local_host(request.headers()));
    let mut response = if foreign {
        foreign_request().into_response()
    } else if request.method() == Method::OPTIONS {
        options(request.uri().path())
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    if let Some(allowed) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    if app.private {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    harden(headers, &app.nodes.sources());
    response
}

/// The value of `Access-Control-Allow-Origin`, if the origin may use the endpoints. Credentials are
/// never allowed: a token is sent by a script that has it, never by the browser on its own.
fn allowed_origin(private: bool, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin?;
    if !private {
        return Some(HeaderValue::from_static("*"));
    }
    let (scheme, authority) = origin.to_str().ok()?.split_once("://")?;
    let web = scheme == "http" || scheme == "https";
    (web && is_this_machine(host_of(authority))).then(|| origin.clone())
}

/// Whether the request names the server in a way that no foreign DNS could have led here. HTTP/1.0
/// needs no `Host`, and no browser uses it.
pub(super) fn is_local_host(headers: &HeaderMap) -> bool {
    match headers.get(header::HOST).map(HeaderValue::to_str) {
        None => true,
        Some(Ok(host)) => host_of(host).parse::<IpAddr>().is_ok() || is_local_name(host_of(host)),
        Some(Err(_)) => false,
    }
}

/// An authority (RFC 3986 §3.2) without its port and without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

/// A loopback address, or a name that always means one (RFC 6761 §6.3).
fn is_local_name(host: &str) -> bool {
    is_this_machine(host)
        || host
            .trim_end_matches('.')
            .to_ascii_lowercase()
            .ends_with(".localhost")
}

/// A loopback address, or `localhost` itself. Names below `localhost` are used by other programs of
/// this machine, whose pages are foreign.
fn is_this_machine(host: &str) -> bool {
    host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn foreign_request() -> Problem {
    let detail = "This server has no publish token, so it answers only pages of this machine, \
                  under localhost or an IP address. Give it --publish-token-file, \
                  --channel-tokens or --open to let other pages and names in.";
    Problem::new(
        StatusCode::FORBIDDEN,
        "foreign",
        "The request comes from elsewhere",
        detail,
    )
}

/// The answer to `OPTIONS`, a CORS preflight or not (RFC 9725 §4.2: with `Accept-Post`).
fn options(path: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(preflight_methods(path)),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, PREFLIGHT_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    if is_endpoint(path) {
        headers.insert("accept-post", HeaderValue::from_static(SDP));
    }
    response
}

/// The methods that a page of another origin may send to a path.
///
/// PATCH is allowed for a session, although it is answered by 405 there: a page sees a forbidden
/// preflight as a network failure. It is not allowed for an endpoint, since clients read this list
/// there to learn whether candidates can be sent later (RFC 9725 §4.3.1), and put them into the
/// offer where they cannot.
fn preflight_methods(path: &str) -> &'static str {
    if path.starts_with("/session/") {
        "GET, POST, PATCH, DELETE, OPTIONS"
    } else if is_endpoint(path) || path == "/events" {
        "POST, OPTIONS"
    } else {
        "GET, OPTIONS"
    }
}

/// Whether sessions are started here.
fn is_endpoint(path: &str) -> bool {
    path.starts_with("/whip/") || path.starts_with("/whep/")
}

/// The last entry, which the proxy itself wrote. A client can forge the earlier ones.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .next_back()?
        .to_str()
        .ok()?
        .rsplit(',')
        .next()?
        .trim();
    last.parse().or_else(|_| host_of(last).parse()).ok()
}

/// Whether a proxy forwarded the request, whatever the settings say.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED_FOR)
        || headers.contains_key(header::FORWARDED)
        || headers.contains_key(header::VIA)
}

/// What every answer tells browsers not to do. `others` are sources of the content security policy, each after a space.
pub(super) fn harden(headers: &mut HeaderMap, others: &str) {
    let [before, after] = CONTENT_SECURITY_POLICY;
    // Nodes were checked to have only letters, digits and punctuation: always a valid header value.
    if let Ok(policy) = HeaderValue::from_maybe_shared(format!("{before}{others}{after}")) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (
            HeaderName::from_static("permissions-policy"),
            PERMISSIONS_POLICY,
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(private: bool, origin: &str) -> Option<String> {
        let origin = HeaderValue::from_str(origin).expect("a header");
        allowed_origin(private, Some(&origin)).map(|value| value.to_str().expect("text").to_owned())
    }

    fn host(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(text))])
    }

    #[test]
    fn a_private_server_lets_in_pages_of_this_machine_only() {
        for local in [
            "http://localhost:8080",
            "http://127.0.0.1:3000",
            "http://[::1]:1",
        ] {
            assert_eq!(allowed(true, local).as_deref(), Some(local));
        }
        for foreign in [
            "https://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://192.0.2.1",
            "http://evil.localhost",
            "https://app.localhost:8080",
            "null",
            "file://",
            "chrome-extension://localhost",
        ] {
            assert_eq!(allowed(true, foreign), None, "{foreign}");
        }
        assert_eq!(allowed(false, "https://example.com").as_deref(), Some("*"));
        assert_eq!(allowed_origin(false, None), None);
    }

    #[test]
    fn a_private_server_is_not_found_under_a_strangers_name() {
        for local in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST.:80",
            "[::1]:8080",
            "192.0.2.7:8080",
            "a.localhost:1",
        ] {
            assert!(is_local_host(&host(local)), "{local}");
        }
        for foreign in [
            "rebind.example:8080",
            "localhost.example",
            "",
            ":80",
            "[::1",
            "127.0.0.1.nip.example",
        ] {
            assert!(!is_local_host(&host(foreign)), "{foreign}");
        }
        assert!(is_local_host(&HeaderMap::new()));
    }

    #[test]
    fn only_the_proxys_own_entry_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append(
            FORWARDED_FOR,
            HeaderValue::from_static("198.51.100.1, 192.0.2.9"),
        );
        assert_eq!(forwarded_for(&headers), Some([192, 0, 2, 9].into()));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("[2001:db8::1]:443"));
        assert_eq!(forwarded_for(&headers), "2001:db8::1".parse().ok());
        headers.append(FORWARDED_FOR, HeaderValue::from_static("unknown"));
        assert_eq!(forwarded_for(&headers), None);
    }

    #[test]
    fn whip_clients_learn_what_may_be_posted() {
        assert_eq!(
            options("/whip/c").headers()["accept-post"],
            "application/sdp"
        );
        assert!(!options("/session/x").headers().contains_key("accept-post"));
    }
}

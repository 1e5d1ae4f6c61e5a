//! Serves the page and its module.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::problem::Problem;
use super::{demo, status};

/// Everything that no other route serves.
pub(super) async fn serve(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let name = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let compressed = takes_gzip(&headers)
        .then(|| app.assets.compressed(name))
        .flatten();
    let is_compressed = compressed.is_some();
    let found = match compressed {
        None if is_name(name) => app.assets.find(name).await,
        compressed => compressed,
    };
    let Some((content, tag)) = found else {
        return Problem::not_found().into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return status::other_method().await.into_response();
    }
    let unchanged = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|known| known.trim() == tag || known.trim() == "*")
        });
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(name)),
    );
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // Cached, but validated each time: a page and a server of different versions must not meet.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if app.demo.is_some() {
        headers.insert("server-timing", demo::MARK);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether the client accepts gzip (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts
            .find_map(|part| part.strip_prefix("q="))
            .unwrap_or("1");
        is_gzip && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

/// A plain file name: no folder, nothing hidden, nothing encoded.
fn is_name(name: &str) -> bool {
    !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        // The registered type for this extension is a video format; editors and tsc use the
        // extension.
        Some("ts") => "text/plain; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(takes("gzip, deflate, br, zstd") && takes("br;q=1.0, GZIP;q=0.5"));
        assert!(
            !takes("br")
                && !takes("gzip;q=0")
                && !takes("")
                && !takes("xgzip")
                && !takes_gzip(&HeaderMap::new())
        );
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for bad in ["..", "../x", ".hidden", "a/b", "a%2fb", "a\\b", "a\0"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("rekindle.js"));
    }
}

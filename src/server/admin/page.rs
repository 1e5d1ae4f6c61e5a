//! `/stats`: the operators' page. It has no data in it, so everybody who reaches the listener may
//! have it; the script asks `/api/stats`, with the token where one is needed.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use super::super::app::App;
use super::super::status::no_store;

/// A file of the page: its path, its media type, its content.
type File = (&'static str, &'static str, &'static str);

const FILES: [File; 6] = [
    (
        "/stats",
        "text/html; charset=utf-8",
        include_str!("../../../static/admin/stats.html"),
    ),
    (
        "/stats.svg",
        "image/svg+xml",
        include_str!("../../../static/icon.svg"),
    ),
    (
        "/stats.css",
        "text/css; charset=utf-8",
        include_str!("../../../static/admin/stats.css"),
    ),
    (
        "/stats.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../static/admin/stats.js"),
    ),
    (
        "/stats-draw.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../static/admin/stats-draw.js"),
    ),
    (
        "/stats-history.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../static/admin/stats-history.js"),
    ),
];

pub(super) fn router() -> Router<Arc<App>> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, content)| {
            router.route(path, get(async move || serve(kind, content)))
        })
}

/// Whether this is a path of the page.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|(known, _, _)| *known == path)
}

fn serve(kind: &'static str, content: &'static str) -> Response {
    let mut response = no_store(content);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

//! The admin listener: what operators and their programs may ask and do, apart from the public
//! interface. `openapi.json` describes it.
//!
//! Its own page, `/stats`, only reads, and browsers send no `Origin` with what a page reads from where
//! it came. So no request with an `Origin` is served: a page in a browser on this machine must not
//! end anybody's session.

mod api;
mod page;
mod paging;
mod stats;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use super::app::{App, ClientAddress};
use super::problem::Problem;
use super::{metrics, middleware, status};

/// The description of this interface (OpenAPI 3.1).
const DESCRIPTION: &str = include_str!("openapi.json");

/// The routes of this interface.
pub(super) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/api/openapi.json", get(description))
        .route("/api/channels", get(api::channels))
        // Slashes in a channel's name may be written as they are.
        .route("/api/channels/{*name}", get(api::channel).post(api::close))
        .route("/api/stats", get(stats::stats))
        .route("/api/peers/{peer}", delete(api::kick))
        .route("/api/drain", post(api::drain))
        .merge(page::router())
        .route("/metrics", get(metrics::everything))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(app.clone(), check))
        .with_state(app.clone())
}

/// The layer around all handlers.
async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let allowed = guard(&app, &request);
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    middleware::harden(response.headers_mut(), "");
    response
}

/// Whether the request may be served. With a token, to those who show it; without one, to this
/// machine, since the listener is then at a loopback address.
fn guard(app: &App, request: &Request) -> Result<(), Problem> {
    let (headers, path) = (request.headers(), request.uri().path());
    // Chromium sends it with scripts of the page's own, too.
    if headers.contains_key(header::ORIGIN) && !(page::has(path) && is_own(headers)) {
        return Err(foreign("The admin interface is not for web pages."));
    }
    if ["/healthz", "/readyz"].contains(&path) {
        return Ok(());
    }
    if let Some(token) = &app.admin_token {
        // The page has nothing to hide, and asks for the token itself.
        if page::has(path) {
            return Ok(());
        }
        let client = request.extensions().get::<ClientAddress>();
        let client = client.map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.0);
        return app.require(token, client, headers, "admin");
    }
    if middleware::is_forwarded(headers) || !middleware::is_local_host(headers) {
        return Err(foreign(
            "Without a token the admin interface answers only what is asked on this machine, under \
             localhost or an IP address. Give the server --admin-token-file.",
        ));
    }
    Ok(())
}

/// Whether the origin is the one that the request is sent to.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    let authority = origin.and_then(|origin| Some(origin.split_once("://")?.1));
    authority.is_some() && authority == host
}

fn foreign(detail: &'static str) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "foreign",
        "The request comes from elsewhere",
        detail,
    )
}

async fn description() -> Response {
    let mut response = status::no_store(DESCRIPTION);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn other_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "This method has no meaning here",
        "GET /api/openapi.json says which methods there are.",
    )
}

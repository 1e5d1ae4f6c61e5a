//! The routes of the public interface.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use super::app::App;
use super::{demo, metrics, middleware, session, site, status, whip};

/// The routes of the public interface.
pub(super) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route(
            "/whip/{*channel}",
            post(whip::publish).fallback(whip::other_method),
        )
        .route(
            "/whep/{*channel}",
            post(whip::watch).fallback(whip::other_method),
        )
        .route(
            "/session/{id}",
            axum::routing::delete(session::end).fallback(session::other_method),
        )
        .route(
            "/session/{id}/events",
            get(session::events)
                .post(session::subscribe)
                .fallback(session::other_method_on_events),
        )
        .route(
            "/events",
            post(session::events_of_several).fallback(session::other_method_on_all_events),
        )
        .route(
            "/channel/{*channel}",
            get(status::channel).fallback(status::other_method),
        )
        .route(
            "/channels",
            get(status::channels).fallback(status::other_method),
        )
        .route(
            "/healthz",
            get(status::healthz).fallback(status::other_method),
        )
        .route(
            "/readyz",
            get(status::readyz).fallback(status::other_method),
        )
        .merge(metrics_router(app))
        .merge(demo_router(app))
        .fallback(site::serve)
        .layer(from_fn_with_state(app.clone(), middleware::check))
        .with_state(app.clone())
}

/// Where there is an admin listener, metrics are only there.
fn metrics_router(app: &App) -> Router<Arc<App>> {
    if app.has_admin {
        return Router::new();
    }
    Router::new().route(
        "/metrics",
        get(metrics::metrics).fallback(status::other_method),
    )
}

/// Without a demonstration this path is like any other that leads nowhere.
fn demo_router(app: &App) -> Router<Arc<App>> {
    if app.demo.is_none() {
        return Router::new();
    }
    Router::new().route("/demo/kill", post(demo::kill).fallback(demo::other_method))
}

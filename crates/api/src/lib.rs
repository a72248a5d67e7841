//! The REST dialects of Tinderbox: one axum [`router`] over [`Inference`](tinderbox_protocol::Inference).
//!
//! A dialect turns wire bytes into [`Request`](tinderbox_protocol::Request)s and the event streams
//! back into its own bytes. Nothing here knows a model, opens a socket or reads a clock, so the
//! same router answers on a host and in an edge isolate; what it needs of the world is a
//! [`Context`].
//!
//! What the place that mounts the router adds: listening, CORS, compression (never of
//! streams, TextSynth's `application/json` among them), timeouts.

mod adapters;
mod answer;
mod batch;
mod constraint;
mod context;
mod dialects;
mod docs;
mod failure;
mod health;
mod keys;
mod limits;
mod metrics;
mod openapi;
mod payload;
mod ranges;
mod request_id;
mod sse;
mod stream;
mod text_or;
mod tokens;
mod tools;
mod truncate;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get};
use axum::{Extension, middleware};

pub use context::{Context, DEFAULT_BODY_LIMIT, Gpu, Machine, Place, Space};
pub use dialects::{break_off, is_limited, refuse};
pub use failure::Failure;
pub use keys::{Keys, is_open, key_sum};
pub use limits::{ClientAddress, Limits};
pub use metrics::Metrics;
pub use request_id::{REQUEST_ID, RequestId};

/// Paths and what answers there.
type Routes = Vec<(&'static str, MethodRouter<Context>)>;

/// Everything that is served, with every policy around it.
pub fn router(context: Context) -> Router {
    router_with(context, |router| router)
}

/// The same, with the place's own policies, such as CORS, around the dialects: what they answer by
/// themselves is counted and timed too. The last layer is the outermost.
pub fn router_with(
    context: Context,
    place: impl FnOnce(Router<Context>) -> Router<Context>,
) -> Router {
    let mut router = Router::new();
    for (path, methods) in dialects::routes() {
        router = router.route(&path, methods);
    }
    let router = router
        .fallback(dialects::no_route)
        .method_not_allowed_fallback(dialects::wrong_method)
        .layer(DefaultBodyLimit::max(context.body_limit))
        .layer(Extension(Arc::<dialects::locallab::Instructions>::default()))
        .layer(middleware::from_fn_with_state(context.clone(), keys::check))
        .layer(middleware::from_fn_with_state(
            context.clone(),
            request_id::assign,
        ));
    place(router)
        .layer(middleware::from_fn_with_state(
            context.clone(),
            metrics::measure,
        ))
        .with_state(context)
}

/// What belongs to no dialect.
fn own_routes() -> Routes {
    vec![
        ("/health", get(health::health)),
        ("/metrics", get(metrics::exposition::show)),
        ("/openapi.json", get(openapi::show)),
        ("/docs", get(docs::show)),
    ]
}

//! `GET /health`: whether requests are taken.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tinderbox_protocol::Phase;

use crate::Context;

/// Seconds after which a probe may look again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Whether requests are taken.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Health)]
struct Body {
    /// `healthy` (LocalLab's command line looks for this word) or `unavailable`.
    status: &'static str,
    /// `loading`, `ready`, `stopping` or `failed`.
    phase: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Facts for people: adapter, kernels, queue.
    details: BTreeMap<String, String>,
}

/// Whether requests are taken
///
/// For probes: needs no key. The body says what is going on.
#[utoipa::path(get, path = "/health", tag = "tinderbox", security(()), responses(
    (status = 200, description = "Requests are taken", body = Body),
    (status = 503, description = "They are not; `Retry-After` says when to look again", body = Body),
))]
pub(crate) async fn health(State(context): State<Context>) -> Response {
    let health = context.inference.health();
    let (phase, reason) = match health.phase {
        Phase::Loading => ("loading", None),
        Phase::Ready => ("ready", None),
        Phase::Stopping => ("stopping", None),
        Phase::Failed(reason) => ("failed", Some(reason)),
    };
    let ready = phase == "ready";
    let body = Json(Body {
        status: if ready { "healthy" } else { "unavailable" },
        phase,
        reason,
        details: health.details,
    });
    match ready {
        true => body.into_response(),
        false => {
            let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
            (StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response()
        }
    }
}

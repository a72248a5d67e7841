//! `GET /info` and the probes.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde_json::Value;
use tinderbox_protocol::{Error, Phase};

use super::ask::{MAX_BEST_OF, MAX_STOP_SEQUENCES};
use super::errors::{Body as ErrorBody, Refusal};
use super::headers::device_type;
use super::wire::Info;
use crate::{Context, openapi};

type Probed = Result<StatusCode, Refusal>;

/// Whether requests are taken
#[utoipa::path(get, path = "/", tag = "lorax", responses(
    (status = 200, description = "They are; no body"),
    (status = 503, description = "They are not", body = ErrorBody),
))]
pub(super) async fn root(State(context): State<Context>) -> Probed {
    healthy(&context)
}

/// Whether requests are taken
#[utoipa::path(get, path = "/ping", tag = "lorax", responses(
    (status = 200, description = "They are; no body"),
    (status = 503, description = "They are not", body = ErrorBody),
))]
pub(super) async fn ping(State(context): State<Context>) -> Probed {
    healthy(&context)
}

/// Whether requests are taken
#[utoipa::path(get, path = "/startup", tag = "lorax", responses(
    (status = 200, description = "They are; no body"),
    (status = 503, description = "They are not", body = ErrorBody),
))]
pub(super) async fn startup(State(context): State<Context>) -> Probed {
    healthy(&context)
}

fn healthy(context: &Context) -> Probed {
    match context.inference.health().phase {
        Phase::Ready => Ok(StatusCode::OK),
        _ => Err(Refusal::from(Error::Unavailable {
            reason: "unhealthy".into(),
            retry_after: Duration::from_secs(2),
        })),
    }
}

/// What is served, and its bounds
#[utoipa::path(get, path = "/info", tag = "lorax", responses(
    (status = 200, description = "The current model", body = Info),
    (status = "default", description = "Why there is no answer", body = ErrorBody),
))]
pub(super) async fn info(State(context): State<Context>) -> Result<Json<Info>, Refusal> {
    let card = context.card("").ok_or(Error::NoModel)?;
    let stats = context.inference.stats();
    let stats = stats.into_iter().find(|stats| stats.model == card.id);
    Ok(Json(Info {
        model_id: card.id,
        model_sha: None,
        model_dtype: card.dtype,
        model_device_type: device_type(&card.device),
        model_pipeline_tag: Some("text-generation"),
        max_concurrent_requests: stats.map_or(0, |stats| stats.capacity),
        max_best_of: MAX_BEST_OF,
        max_stop_sequences: MAX_STOP_SEQUENCES,
        max_input_length: card.context_length.saturating_sub(1),
        max_total_tokens: card.context_length,
        waiting_served_ratio: 0.0,
        max_batch_total_tokens: card.context_length,
        max_waiting_tokens: 0,
        validation_workers: 1,
        eager_prefill: true,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
        request_logger_url: None,
    }))
}

/// The description of the API, where LoRAX has it
///
/// The same as `openapi.json`.
#[utoipa::path(get, path = "/api-doc/openapi.json", tag = "lorax", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
))]
pub(super) async fn api_doc(uri: Uri) -> Json<Value> {
    openapi::show(uri).await
}

//! What LoRAX answers with models that embed or classify: there are none here.

use axum::extract::State;

use super::errors::{Body as ErrorBody, Refusal};
use crate::Context;
use crate::batch::invalid;

/// Embed a text: refused
#[utoipa::path(post, path = "/embed", tag = "lorax", responses(
    (status = 422, description = "The model generates text", body = ErrorBody),
))]
pub(super) async fn embed(State(context): State<Context>) -> Refusal {
    refusal(&context, "embed")
}

/// Classify the words of a text: refused
#[utoipa::path(post, path = "/classify", tag = "lorax", responses(
    (status = 422, description = "The model generates text", body = ErrorBody),
))]
pub(super) async fn classify(State(context): State<Context>) -> Refusal {
    refusal(&context, "classify")
}

/// Classify the words of several texts: refused
#[utoipa::path(post, path = "/classify_batch", tag = "lorax", responses(
    (status = 422, description = "The model generates text", body = ErrorBody),
))]
pub(super) async fn classify_batch(State(context): State<Context>) -> Refusal {
    refusal(&context, "classify")
}

fn refusal(context: &Context, what: &str) -> Refusal {
    let model = context.model_name("");
    let reason = format!("`{model}` generates text; models that {what} are not served here");
    invalid("model", reason).into()
}

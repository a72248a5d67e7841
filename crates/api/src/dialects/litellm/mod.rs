//! The endpoint that LiteLLM's `custom/` provider asks. As LiteLLM's `openai/` provider and its
//! like, a client speaks OpenAI's dialect.

mod ask;
pub(super) mod errors;
mod reply;
mod wire;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::payload::{Payload, parse};
use crate::{Context, Routes};
use errors::{Body as ErrorBody, Refusal};
use wire::{Answer, Ask};

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    vec![("/", post(custom_here))]
}

/// `POST /` for a body that is LiteLLM's.
pub(crate) async fn custom(context: Context, body: Bytes) -> Response {
    let answer = async {
        let plan = ask::plan(&context, parse(&body)?)?;
        Ok::<_, Refusal>(Json(reply::whole(&context, plan).await?))
    };
    answer.await.into_response()
}

/// Continue prompts, as LiteLLM's custom provider asks
///
/// The answer is whole: LiteLLM never asks this endpoint for a stream.
#[utoipa::path(post, path = "/", operation_id = "custom", tag = "litellm", request_body = Ask, responses(
    (status = 200, description = "The answer", body = Answer),
    (status = "default", description = "Why there is none", body = ErrorBody),
))]
async fn custom_here(State(context): State<Context>, body: Payload) -> Result<Response, Refusal> {
    Ok(custom(context, body.bytes()?).await)
}

/// What the dialect says of itself.
#[derive(utoipa::OpenApi)]
#[openapi(paths(custom_here))]
pub(crate) struct Document;

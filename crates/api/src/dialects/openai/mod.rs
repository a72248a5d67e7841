//! OpenAI's completions and chat completions, with what vLLM adds and lm-evaluation-harness needs:
//! echoed prompt logprobs, prompts in token ids, the tokenizer's endpoints.

mod ask;
mod chat;
mod completion;
pub(super) mod errors;
mod form;
mod logprobs;
mod messages;
mod models;
mod prompt;
mod sampling;
mod tokenizer;
mod wire;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};

use crate::batch::invalid;
use crate::payload::{Payload, parse};
use crate::{Context, Routes};
use errors::Refusal;
use form::Reply;

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    let mut routes = generation();
    routes.extend([
        ("/v1/models", get(list_models)),
        ("/v1/models/{*id}", get(show_model)),
        ("/tokenize", post(tokenize)),
        ("/detokenize", post(detokenize)),
        ("/tokenizer_info", get(tokenizer_info)),
    ]);
    routes
}

/// Where text is generated; LoRAX has these too.
pub(crate) fn generation() -> Routes {
    vec![
        ("/v1/chat/completions", post(chat_completions)),
        ("/v1/completions", post(completions)),
    ]
}

async fn chat_completions(State(context): State<Context>, body: Payload) -> Reply {
    let body = body.bytes()?;
    let plan = chat::plan(&context, parse(&body)?, parse(&body)?)?;
    form::answer(&context, plan).await
}

async fn completions(State(context): State<Context>, body: Payload) -> Reply {
    let body = body.bytes()?;
    let plan = completion::plan(&context, parse(&body)?, parse(&body)?)?;
    form::answer(&context, plan).await
}

async fn list_models(State(context): State<Context>) -> Json<models::List> {
    Json(models::list(&context))
}

async fn show_model(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<models::Model>, Refusal> {
    let Path(id) = id.map_err(|rejection| invalid("id", rejection.body_text()))?;
    Ok(Json(models::show(&context, &id)?))
}

async fn tokenize(
    State(context): State<Context>,
    body: Payload,
) -> Result<Json<tokenizer::Tokens>, Refusal> {
    let ask = parse(&body.bytes()?)?;
    Ok(Json(tokenizer::tokenize(&context, ask)?))
}

async fn detokenize(
    State(context): State<Context>,
    body: Payload,
) -> Result<Json<tokenizer::Text>, Refusal> {
    let ask = parse(&body.bytes()?)?;
    Ok(Json(tokenizer::detokenize(&context, ask)?))
}

async fn tokenizer_info(State(context): State<Context>) -> Result<Json<tokenizer::Info>, Refusal> {
    Ok(Json(tokenizer::info(&context)?))
}

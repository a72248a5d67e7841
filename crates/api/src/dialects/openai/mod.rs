//! OpenAI's completions and chat completions, with what vLLM adds and lm-evaluation-harness needs:
//! echoed prompt logprobs, prompts in token ids, the tokenizer's endpoints.

mod ask;
mod calls;
mod chat;
mod completion;
pub(super) mod errors;
pub(super) mod form;
mod logprobs;
pub(super) mod messages;
mod models;
mod prompt;
mod sampling;
mod tokenizer;
mod wire;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;

use super::{Dialect, lorax};
use crate::batch::invalid;
use crate::failure::Failure;
use crate::payload::{Ask, Payload, parse};
use crate::{Context, Routes};
use errors::{Body as ErrorBody, Refusal};
use form::Reply;
use wire::{ChatCompletion, Completion, Detokenize, Envelope, Options, Tokenize};

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    let mut routes = generation();
    routes.extend([
        ("/v1/models", get(list_models)),
        ("/v1/models/{*id}", get(show_model)),
        ("/tokenize", post(tokenize_here)),
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

/// A body. Where it has no token for its adapter, the one of `Authorization` is meant.
fn read<W: DeserializeOwned>(payload: Payload) -> Result<Ask<W, Options>, Failure> {
    let (token, body) = (payload.token(), payload.bytes()?);
    let mut ask: Ask<W, Options> = Ask::read(&body)?;
    let given = &mut ask.options.api_token;
    *given = given.take().filter(|given| !given.is_empty()).or(token);
    Ok(ask)
}

/// Continue a conversation
///
/// With `stream` the answer is server-sent events: `data: ` and a chunk, the last one `data: [DONE]`.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai",
    request_body = Ask<ChatCompletion, Options>,
    responses(
        (status = 200, description = "The answer, or a stream of chunks", content(
            (Envelope<'_, chat::Choice> = "application/json"),
            (Envelope<'_, chat::Piece> = "text/event-stream"),
        )),
        (status = "default", description = "Why there is none", body = ErrorBody),
    ),
)]
async fn chat_completions(State(context): State<Context>, uri: Uri, body: Payload) -> Reply {
    let ask: Ask<ChatCompletion, Options> = read(body)?;
    if Dialect::forced(uri.path()).0 == Some(Dialect::Lorax) && chat::forms_tools(&ask) {
        return Ok(lorax::tools_beside_format());
    }
    let plan = chat::plan(&context, ask).await?;
    form::answer(&context, plan).await
}

/// Continue prompts
///
/// With `stream` the answer is server-sent events: `data: ` and a chunk, the last one `data: [DONE]`.
#[utoipa::path(post, path = "/v1/completions", tag = "openai",
    request_body = Ask<Completion, Options>,
    responses(
        (status = 200, description = "The answer, or a stream of chunks", content(
            (Envelope<'_, completion::Text> = "application/json"),
            (Envelope<'_, completion::Text> = "text/event-stream"),
        )),
        (status = "default", description = "Why there is none", body = ErrorBody),
    ),
)]
async fn completions(State(context): State<Context>, body: Payload) -> Reply {
    let plan = completion::plan(&context, read(body)?).await?;
    form::answer(&context, plan).await
}

/// The models served
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses(
    (status = 200, description = "All of them, the current one first", body = models::List),
    (status = "default", description = "Why there is no answer", body = ErrorBody),
))]
async fn list_models(State(context): State<Context>) -> Json<models::List> {
    Json(models::list(&context))
}

/// One model
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai",
    params(("id" = String, Path, description = "Its name, which may contain slashes")),
    responses(
        (status = 200, description = "The model", body = models::Model),
        (status = "default", description = "Why there is no answer", body = ErrorBody),
    ),
)]
async fn show_model(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<models::Model>, Refusal> {
    let Path(id) = id.map_err(|rejection| invalid("id", rejection.body_text()))?;
    Ok(Json(models::show(&context, &id)?))
}

/// `POST /tokenize` for a body that is vLLM's or llama.cpp's.
pub(crate) async fn tokenize(context: &Context, body: &[u8]) -> Response {
    let tokens = async { tokenizer::tokenize(context, parse(body)?).await };
    let tokens = tokens.await;
    tokens.map(Json).map_err(Refusal::from).into_response()
}

/// Text or messages to token ids
#[utoipa::path(post, path = "/tokenize", tag = "openai", request_body = Tokenize, responses(
    (status = 200, description = "The ids", body = tokenizer::Tokens),
    (status = "default", description = "Why there are none", body = ErrorBody),
))]
async fn tokenize_here(State(context): State<Context>, body: Payload) -> Reply {
    Ok(tokenize(&context, &body.bytes()?).await)
}

/// Token ids to text
#[utoipa::path(post, path = "/detokenize", tag = "openai", request_body = Detokenize, responses(
    (status = 200, description = "The text", body = tokenizer::Text),
    (status = "default", description = "Why there are none", body = ErrorBody),
))]
async fn detokenize(
    State(context): State<Context>,
    body: Payload,
) -> Result<Json<tokenizer::Text>, Refusal> {
    let ask = parse(&body.bytes()?)?;
    Ok(Json(tokenizer::detokenize(&context, ask).await?))
}

/// Facts about the tokenizer
#[utoipa::path(get, path = "/tokenizer_info", tag = "openai", responses(
    (status = 200, description = "The facts", body = tokenizer::Info),
    (status = "default", description = "Why there are none", body = ErrorBody),
))]
async fn tokenizer_info(State(context): State<Context>) -> Result<Json<tokenizer::Info>, Refusal> {
    Ok(Json(tokenizer::info(&context).await?))
}

/// What the dialect says of itself.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    chat_completions,
    completions,
    list_models,
    show_model,
    tokenize_here,
    detokenize,
    tokenizer_info
))]
pub(crate) struct Document;

/// Of it, what LoRAX has too.
#[derive(utoipa::OpenApi)]
#[openapi(paths(chat_completions, completions))]
pub(crate) struct Generation;

//! TextSynth's API, hosted and of ts_server. An engine is a model; its name stands in the path.

mod account;
mod ask;
pub(super) mod errors;
mod reply;
mod score;
pub(super) mod stream;
mod tokenizer;
mod wire;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::batch::invalid;
use crate::failure::Failure;
use crate::payload::{Ask, Payload, parse};
use crate::{Context, Routes};
use ask::Plan;
use errors::{Body as ErrorBody, Refusal};
use reply::Form;
use wire::{Chat, Completion, Generated, Options, Score, Scored, Tokenize, Tokenized};

/// What a handler answers.
type Reply = Result<Response, Refusal>;

/// A parameter of the path, decoded.
type Segment<T> = Result<Path<T>, PathRejection>;

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    vec![
        ("/v1/engines", get(account::engines)),
        ("/v1/engines/{engine}/completions", post(completions)),
        ("/v1/engines/{engine}/chat", post(chat)),
        ("/v1/engines/{engine}/logprob", post(logprob)),
        ("/v1/engines/{engine}/tokenize", post(tokenize)),
        ("/v1/engines/{engine}/{endpoint}", post(unserved)),
        ("/v1/credits", get(account::credits)),
    ]
}

/// Continue a text
///
/// With `stream` the body is several answers, each a line of JSON and an empty line; the last one has
/// `reached_end` and the counts.
#[utoipa::path(post, path = "/v1/engines/{engine}/completions", tag = "textsynth",
    params(("engine" = String, Path, description = "A model's name")),
    request_body = Ask<Completion, Options>,
    responses(
        (status = 200, description = "The answer, or several", body = Generated),
        (status = "default", description = "Why there is none", body = ErrorBody),
    ),
)]
async fn completions(
    State(context): State<Context>,
    engine: Segment<String>,
    body: Payload,
) -> Reply {
    let plan = ask::completion(&context, name(engine)?, Ask::read(&body.bytes()?)?)?;
    generate(&context, plan).await
}

/// Continue a conversation
///
/// The answer is that of `completions`.
#[utoipa::path(post, path = "/v1/engines/{engine}/chat", tag = "textsynth",
    params(("engine" = String, Path, description = "A model's name")),
    request_body = Ask<Chat, Options>,
    responses(
        (status = 200, description = "The answer, or several", body = Generated),
        (status = "default", description = "Why there is none", body = ErrorBody),
    ),
)]
async fn chat(State(context): State<Context>, engine: Segment<String>, body: Payload) -> Reply {
    let plan = ask::chat(&context, name(engine)?, Ask::read(&body.bytes()?)?)?;
    generate(&context, plan).await
}

/// The probability of a text after another
#[utoipa::path(post, path = "/v1/engines/{engine}/logprob", tag = "textsynth",
    params(("engine" = String, Path, description = "A model's name")),
    request_body = Score,
    responses(
        (status = 200, description = "The probability", body = Scored),
        (status = "default", description = "Why there is none", body = ErrorBody),
    ),
)]
async fn logprob(
    State(context): State<Context>,
    engine: Segment<String>,
    body: Payload,
) -> Result<Json<Scored>, Refusal> {
    let wire = parse(&body.bytes()?)?;
    Ok(Json(score::scored(&context, name(engine)?, wire).await?))
}

/// The tokens of a text
#[utoipa::path(post, path = "/v1/engines/{engine}/tokenize", tag = "textsynth",
    params(("engine" = String, Path, description = "A model's name")),
    request_body = Tokenize,
    responses(
        (status = 200, description = "The tokens", body = Tokenized),
        (status = "default", description = "Why there are none", body = ErrorBody),
    ),
)]
async fn tokenize(
    State(context): State<Context>,
    engine: Segment<String>,
    body: Payload,
) -> Result<Json<Tokenized>, Refusal> {
    let wire = parse(&body.bytes()?)?;
    let tokens = tokenizer::tokenize(&context, &name(engine)?, wire).await?;
    Ok(Json(tokens))
}

/// Translations, images, speech and embeddings: refused
///
/// What TextSynth has for models of other kinds. The body is not read.
#[utoipa::path(post, path = "/v1/engines/{engine}/{endpoint}", tag = "textsynth",
    params(
        ("engine" = String, Path, description = "A model's name"),
        ("endpoint" = String, Path, description = "As in `translate`"),
    ),
    responses((status = 404, description = "It is not supported", body = ErrorBody)),
)]
async fn unserved(path: Segment<(String, String)>) -> Refusal {
    match path {
        Ok(Path((_engine, what))) => Failure::Unsupported { what }.into(),
        Err(rejection) => invalid("path", rejection.body_text()).into(),
    }
}

async fn generate(context: &Context, plan: Plan) -> Reply {
    let form = Form {
        samples: plan.batch.samples,
        list: plan.list,
    };
    let streams = plan.batch.start(context).await?;
    match plan.stream {
        true => Ok(stream::response(streams, form)),
        false => Ok(Json(form.whole(streams).await?).into_response()),
    }
}

fn name(engine: Segment<String>) -> Result<String, Refusal> {
    let Path(engine) = engine.map_err(|rejection| invalid("engine", rejection.body_text()))?;
    Ok(engine)
}

/// What the dialect says of itself.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    account::engines,
    completions,
    chat,
    logprob,
    tokenize,
    unserved,
    account::credits
))]
pub(crate) struct Document;

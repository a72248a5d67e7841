//! LoRAX's native API, which is TGI's with adapters. Its `/v1` is OpenAI's.

mod adapters;
mod ask;
pub(super) mod errors;
mod headers;
mod info;
mod reply;
pub(super) mod stream;
mod tokenizer;
mod unserved;
mod wire;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use tinderbox_protocol::Error;

use super::openai;
use crate::batch::invalid;
use crate::failure::Failure;
use crate::payload::{Payload, parse};
use crate::{Context, Routes};
use errors::{Body as ErrorBody, Refusal};
use headers::Watch;
use wire::{Generate, Generated, SimpleToken, StreamEvent, Tokenize};

/// What a handler answers.
type Reply = Result<Response, Refusal>;

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    let mut routes = openai::generation();
    routes.extend([
        ("/", get(info::root).post(compat_here)),
        ("/invocations", post(invocations)),
        ("/generate", post(generate_here)),
        ("/generate_stream", post(generate_stream)),
        (DEPLOYED, post(deployed)),
        ("/tokenize", post(tokenize_here)),
        ("/info", get(info::info)),
        ("/ping", get(info::ping)),
        ("/startup", get(info::startup)),
        ("/api-doc/openapi.json", get(info::api_doc)),
        ("/embed", post(unserved::embed)),
        ("/classify", post(unserved::classify)),
        ("/classify_batch", post(unserved::classify_batch)),
    ]);
    routes
}

/// Where LiteLLM's `predibase` provider asks: the rest is a model, whose name may have slashes, and
/// `/generate` or `/generate_stream`.
const DEPLOYED: &str = "/{tenant}/deployments/v2/llms/{*rest}";

/// A body. Where it has no token for its adapter, the one of `Authorization` is meant.
fn read(body: &[u8], token: Option<String>) -> Result<Generate, Error> {
    let mut wire: Generate = parse(body)?;
    let given = &mut wire.parameters.get_or_insert_default().api_token;
    *given = given.take().filter(|given| !given.is_empty()).or(token);
    Ok(wire)
}

/// `POST /` for a body that is LoRAX's.
pub(crate) async fn compat(context: Context, body: Bytes, token: Option<String>) -> Response {
    let answer = async {
        let wire = read(&body, token)?;
        match wire.stream {
            Some(true) => streamed(&context, String::new(), wire).await,
            _ => {
                let (headers, answer) = whole(&context, String::new(), wire).await?;
                Ok((headers, Json([answer])).into_response())
            }
        }
    };
    answer.await.into_response()
}

/// `POST /generate` for a body that is LoRAX's.
pub(crate) async fn generate(context: Context, body: Bytes, token: Option<String>) -> Response {
    let answer = async { one(&context, String::new(), read(&body, token)?).await };
    answer.await.into_response()
}

/// LoRAX's refusal of a chat that asks for tools and a form of the answer.
pub(crate) fn tools_beside_format() -> Response {
    errors::tools_beside_format()
}

/// `POST /tokenize` for a body that is LoRAX's.
pub(crate) async fn tokenize(context: Context, body: Bytes) -> Response {
    let tokens = async { tokenizer::tokenize(&context, parse(&body)?).await };
    let tokens = tokens.await;
    tokens.map(Json).map_err(Refusal::from).into_response()
}

/// Continue a text, as LoRAX's client asks
///
/// With `stream` the answer is server-sent events, one a token, without a mark at the end.
#[utoipa::path(post, path = "/", tag = "lorax", request_body = Generate, responses(
    (status = 200, description = "A list of one answer, or a stream", content(
        ([Generated; 1] = "application/json"),
        (StreamEvent = "text/event-stream"),
    )),
    (status = "default", description = "Why there is none", body = ErrorBody),
))]
async fn compat_here(State(context): State<Context>, body: Payload) -> Reply {
    let token = body.token();
    Ok(compat(context, body.bytes()?, token).await)
}

/// Continue a text, as SageMaker asks
///
/// The same as `POST /`.
#[utoipa::path(post, path = "/invocations", tag = "lorax", request_body = Generate, responses(
    (status = 200, description = "A list of one answer, or a stream", content(
        ([Generated; 1] = "application/json"),
        (StreamEvent = "text/event-stream"),
    )),
    (status = "default", description = "Why there is none", body = ErrorBody),
))]
async fn invocations(State(context): State<Context>, body: Payload) -> Reply {
    let token = body.token();
    Ok(compat(context, body.bytes()?, token).await)
}

/// Continue a text
#[utoipa::path(post, path = "/generate", tag = "lorax", request_body = Generate, responses(
    (status = 200, description = "The answer", body = Generated),
    (status = "default", description = "Why there is none", body = ErrorBody),
))]
async fn generate_here(State(context): State<Context>, body: Payload) -> Reply {
    let token = body.token();
    Ok(generate(context, body.bytes()?, token).await)
}

/// Continue a text with a stream
///
/// Server-sent events, one a token; the last one has the whole text. There is no mark at the end.
#[utoipa::path(post, path = "/generate_stream", tag = "lorax", request_body = Generate, responses(
    (status = 200, description = "The events", body = StreamEvent, content_type = "text/event-stream"),
    (status = "default", description = "Why there are none", body = ErrorBody),
))]
async fn generate_stream(State(context): State<Context>, body: Payload) -> Reply {
    let token = body.token();
    let wire = read(&body.bytes()?, token)?;
    streamed(&context, String::new(), wire).await
}

/// Continue a text with a named model, as LiteLLM asks of Predibase
///
/// The rest of the path is a model's name and `/generate` or `/generate_stream`.
#[utoipa::path(post, path = "/{tenant}/deployments/v2/llms/{rest}", tag = "lorax",
    params(
        ("tenant" = String, Path, description = "Anything"),
        ("rest" = String, Path, description = "As in `org/name/generate`"),
    ),
    request_body = Generate,
    responses(
        (status = 200, description = "The answer, or its events", content(
            (Generated = "application/json"),
            (StreamEvent = "text/event-stream"),
        )),
        (status = "default", description = "Why there is none", body = ErrorBody),
    ),
)]
async fn deployed(
    State(context): State<Context>,
    uri: Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Payload,
) -> Reply {
    let Path((_tenant, rest)) = path.map_err(|rejection| invalid("path", rejection.body_text()))?;
    let (token, body) = (body.token(), body.bytes()?);
    match rest.rsplit_once('/') {
        Some((model, "generate")) => one(&context, model.into(), read(&body, token)?).await,
        Some((model, "generate_stream")) => {
            streamed(&context, model.into(), read(&body, token)?).await
        }
        _ => {
            let path = uri.path().into();
            Err(Failure::NoRoute { path }.into())
        }
    }
}

/// The tokens of a text and their places
#[utoipa::path(post, path = "/tokenize", tag = "lorax", request_body = Tokenize, responses(
    (status = 200, description = "The tokens", body = Vec<SimpleToken>),
    (status = "default", description = "Why there are none", body = ErrorBody),
))]
async fn tokenize_here(State(context): State<Context>, body: Payload) -> Reply {
    Ok(tokenize(context, body.bytes()?).await)
}

async fn one(context: &Context, model: String, wire: Generate) -> Reply {
    let (headers, answer) = whole(context, model, wire).await?;
    Ok((headers, Json(answer)).into_response())
}

async fn whole(
    context: &Context,
    model: String,
    wire: Generate,
) -> Result<(HeaderMap, Generated), Refusal> {
    let watch = Watch::start(context);
    let plan = ask::plan(context, model, wire).await?;
    Ok(reply::whole(context, watch, plan).await?)
}

async fn streamed(context: &Context, model: String, wire: Generate) -> Reply {
    let plan = ask::plan(context, model, wire).await?;
    Ok(stream::answer(context, plan).await?)
}

/// What the dialect says of itself.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    compat_here,
    invocations,
    generate_here,
    generate_stream,
    deployed,
    tokenize_here,
    info::root,
    info::info,
    info::ping,
    info::startup,
    info::api_doc,
    unserved::embed,
    unserved::classify,
    unserved::classify_batch
))]
pub(crate) struct Document;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::OpenApi;

    use super::*;

    #[test]
    fn the_document_lists_exactly_the_native_paths() {
        let listed: BTreeSet<String> = Document::openapi().paths.paths.into_keys().collect();
        let v1: BTreeSet<&str> = openai::generation().into_iter().map(|r| r.0).collect();
        let native = routes().into_iter().map(|(path, _)| path);
        let native = native.filter(|path| !v1.contains(path));
        // axum writes a parameter that takes slashes `{*rest}`, OpenAPI has no such thing.
        let native: BTreeSet<String> = native.map(|path| path.replace("{*", "{")).collect();
        assert_eq!(listed, native);
    }
}

//! LocalLab's API: its published document and its server 0.11.3, which differ, at once.

mod ask;
mod deadline;
pub(super) mod errors;
mod instructions;
mod machine;
mod models;
mod reply;
pub(super) mod stream;
mod system;
mod wire;

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::payload::Payload;
use crate::{ClientAddress, Context, Routes};
use ask::Plan;
use errors::LocalLab;
pub(crate) use instructions::Instructions;
use stream::Frame;
pub(crate) use system::root;
use wire::read;

type Refusal = crate::failure::Refusal<LocalLab>;

/// What a handler answers.
type Reply = Result<Response, Refusal>;

/// Who asks, for the rate limit.
pub(crate) type Caller = Option<Extension<ClientAddress>>;

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    vec![
        ("/", get(root)),
        ("/generate", post(generate_here)),
        ("/generate/batch", post(generate_batch)),
        ("/chat", post(chat)),
        ("/models", get(models::by_name)),
        ("/models/available", get(models::available)),
        ("/models/list", get(models::list)),
        ("/models/current", get(models::current)),
        ("/models/status/{*id}", get(models::status)),
        ("/models/load", post(models::load)),
        ("/models/load/{*id}", post(models::load_by_path)),
        ("/models/unload", post(models::unload)),
        ("/system/info", get(system::info)),
        (
            "/system/instructions",
            get(instructions::show).post(instructions::set),
        ),
        ("/system/instructions/reset", post(instructions::reset)),
        ("/startup-status", get(system::startup_status)),
        ("/resources", get(system::resources)),
        ("/network", get(system::network)),
    ]
}

/// Continues a prompt, at a path that other dialects have too.
pub(crate) async fn generate(context: Context, caller: Caller, body: Bytes) -> Response {
    generated(&context, caller, &body).await.into_response()
}

/// Continues a prompt.
///
/// As a stream each event is `data: <text>` with line feeds written `\n`; the last is
/// `data: [DONE]`, or `data: [ERROR] <message>`.
#[utoipa::path(post, path = "/generate", tag = "locallab",
    request_body = wire::Generate,
    responses(
        (status = 200, content((wire::Generated = "application/json"), (String = "text/event-stream"))),
        (status = "default", body = errors::Body)))]
async fn generate_here(State(context): State<Context>, caller: Caller, body: Payload) -> Reply {
    Ok(generate(context, caller, body.bytes()?).await)
}

async fn generated(context: &Context, caller: Caller, body: &[u8]) -> Reply {
    admit(context, caller)?;
    let asked: wire::Generate = read(body)?;
    let prompt = ask::prompt(asked.prompt, asked.system_prompt.as_deref());
    let model = model(context, &asked.options);
    let plan = Plan::new(context, vec![prompt], asked.options).await?;
    let streams = plan.start(context).await?;
    match asked.stream {
        Some(true) => Ok(stream::response(streams, Frame::Text)),
        _ => Ok(reply::text(streams, model).await?),
    }
}

/// Continues several prompts.
#[utoipa::path(post, path = "/generate/batch", tag = "locallab",
    request_body = wire::Batch,
    responses((status = 200, body = wire::GeneratedBatch), (status = "default", body = errors::Body)))]
async fn generate_batch(State(context): State<Context>, caller: Caller, body: Payload) -> Reply {
    admit(&context, caller)?;
    let asked: wire::Batch = read(&body.bytes()?)?;
    let prompts = ask::prompts(asked.prompts, asked.system_prompt.as_deref())?;
    let plan = Plan::new(&context, prompts, asked.options).await?;
    Ok(reply::batch(plan.start(&context).await?).await?)
}

/// Continues a conversation.
///
/// As a stream each event is `data: <text>`, as with `/generate`, and a second line, the same text
/// as a JSON chunk.
#[utoipa::path(post, path = "/chat", tag = "locallab",
    request_body = wire::Chat,
    responses(
        (status = 200, content((wire::Chatted = "application/json"), (String = "text/event-stream"))),
        (status = "default", body = errors::Body)))]
async fn chat(
    State(context): State<Context>,
    Extension(instructions): Extension<Arc<Instructions>>,
    caller: Caller,
    body: Payload,
) -> Reply {
    admit(&context, caller)?;
    let asked: wire::Chat = read(&body.bytes()?)?;
    let system = instructions.of(&model(&context, &asked.options));
    let prompt = ask::chat(asked.messages, system)?;
    let plan = Plan::new(&context, vec![prompt], asked.options).await?;
    let streams = plan.start(&context).await?;
    match asked.stream {
        Some(true) => Ok(stream::response(streams, Frame::Chat)),
        _ => Ok(reply::chat(streams).await?),
    }
}

/// The name of the model that answers.
fn model(context: &Context, options: &wire::Options) -> String {
    let card = context.card(options.model_id.as_deref().unwrap_or_default());
    card.map_or_else(String::new, |card| card.id)
}

/// Holds the rate limit.
fn admit(context: &Context, caller: Caller) -> Result<(), Refusal> {
    let address = caller.map(|Extension(ClientAddress(address))| address);
    Ok(context.limits.check(address, context.place.uptime())?)
}

/// The dialect's part of the API's description.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    system::root,
    generate_here,
    generate_batch,
    chat,
    models::by_name,
    models::available,
    models::list,
    models::current,
    models::status,
    models::load,
    models::load_by_path,
    models::unload,
    system::info,
    instructions::show,
    instructions::set,
    instructions::reset,
    system::startup_status,
    system::resources,
    system::network,
))]
pub(crate) struct Document;

#[cfg(test)]
mod tests {
    use utoipa::OpenApi;

    #[test]
    fn the_document_lists_exactly_the_dialects_paths() {
        let mut listed: Vec<String> = super::Document::openapi().paths.paths.into_keys().collect();
        let served = super::routes().into_iter();
        let mut served: Vec<String> = served.map(|(path, _)| path.replace("{*", "{")).collect();
        listed.sort();
        served.sort();
        assert_eq!(listed, served);
    }
}

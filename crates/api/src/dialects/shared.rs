//! Paths that several dialects have: the keys of the body decide.

use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::union::Union;
use super::{Dialect, litellm, locallab, lorax, openai};
use crate::batch::invalid;
use crate::failure::{Failure, Refusal};
use crate::payload::{Payload, parse};
use crate::{Context, Routes};

/// The shared paths. What is not shared about them, such as `GET /`, is there too.
pub(super) fn routes() -> Routes {
    vec![
        ("/", get(locallab::root).post(root)),
        ("/generate", post(generate)),
        ("/tokenize", post(tokenize)),
    ]
}

/// The keys that tell dialects apart. A key whose value is null is not there.
#[derive(Deserialize)]
struct Keys {
    /// LoRAX.
    inputs: Option<IgnoredAny>,
    /// LiteLLM.
    params: Option<IgnoredAny>,
    /// LocalLab; the tokenizer of vLLM.
    prompt: Option<IgnoredAny>,
    /// The tokenizer of vLLM.
    messages: Option<IgnoredAny>,
    /// The tokenizer of llama.cpp.
    content: Option<IgnoredAny>,
}

/// The dialect whose key is there.
fn decide(keys: &[(&'static str, Option<IgnoredAny>, Dialect)]) -> Result<Dialect, Failure> {
    let mut there = keys.iter().filter(|(_, value, _)| value.is_some());
    let Some((first, _, dialect)) = there.next() else {
        let names = keys.iter().map(|(name, ..)| format!("`{name}`"));
        let names = names.collect::<Vec<_>>().join(" or ");
        return Err(invalid(names, "is needed: it tells which dialect is spoken").into());
    };
    match there.find(|(_, _, other)| other != dialect) {
        None => Ok(*dialect),
        Some((second, ..)) => Err(Failure::Undecided { first, second }),
    }
}

/// Notes who decided, for the metrics.
fn decided(dialect: Dialect, mut answer: Response) -> Response {
    answer.extensions_mut().insert(dialect);
    answer
}

type Undecided = Refusal<Union>;

async fn root(State(context): State<Context>, body: Payload) -> Result<Response, Undecided> {
    let (token, body) = (body.token(), body.bytes()?);
    let keys: Keys = parse(&body)?;
    let dialect = decide(&[
        ("inputs", keys.inputs, Dialect::Lorax),
        ("params", keys.params, Dialect::LiteLlm),
    ])?;
    let answer = match dialect {
        Dialect::Lorax => lorax::compat(context, body, token).await,
        _ => litellm::custom(context, body).await,
    };
    Ok(decided(dialect, answer))
}

async fn generate(
    State(context): State<Context>,
    caller: locallab::Caller,
    body: Payload,
) -> Result<Response, Undecided> {
    let (token, body) = (body.token(), body.bytes()?);
    let dialect = generates(&body)?;
    let answer = match dialect {
        Dialect::Lorax => lorax::generate(context, body, token).await,
        _ => locallab::generate(context, caller, body).await,
    };
    Ok(decided(dialect, answer))
}

/// Who is asked to generate.
pub(super) fn generates(body: &[u8]) -> Result<Dialect, Failure> {
    let keys: Keys = parse(body)?;
    decide(&[
        ("prompt", keys.prompt, Dialect::LocalLab),
        ("inputs", keys.inputs, Dialect::Lorax),
    ])
}

async fn tokenize(State(context): State<Context>, body: Payload) -> Result<Response, Undecided> {
    let body = body.bytes()?;
    let keys: Keys = parse(&body)?;
    let dialect = decide(&[
        ("prompt", keys.prompt, Dialect::OpenAi),
        ("messages", keys.messages, Dialect::OpenAi),
        ("content", keys.content, Dialect::OpenAi),
        ("inputs", keys.inputs, Dialect::Lorax),
    ])?;
    let answer = match dialect {
        Dialect::Lorax => lorax::tokenize(context, body).await,
        _ => openai::tokenize(&context, &body).await,
    };
    Ok(decided(dialect, answer))
}

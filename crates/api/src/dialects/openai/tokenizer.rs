//! vLLM's tokenizer endpoints. lm-evaluation-harness uses them in place of a local tokenizer.

use std::borrow::Cow;

use serde::Serialize;
use tinderbox_protocol::{self as protocol, Chat, Encoded, Error};
use utoipa::ToSchema;

use super::messages;
use super::prompt::Prompt;
use super::wire::{Detokenize, Tokenize};
use crate::Context;
use crate::batch::invalid;
use crate::tools::definitions;

/// Answer of `POST /tokenize`.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    count: usize,
    /// Tokens one sequence can hold.
    max_model_len: usize,
    tokens: Vec<u32>,
    /// Null where not asked.
    token_strs: Option<Vec<String>>,
}

/// Answer of `POST /detokenize`.
#[derive(Serialize, ToSchema)]
#[schema(as = TokensText)]
pub(super) struct Text {
    prompt: String,
    /// The same under llama.cpp's name.
    content: String,
}

/// Answer of `GET /tokenizer_info`.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenizerInfo)]
pub(super) struct Info {
    tokenizer_class: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
    pad_token: Option<String>,
    /// Jinja.
    chat_template: Option<String>,
    /// Whether a text gets a BOS by the checkpoint's rule.
    add_bos_token: bool,
    model_max_length: usize,
}

/// # Errors
/// No prompt, one that is not a text or messages, a wrong tool, an unknown model, a template error.
pub(super) async fn tokenize(context: &Context, wire: Tokenize) -> Result<Tokens, Error> {
    let list = match (wire.prompt, wire.messages) {
        (Some(Prompt::Text(text)), None) => {
            let prompt = protocol::Prompt::Text {
                text,
                add_special_tokens: wire.add_special_tokens,
            };
            return encoded(context, wire.model, prompt, wire.return_token_strs).await;
        }
        (Some(Prompt::Messages(list)), None) | (None, Some(list)) => list,
        (Some(_), None) => return Err(invalid("prompt", "is not a string and not messages")),
        (None, None) => return Err(invalid("prompt", "is required, or `messages`")),
        (Some(_), Some(_)) => return Err(invalid("prompt", "stands beside `messages`; give one")),
    };
    let tools = wire.tools.unwrap_or_default();
    definitions(&tools)?;
    let prompt = protocol::Prompt::Chat(Chat {
        add_generation_prompt: wire.add_generation_prompt.unwrap_or(true),
        ..messages::chat(list, tools)?
    });
    encoded(context, wire.model, prompt, wire.return_token_strs).await
}

async fn encoded(
    context: &Context,
    model: Option<String>,
    prompt: protocol::Prompt,
    strings: Option<bool>,
) -> Result<Tokens, Error> {
    let model = model.unwrap_or_default();
    let Encoded { tokens, pieces } = context.inference.encode(&model, &prompt).await?;
    Ok(Tokens {
        count: tokens.len(),
        max_model_len: max_length(context, &model),
        tokens,
        token_strs: strings.unwrap_or(false).then(|| {
            let texts = pieces.iter().map(|bytes| String::from_utf8_lossy(bytes));
            texts.map(Cow::into_owned).collect()
        }),
    })
}

/// # Errors
/// No tokens, one outside the vocabulary, an unknown model.
pub(super) async fn detokenize(context: &Context, wire: Detokenize) -> Result<Text, Error> {
    let tokens = wire.tokens;
    let tokens = tokens.ok_or_else(|| invalid("tokens", "is required"))?;
    let model = wire.model.unwrap_or_default();
    let prompt = context.inference.decode(&model, &tokens).await?;
    let content = prompt.clone();
    Ok(Text { prompt, content })
}

/// # Errors
/// No model is served.
pub(super) async fn info(context: &Context) -> Result<Info, Error> {
    let info = context.inference.tokenizer_info("").await?;
    Ok(Info {
        tokenizer_class: info.class,
        bos_token: info.bos_token,
        eos_token: info.eos_token,
        pad_token: info.pad_token,
        chat_template: info.chat_template,
        add_bos_token: info.add_bos,
        model_max_length: max_length(context, ""),
    })
}

fn max_length(context: &Context, model: &str) -> usize {
    context.card(model).map_or(0, |card| card.context_length)
}

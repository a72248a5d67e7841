//! `POST /v1/completions`.

use std::collections::BTreeMap;

use serde::Serialize;
use tinderbox_protocol::{self as protocol, Error, Event, TokenLogprob};
use utoipa::ToSchema;

use super::form::{Form, Plan, Stream};
use super::logprobs::{Legacy, Names};
use super::prompt::Prompt;
use super::wire::{Completion, Options};
use super::{ask, messages, sampling};
use crate::Context;
use crate::answer::{Answer, finish_reason};
use crate::batch::{Batch, invalid};
use crate::payload::Ask;
use crate::tokens::Offset;

/// Most tokens where nothing is said, as with OpenAI.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// What to ask for a body, and how to answer.
///
/// # Errors
/// A field that is wrong or not supported; a model or token id that does not exist.
pub(super) async fn plan(
    context: &Context,
    ask: Ask<Completion, Options>,
) -> Result<Plan<Texts>, Error> {
    let (wire, mut options) = (ask.own, ask.options);
    if wire.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(invalid("suffix", "is not supported"));
    }
    let keep = sampling::samples("n", options.n, 1)?;
    let samples = sampling::samples("best_of", wire.best_of, keep as u32)?;
    let stream = Stream::of(&options);
    if stream.is_some() && samples > keep {
        let reason = "a stream cannot choose among finished samples; leave it out or equal to n";
        return Err(invalid("best_of", reason));
    }

    let id = format!("cmpl-{}", context.place.new_id());
    let max_tokens = wire.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let mut common = ask::request(context, &mut options, id, Some(max_tokens))?;
    let logprobs = sampling::alternatives("logprobs", wire.logprobs)?;
    let echo = wire.echo.unwrap_or(false);
    common.logprobs = logprobs.or((samples > keep).then_some(0));
    common.prompt_logprobs = logprobs.filter(|_| echo);

    let wire_prompt = wire.prompt;
    let wire_prompt = wire_prompt.ok_or_else(|| invalid("prompt", "is required"))?;
    let keep_tokens = options.truncate_prompt_tokens;
    let (mut kept, mut texts) = (Vec::new(), Vec::new());
    for prompt in prompts(wire_prompt, wire.add_special_tokens)? {
        let prompt = ask::truncated(context, &common, prompt, keep_tokens).await?;
        if echo {
            texts.push(text_of(context, &common.model, &prompt).await?);
        }
        kept.push(prompt);
    }
    let form = Texts {
        echo: echo.then_some(texts),
        keep,
        logprobs: logprobs.is_some(),
        names: Names::of(&options),
        offsets: BTreeMap::new(),
    };
    Ok(Plan {
        batch: Batch {
            prompts: kept,
            samples,
            common,
            constraint: ask::constraint(options.response_format.take())?,
        },
        keep,
        stream,
        form,
    })
}

/// The prompts a `prompt` field holds.
fn prompts(wire: Prompt, add_special_tokens: Option<bool>) -> Result<Vec<protocol::Prompt>, Error> {
    let text = |text| protocol::Prompt::Text {
        text,
        add_special_tokens,
    };
    let prompts: Vec<_> = match wire {
        Prompt::Text(one) => vec![text(one)],
        Prompt::Texts(many) => many.into_iter().map(text).collect(),
        Prompt::Tokens(ids) => vec![protocol::Prompt::Tokens(ids)],
        Prompt::TokenLists(lists) => lists.into_iter().map(protocol::Prompt::Tokens).collect(),
        Prompt::Messages(list) => {
            vec![protocol::Prompt::Chat(messages::chat(list, Vec::new())?)]
        }
    };
    match prompts.is_empty() {
        true => Err(invalid(
            "prompt",
            "is an empty list; give at least one prompt",
        )),
        false => Ok(prompts),
    }
}

/// A prompt's text, for the echo.
async fn text_of(
    context: &Context,
    model: &str,
    prompt: &protocol::Prompt,
) -> Result<String, Error> {
    let inference = &context.inference;
    let text = match prompt {
        protocol::Prompt::Text { text, .. } => Ok(text.clone()),
        protocol::Prompt::Tokens(ids) => inference.decode(model, ids).await,
        chat => {
            let tokens = inference.encode(model, chat).await?.tokens;
            inference.decode(model, &tokens).await
        }
    };
    text.map_err(|error| match error {
        Error::Invalid { reason, .. } => invalid("prompt", reason),
        other => other,
    })
}

/// Where an echoed text begins.
fn before(echo: &str, tokens: &[TokenLogprob]) -> Offset {
    Offset::before(echo, tokens.first().map(|token| &*token.bytes))
}

/// Choices that hold text.
pub(super) struct Texts {
    /// Each prompt's text, where it is to be echoed.
    echo: Option<Vec<String>>,
    /// Choices a prompt.
    keep: usize,
    logprobs: bool,
    names: Names,
    /// Where the next token of each streamed choice begins. Filled as choices begin: their number
    /// is not checked yet when a form is made, and may be far more than there is memory.
    offsets: BTreeMap<usize, Offset>,
}

/// A choice, whole or a piece of one.
#[derive(Serialize, ToSchema)]
#[schema(as = CompletionChoice)]
pub(super) struct Text {
    /// Sample `j` of prompt `i` has `i · n + j`.
    index: usize,
    text: String,
    logprobs: Option<Legacy>,
    /// `stop` or `length`; null before the end.
    finish_reason: Option<&'static str>,
}

impl Texts {
    fn echo(&self, index: usize) -> Option<&str> {
        let texts = self.echo.as_ref()?;
        texts.get(index / self.keep).map(String::as_str)
    }
}

impl Form for Texts {
    const ANSWER: &'static str = "text_completion";
    const CHUNK: &'static str = "text_completion";
    type Choice = Text;
    type Piece = Text;

    fn choice(&self, index: usize, answer: Answer) -> Text {
        let echo = self.echo(index).unwrap_or_default();
        let logprobs = self.logprobs.then(|| {
            let mut offset = before(echo, &answer.started.prompt);
            let tokens = answer.started.prompt.iter().chain(&answer.logprobs);
            Legacy::of(tokens, self.names, &mut offset)
        });
        Text {
            index,
            text: format!("{echo}{}", answer.text),
            logprobs,
            finish_reason: Some(finish_reason(&answer.finish.reason)),
        }
    }

    fn pieces(&mut self, index: usize, event: Event) -> Vec<Text> {
        let (text, tokens, reason) = match event {
            Event::Started(started) => {
                let Some(echo) = self.echo(index).map(str::to_owned) else {
                    return Vec::new();
                };
                let offset = before(&echo, &started.prompt);
                self.offsets.insert(index, offset);
                (echo, started.prompt, None)
            }
            Event::Token(token) => (token.text, token.logprob.into_iter().collect(), None),
            Event::Finished(finish) => {
                (finish.text, Vec::new(), Some(finish_reason(&finish.reason)))
            }
        };
        if text.is_empty() && tokens.is_empty() && reason.is_none() {
            return Vec::new();
        }
        let offset = self.offsets.entry(index).or_default();
        let logprobs =
            (self.logprobs && !tokens.is_empty()).then(|| Legacy::of(&tokens, self.names, offset));
        vec![Text {
            index,
            text,
            logprobs,
            finish_reason: reason,
        }]
    }
}

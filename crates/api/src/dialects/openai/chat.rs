//! `POST /v1/chat/completions`.

use serde::Serialize;
use serde_json::Value;
use tinderbox_protocol::{Error, Event, Prompt};
use utoipa::ToSchema;

use super::form::{Form, Plan, Stream};
use super::logprobs::{Content, Names};
use super::wire::{ChatCompletion, Options};
use super::{ask, messages, sampling};
use crate::Context;
use crate::answer::{Answer, finish_reason};
use crate::batch::{Batch, invalid};
use crate::payload::Ask;

/// What to ask for a body, and how to answer.
///
/// # Errors
/// A field that is wrong or not supported.
pub(super) async fn plan(
    context: &Context,
    ask: Ask<ChatCompletion, Options>,
) -> Result<Plan<Messages>, Error> {
    let (wire, mut options) = (ask.own, ask.options);
    let keep = sampling::samples("n", options.n, 1)?;
    let logprobs = wire.logprobs.unwrap_or(false);
    let top = sampling::alternatives("top_logprobs", wire.top_logprobs)?;
    if top.is_some_and(|count| count > 0) && !logprobs {
        return Err(invalid("top_logprobs", "needs logprobs to be true"));
    }

    let id = format!("chatcmpl-{}", context.place.new_id());
    let max_tokens = wire.max_completion_tokens.or(wire.max_tokens);
    let mut common = ask::request(&mut options, id, max_tokens)?;
    common.logprobs = logprobs.then_some(top.unwrap_or(0));

    let list = wire.messages;
    let list = list.ok_or_else(|| invalid("messages", "is required"))?;
    let tools = tools(wire.tools.unwrap_or_default(), wire.tool_choice)?;
    let mut chat = messages::chat(list, tools)?;
    let guideline = wire.guideline.map(|text| ("guideline".into(), text.into()));
    chat.variables.extend(guideline);
    let prompt = Prompt::Chat(chat);
    let prompt = ask::truncated(context, &common, prompt, options.truncate_prompt_tokens).await?;
    let form = Messages {
        names: Names::of(&options),
    };
    Ok(Plan {
        batch: Batch {
            prompts: vec![prompt],
            samples: keep,
            common,
        },
        keep,
        stream: Stream::of(&options),
        form,
    })
}

/// The tools to show the model. Nothing forces it to use one yet.
fn tools(tools: Vec<Value>, choice: Option<Value>) -> Result<Vec<Value>, Error> {
    match choice.as_ref().map(Value::as_str) {
        None | Some(Some("auto")) => Ok(tools),
        Some(Some("none")) => Ok(Vec::new()),
        _ => {
            let reason = "only `none` and `auto` are supported yet";
            Err(invalid("tool_choice", reason))
        }
    }
}

/// Choices that hold an assistant's message.
pub(super) struct Messages {
    names: Names,
}

/// A whole choice.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatChoice)]
pub(super) struct Choice {
    index: usize,
    message: Delta,
    logprobs: Option<Content>,
    /// `stop` or `length`.
    finish_reason: &'static str,
}

/// A piece of a choice.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatPiece)]
pub(super) struct Piece {
    index: usize,
    delta: Delta,
    logprobs: Option<Content>,
    /// `stop` or `length`; null before the end.
    finish_reason: Option<&'static str>,
}

/// A message, or what is added to one.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ChatText)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl Delta {
    /// What begins an assistant's message.
    fn assistant(content: String) -> Delta {
        Delta {
            role: Some("assistant"),
            content: Some(content),
        }
    }

    fn text(content: String) -> Delta {
        Delta {
            role: None,
            content: Some(content),
        }
    }
}

impl Form for Messages {
    const ANSWER: &'static str = "chat.completion";
    const CHUNK: &'static str = "chat.completion.chunk";
    type Choice = Choice;
    type Piece = Piece;

    fn choice(&self, index: usize, answer: Answer) -> Choice {
        Choice {
            index,
            message: Delta::assistant(answer.text),
            logprobs: Content::of(&answer.logprobs, self.names),
            finish_reason: finish_reason(&answer.finish.reason),
        }
    }

    fn pieces(&mut self, index: usize, event: Event) -> Vec<Piece> {
        let piece = |delta, logprobs, finish_reason| Piece {
            index,
            delta,
            logprobs,
            finish_reason,
        };
        match event {
            Event::Started(_) => vec![piece(Delta::assistant(String::new()), None, None)],
            // A token whose text is still held back shows only where its logprob was asked.
            Event::Token(token) if token.text.is_empty() && token.logprob.is_none() => Vec::new(),
            Event::Token(token) => {
                let logprobs = Content::of(token.logprob.as_slice(), self.names);
                vec![piece(Delta::text(token.text), logprobs, None)]
            }
            Event::Finished(finish) => {
                let held = Some(finish.text).filter(|text| !text.is_empty());
                let held = held.map(|text| piece(Delta::text(text), None, None));
                let end = piece(Delta::default(), None, Some(finish_reason(&finish.reason)));
                held.into_iter().chain([end]).collect()
            }
        }
    }
}

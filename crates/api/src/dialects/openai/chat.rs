//! `POST /v1/chat/completions`.

use std::collections::BTreeMap;

use serde::Serialize;
use tinderbox_protocol::{Error, Event, FinishReason, Prompt};
use utoipa::ToSchema;

use super::calls::{Calls, Delta, Message, Opened};
use super::form::{Form, Plan, Stream};
use super::logprobs::{Content, Names};
use super::wire::{ChatCompletion, Options};
use super::{ask, messages, sampling};
use crate::Context;
use crate::answer::{Answer, finish_reason};
use crate::batch::{Batch, invalid};
use crate::payload::Ask;
use crate::tools::{self, Offer, Syntax};

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
    let mut common = ask::request(context, &mut options, id, max_tokens)?;
    common.logprobs = logprobs.then_some(top.unwrap_or(0));

    let list = wire.messages;
    let list = list.ok_or_else(|| invalid("messages", "is required"))?;
    let tools = wire.tools.unwrap_or_default();
    let offer = Offer::of(&tools, wire.tool_choice.as_ref(), wire.parallel_tool_calls)?;
    let shown = match offer {
        Some(_) => tools,
        None => Vec::new(),
    };
    let mut chat = messages::chat(list, shown)?;
    let guideline = wire.guideline.map(|text| ("guideline".into(), text.into()));
    chat.variables.extend(guideline);
    let prompt = Prompt::Chat(chat);
    let prompt = ask::truncated(context, &common, prompt, options.truncate_prompt_tokens).await?;

    let answer = ask::constraint(options.response_format.take())?;
    let (constraint, calls) = match offer {
        None => (answer, None),
        Some(offer) => {
            let info = context.inference.tokenizer_info(&common.model).await?;
            let syntax = Syntax::of(&info);
            let constraint = tools::constraint(&offer, &syntax, answer);
            let sure = constraint.is_some();
            (
                constraint,
                Some(Calls::new(&common.id, offer, syntax, sure)),
            )
        }
    };
    let form = Messages {
        names: Names::of(&options),
        calls,
        open: BTreeMap::new(),
    };
    Ok(Plan {
        batch: Batch {
            prompts: vec![prompt],
            samples: keep,
            common,
            constraint,
        },
        keep,
        stream: Stream::of(&options),
        form,
    })
}

/// Whether a form of the answer is asked beside tools.
pub(super) fn forms_tools(ask: &Ask<ChatCompletion, Options>) -> bool {
    let tools = ask
        .own
        .tools
        .as_ref()
        .is_some_and(|tools| !tools.is_empty());
    let format = ask.options.response_format.as_ref();
    tools && format.is_some_and(|format| format.kind != "text")
}

/// Choices that hold an assistant's message.
pub(super) struct Messages {
    names: Names,
    /// The calls to look for.
    calls: Option<Calls>,
    /// Of each streamed choice, what is read for calls.
    open: BTreeMap<usize, Opened>,
}

/// A whole choice.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatChoice)]
pub(super) struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<Content>,
    /// `stop`, `length` or `tool_calls`.
    finish_reason: &'static str,
}

/// A piece of a choice.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatPiece)]
pub(super) struct Piece {
    index: usize,
    delta: Delta,
    logprobs: Option<Content>,
    /// `stop`, `length` or `tool_calls`; null before the end.
    finish_reason: Option<&'static str>,
}

/// How a choice ended, `called` if it has calls.
fn ended(reason: &FinishReason, called: bool) -> &'static str {
    match finish_reason(reason) {
        "stop" if called => "tool_calls",
        reason => reason,
    }
}

impl Form for Messages {
    const ANSWER: &'static str = "chat.completion";
    const CHUNK: &'static str = "chat.completion.chunk";
    type Choice = Choice;
    type Piece = Piece;

    fn choice(&self, index: usize, answer: Answer) -> Choice {
        let message = match &self.calls {
            Some(calls) => calls.message(index, &answer),
            None => Message::text(answer.text),
        };
        Choice {
            index,
            logprobs: Content::of(&answer.logprobs, self.names),
            finish_reason: ended(&answer.finish.reason, message.called()),
            message,
        }
    }

    fn pieces(&mut self, index: usize, event: Event) -> Vec<Piece> {
        let mut opened = match &self.calls {
            Some(calls) => Some(self.open.entry(index).or_insert_with(|| calls.open(index))),
            None => None,
        };
        let (deltas, logprobs, reason) = match event {
            Event::Started(_) => (vec![Delta::assistant()], None, None),
            Event::Token(token) => {
                let deltas = match &mut opened {
                    Some(opened) => opened.token(&token),
                    None => Delta::text(token.text),
                };
                (
                    deltas,
                    Content::of(token.logprob.as_slice(), self.names),
                    None,
                )
            }
            Event::Finished(finish) => {
                let mut deltas = match &mut opened {
                    Some(opened) => opened.end(&finish.text),
                    None => Delta::text(finish.text),
                };
                deltas.push(Delta::default());
                let called = opened.is_some_and(|opened| opened.called());
                (deltas, None, Some(ended(&finish.reason, called)))
            }
        };
        self.split(index, deltas, logprobs, reason)
    }
}

impl Messages {
    /// A piece for each delta: the first has the logprobs, the last the end. A token whose text is still
    /// held back shows only where its logprob was asked.
    fn split(
        &self,
        index: usize,
        mut deltas: Vec<Delta>,
        mut logprobs: Option<Content>,
        reason: Option<&'static str>,
    ) -> Vec<Piece> {
        if deltas.is_empty() && logprobs.is_some() {
            deltas.push(Delta::empty());
        }
        let last = deltas.len().saturating_sub(1);
        let pieces = deltas.into_iter().enumerate().map(|(at, delta)| Piece {
            index,
            delta,
            logprobs: logprobs.take(),
            finish_reason: reason.filter(|_| at == last),
        });
        pieces.collect()
    }
}

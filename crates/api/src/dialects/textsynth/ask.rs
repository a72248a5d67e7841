//! From a body to requests.

use std::ops::Bound::{Excluded, Included, Unbounded};

use serde_json::Value;
use tinderbox_protocol::{self as protocol, Constraint, Error, Prompt, Request, Sampling, Stop};

use super::wire::{Chat, Completion, Options, Turn};
use crate::Context;
use crate::batch::{Batch, invalid};
use crate::constraint::Asked;
use crate::dialects::openai::messages::{self, Message};
use crate::payload::Ask;
use crate::ranges::{count, logit_bias, number};
use crate::text_or::TextOr;

/// Largest seed.
const MAX_SEED: i64 = i32::MAX as i64;

/// What to ask and how to answer it.
pub(super) struct Plan {
    pub batch: Batch,
    /// `text` is a list.
    pub list: bool,
    pub stream: bool,
}

/// What to ask an engine for a text's continuation.
///
/// # Errors
/// A field that is missing, wrong or not supported.
pub(super) fn completion(
    context: &Context,
    engine: String,
    ask: Ask<Completion, Options>,
) -> Result<Plan, Error> {
    let prompt = ask.own.prompt;
    let prompt = prompt.ok_or_else(|| invalid("prompt", "is required"))?;
    let list = matches!(prompt, TextOr::List(_));
    let texts = Vec::from(prompt);
    if texts.is_empty() {
        let reason = "is an empty list; give at least one prompt";
        return Err(invalid("prompt", reason));
    }
    let prompts = texts.into_iter().map(|text| Prompt::Text {
        text,
        add_special_tokens: None,
    });
    let prompts = prompts.collect();
    let plan = plan(context, engine, prompts, ask.options)?;
    Ok(Plan {
        list: list || plan.list,
        ..plan
    })
}

/// What to ask an engine for the next turn of a conversation.
///
/// # Errors
/// As [`completion`].
pub(super) fn chat(
    context: &Context,
    engine: String,
    ask: Ask<Chat, Options>,
) -> Result<Plan, Error> {
    let turns = ask.own.messages;
    let turns = turns.ok_or_else(|| invalid("messages", "is required"))?;
    if turns.len() % 2 == 0
        && let Some(Turn::Text(_)) = turns.last()
    {
        let reason = "ends with a text of the assistant; texts take turns, the user's come first";
        return Err(invalid("messages", reason));
    }
    let turns = turns.into_iter().enumerate().map(message).collect();
    let mut chat = messages::chat(turns, Vec::new())?;
    if let Some(system) = ask.own.system.filter(|text| !text.is_empty()) {
        let system = protocol::Message {
            role: "system".into(),
            content: Some(system),
            ..protocol::Message::default()
        };
        chat.messages.insert(0, system);
    }
    plan(context, engine, vec![Prompt::Chat(chat)], ask.options)
}

fn message((index, turn): (usize, Turn)) -> Message {
    let text = match turn {
        Turn::Message(message) => return message,
        Turn::Text(text) => text,
    };
    Message {
        role: ["user", "assistant"][index % 2].into(),
        content: Some(TextOr::Text(text)),
        name: None,
        tool_calls: None,
        tool_call_id: None,
    }
}

fn plan(
    context: &Context,
    engine: String,
    prompts: Vec<Prompt>,
    options: Options,
) -> Result<Plan, Error> {
    let samples = count("n", options.n, 1, 1..=16)?;
    let common = Request {
        id: format!("ts-{}", context.place.new_id()),
        model: engine,
        max_tokens: Some(count("max_tokens", options.max_tokens, 100, 0..)?),
        sampling: sampling(&options)?,
        stop: Stop {
            strings: options.stop.map(Vec::from).unwrap_or_default(),
            ..Stop::default()
        },
        truncate_prompt: true,
        ..Request::default()
    };
    Ok(Plan {
        batch: Batch {
            prompts,
            samples,
            common,
            constraint: constraint(options.schema, options.grammar)?,
        },
        list: samples > 1,
        stream: options.stream.unwrap_or(false),
    })
}

/// What the text must look like. Of the two, a schema counts before a grammar.
fn constraint(schema: Option<Value>, grammar: Option<String>) -> Result<Option<Asked>, Error> {
    if let Some(schema) = schema {
        return Asked::schema("schema", schema).map(Some);
    }
    Ok(grammar.map(|grammar| Asked {
        constraint: Constraint::Gbnf(grammar),
        field: "grammar".into(),
        lines: Vec::new(),
    }))
}

fn sampling(options: &Options) -> Result<Sampling, Error> {
    let penalty = |name, value| number(name, value, 0.0, -2.0..=2.0);
    let seed = count("seed", options.seed, 0, 0..=MAX_SEED)?;
    Ok(Sampling {
        temperature: number("temperature", options.temperature, 1.0, 0.0..)?,
        top_k: count("top_k", options.top_k, 40, 1..=1000)?,
        top_p: number("top_p", options.top_p, 0.9, 0.0..=1.0)?,
        typical_p: number(
            "typical_p",
            options.typical_p,
            1.0,
            (Excluded(0.0), Included(1.0)),
        )?,
        repetition_penalty: number(
            "repetition_penalty",
            options.repetition_penalty,
            1.0,
            (Excluded(0.0), Unbounded),
        )?,
        presence_penalty: penalty("presence_penalty", options.presence_penalty)?,
        frequency_penalty: penalty("frequency_penalty", options.frequency_penalty)?,
        logit_bias: logit_bias(options.logit_bias.as_ref())?,
        seed: (seed > 0).then_some(seed as u64),
        ..Sampling::default()
    })
}

//! From a body to requests.

use std::time::Duration;

use tinderbox_protocol::{self as protocol, Error, EventStream, Prompt, Request, Sampling};

use super::deadline;
use super::wire::{Message, Options};
use crate::Context;
use crate::batch::{self, MAX_SEQUENCES, invalid};
use crate::ranges::{count, number};

/// New tokens where nothing is said.
const DEFAULT_MAX_TOKENS: usize = 8192;

/// What to ask.
pub(super) struct Plan {
    requests: Vec<Request>,
    /// Uptime at which answers are cut off.
    deadline: Option<Duration>,
}

impl Plan {
    /// One sequence a prompt.
    ///
    /// # Errors
    /// A number outside its range, an unknown model, a prompt that does not fit the context.
    pub async fn new(
        context: &Context,
        prompts: Vec<Prompt>,
        options: Options,
    ) -> Result<Self, Error> {
        let id = format!("gen-{}", context.place.new_id());
        let asked = max_tokens(&options)?;
        let common = Request {
            sampling: sampling(&options)?,
            model: options.model_id.unwrap_or_default(),
            ..Request::default()
        };
        let mut requests = Vec::new();
        for (index, prompt) in prompts.into_iter().enumerate() {
            requests.push(Request {
                id: format!("{id}-{index}"),
                max_tokens: Some(asked.min(room(context, &common.model, &prompt).await?)),
                prompt,
                ..common.clone()
            });
        }
        Ok(Plan {
            deadline: deadline(context, options.max_time)?,
            requests,
        })
    }

    /// Starts all sequences; the streams are in the prompts' order.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn start(self, context: &Context) -> Result<Vec<EventStream>, Error> {
        let streams = batch::start(context, self.requests).await?;
        let Some(deadline) = self.deadline else {
            return Ok(streams);
        };
        let cut = |events| deadline::cut(events, deadline, context.place.clone());
        Ok(streams.into_iter().map(cut).collect())
    }
}

/// A prompt for each text.
///
/// # Errors
/// Too many.
pub(super) fn prompts(texts: Vec<String>, system: Option<&str>) -> Result<Vec<Prompt>, Error> {
    let count = texts.len();
    if count > MAX_SEQUENCES {
        let reason = format!("{count} prompts are more than the {MAX_SEQUENCES} of one request");
        return Err(invalid("prompts", reason));
    }
    let texts = texts.into_iter();
    Ok(texts.map(|text| prompt(text, system)).collect())
}

/// A text, or a conversation where there is a system prompt. The server makes one of every prompt,
/// with marks that few models know; the document's `/generate` is plain, so ours is.
pub(super) fn prompt(text: String, system: Option<&str>) -> Prompt {
    match system {
        None | Some("") => Prompt::Text {
            text,
            add_special_tokens: None,
        },
        Some(system) => conversation(vec![turn("system", system.into()), turn("user", text)]),
    }
}

/// A conversation; the instructions are its system message where it has none.
///
/// # Errors
/// No messages, an unknown role.
pub(super) fn chat(messages: Vec<Message>, instructions: Option<String>) -> Result<Prompt, Error> {
    if messages.is_empty() {
        return Err(invalid("messages", "is empty; give at least one message"));
    }
    let turns = messages.into_iter().enumerate();
    let turns = turns.map(|(index, Message { role, content })| {
        // The server folds case and spaces.
        match role.trim().to_lowercase().as_str() {
            role @ ("system" | "user" | "assistant" | "tool") => Ok(turn(role, content)),
            other => {
                let reason = format!("`{other}` is not system, user, assistant or tool");
                Err(invalid(format!("messages[{index}].role"), reason))
            }
        }
    });
    let mut turns: Vec<_> = turns.collect::<Result<_, _>>()?;
    let has_system = turns.iter().any(|turn| turn.role == "system");
    if let Some(text) = instructions.filter(|_| !has_system) {
        turns.insert(0, turn("system", text));
    }
    Ok(conversation(turns))
}

fn conversation(messages: Vec<protocol::Message>) -> Prompt {
    Prompt::Chat(protocol::Chat {
        messages,
        add_generation_prompt: true,
        ..protocol::Chat::default()
    })
}

fn turn(role: &str, content: String) -> protocol::Message {
    protocol::Message {
        role: role.into(),
        content: Some(content),
        ..protocol::Message::default()
    }
}

/// Tokens the context leaves for an answer, 1 or more.
async fn room(context: &Context, model: &str, prompt: &Prompt) -> Result<usize, Error> {
    let prompt = context.inference.encode(model, prompt).await?.tokens.len();
    let card = context.card(model).ok_or(Error::NoModel)?;
    match card.context_length.saturating_sub(prompt) {
        0 => Err(Error::ContextOverflow {
            context: card.context_length,
            prompt,
            completion: 1,
        }),
        room => Ok(room),
    }
}

fn max_tokens(options: &Options) -> Result<usize, Error> {
    let (field, value) = match options.max_tokens {
        None => ("max_length", options.max_length),
        given => ("max_tokens", given),
    };
    count(field, value, DEFAULT_MAX_TOKENS, 1..=32_000)
}

fn sampling(options: &Options) -> Result<Sampling, Error> {
    let temperature = number("temperature", options.temperature, 0.7, 0.0..=2.0)?;
    let penalty = options.repetition_penalty;
    Ok(Sampling {
        temperature: match options.do_sample {
            Some(false) => 0.0,
            _ => temperature,
        },
        top_p: number("top_p", options.top_p, 0.9, 0.0..=1.0)?,
        top_k: count("top_k", options.top_k, 80, 1..=1000)?,
        repetition_penalty: number("repetition_penalty", penalty, 1.15, 1.0..=2.0)?,
        ..Sampling::default()
    })
}

/// The uptime at which `max_time` is over; none where that is further than time goes.
fn deadline(context: &Context, max_time: Option<f64>) -> Result<Option<Duration>, Error> {
    let Some(seconds) = max_time else {
        return Ok(None);
    };
    let seconds = number("max_time", Some(seconds), 0.0, 0.0..)?;
    let time = Duration::try_from_secs_f32(seconds).ok();
    Ok(time.and_then(|time| context.place.uptime().checked_add(time)))
}

//! Bodies, field by field. A field that is absent or null has the default of its doc; fields that
//! are not here are ignored.
//!
//! The published document and the server differ in names: both are taken, and both are answered.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tinderbox_protocol::Error;
use utoipa::ToSchema;

use crate::payload::parse;
use crate::usage;

/// Reads a body that has [`Options`] among its fields. They are read alone first, because serde's
/// `flatten` would lose their names in errors.
///
/// # Errors
/// A field of the wrong type, by name.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    parse::<Options>(body)?;
    parse(body)
}

/// `POST /generate`.
#[derive(Deserialize, ToSchema)]
#[schema(as = LocalLabGenerate)]
pub(super) struct Generate {
    /// The text to go on with.
    pub prompt: String,
    /// Makes a conversation of it: this system message, then the prompt as the user's. Default:
    /// none, and the prompt is plain text.
    pub system_prompt: Option<String>,
    /// Default: no.
    pub stream: Option<bool>,
    #[serde(flatten)]
    pub options: Options,
}

/// `POST /generate/batch`.
#[derive(Deserialize, ToSchema)]
#[schema(as = LocalLabBatch)]
pub(super) struct Batch {
    /// At most 1024; none give no answers.
    pub prompts: Vec<String>,
    /// As with one prompt, for each.
    pub system_prompt: Option<String>,
    #[serde(flatten)]
    pub options: Options,
}

/// `POST /chat`.
#[derive(Deserialize, ToSchema)]
#[schema(as = LocalLabChat)]
pub(super) struct Chat {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Default: no.
    pub stream: Option<bool>,
    #[serde(flatten)]
    pub options: Options,
}

/// A turn of a conversation.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = LocalLabMessage)]
pub(super) struct Message {
    /// `system`, `user`, `assistant` or `tool`, in any case.
    pub role: Cow<'static, str>,
    pub content: String,
}

/// How to generate; among the fields of all three bodies. Defaults are the document's, ranges the server's.
#[derive(Deserialize, ToSchema)]
#[schema(as = LocalLabOptions)]
pub(super) struct Options {
    /// Default: the current model.
    pub model_id: Option<String>,
    /// New tokens, 1 ..= 32000, at most what the context leaves. Default: `max_length`.
    pub max_tokens: Option<i64>,
    /// The document's name for the same. Default 8192.
    pub max_length: Option<i64>,
    /// 0 ..= 2, 0 is greedy. Default 0.7.
    pub temperature: Option<f64>,
    /// 0 ..= 1. Default 0.9.
    pub top_p: Option<f64>,
    /// 1 ..= 1000. Default 80.
    pub top_k: Option<i64>,
    /// 1 ..= 2. Default 1.15.
    pub repetition_penalty: Option<f64>,
    /// `false` is greedy. Default: yes.
    pub do_sample: Option<bool>,
    /// Seconds after which the answer ends with the next token, 0 or more. Default: no limit.
    pub max_time: Option<f64>,
}

/// The answer to one prompt.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabGenerated)]
pub(super) struct Generated {
    /// The text, as the document calls it.
    pub response: String,
    /// The same, as the server calls it.
    pub text: String,
    /// Who answered.
    pub model: String,
    /// The same.
    pub model_id: String,
    pub usage: Usage,
}

/// The answers to several prompts, in their order.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabGeneratedBatch)]
pub(super) struct GeneratedBatch {
    pub responses: Vec<String>,
    pub usage: Usage,
}

/// The answer to a conversation.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabChatted)]
pub(super) struct Chatted {
    /// Exactly one.
    pub choices: Vec<Choice>,
    pub usage: Usage,
}

/// A turn of the assistant.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabChoice)]
pub(super) struct Choice {
    /// Always 0.
    pub index: usize,
    pub message: Message,
    /// `stop` or `length`.
    pub finish_reason: &'static str,
}

/// Token counts.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabUsage)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl From<usage::Usage> for Usage {
    fn from(usage: usage::Usage) -> Self {
        Usage {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            total_tokens: usage.prompt + usage.completion,
        }
    }
}

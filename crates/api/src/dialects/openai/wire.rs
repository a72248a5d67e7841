//! Request bodies, field by field. A field that is absent or null has the default of its doc;
//! fields that are not here are ignored. Each endpoint reads its body twice: its own fields and
//! the [`Options`] both share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::messages::Message;
use super::prompt::Prompt;
use crate::text_or::TextOr;
use crate::usage;

/// `POST /v1/completions`: what is not among the [`Options`].
#[derive(Deserialize)]
pub(super) struct Completion {
    pub prompt: Option<Prompt>,
    /// Put the prompt before the text and its tokens before the logprobs. Default: no.
    pub echo: Option<bool>,
    /// Alternatives a token, 0 ..= 20. Default: no logprobs.
    pub logprobs: Option<u32>,
    /// Samples to choose from, `n` ..= 128. Default: `n`.
    pub best_of: Option<u32>,
    /// Text behind the gap; not supported.
    pub suffix: Option<String>,
    /// Default 16. 0 scores the prompt only.
    pub max_tokens: Option<u32>,
    /// BOS before a text. Default: the checkpoint's rule.
    pub add_special_tokens: Option<bool>,
}

/// `POST /v1/chat/completions`: what is not among the [`Options`].
#[derive(Deserialize)]
pub(super) struct ChatCompletion {
    pub messages: Option<Vec<Message>>,
    /// Default: no.
    pub logprobs: Option<bool>,
    /// Alternatives a token, 0 ..= 20, with `logprobs`. Default 0.
    pub top_logprobs: Option<u32>,
    /// Default: the rest of the context.
    pub max_completion_tokens: Option<u32>,
    /// The same under its old name.
    pub max_tokens: Option<u32>,
    /// Given to the template.
    pub tools: Option<Vec<Value>>,
    /// `none` or `auto`.
    pub tool_choice: Option<Value>,
    /// A variable of some templates. LoRAX's field.
    pub guideline: Option<String>,
}

/// What both endpoints take. The second half is vLLM's.
#[derive(Deserialize)]
pub(super) struct Options {
    /// Default: the model served.
    pub model: Option<String>,
    /// Samples a prompt, 1 ..= 128. Default 1.
    pub n: Option<u32>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    /// Default: none.
    pub stop: Option<TextOr<String>>,
    /// Any 64-bit integer. Default: a fresh one.
    pub seed: Option<i64>,
    /// 0 ..= 2, 0 is greedy. Default 1.
    pub temperature: Option<f64>,
    /// Above 0, at most 1. Default 1.
    pub top_p: Option<f64>,
    /// -2 ..= 2. Default 0.
    pub presence_penalty: Option<f64>,
    /// -2 ..= 2. Default 0.
    pub frequency_penalty: Option<f64>,
    /// Token ids in decimal digits to -100 ..= 100.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// `{"type": "text"}` only.
    pub response_format: Option<ResponseFormat>,

    /// 0 and -1 are off. Default 0.
    pub top_k: Option<i64>,
    /// 0 ..= 1. Default 0.
    pub min_p: Option<f64>,
    /// Above 0, at most 1. Default 1.
    pub typical_p: Option<f64>,
    /// Above 0. Default 1.
    pub repetition_penalty: Option<f64>,
    /// Go on past the end token. Default: no.
    pub ignore_eos: Option<bool>,
    /// LoRAX's name for the same.
    pub ignore_eos_token: Option<bool>,
    /// At most `max_tokens`. Default 0.
    pub min_tokens: Option<u32>,
    /// Default: none besides the checkpoint's.
    pub stop_token_ids: Option<Vec<u32>>,
    /// Default: no.
    pub include_stop_str_in_output: Option<bool>,
    /// Default: yes.
    pub skip_special_tokens: Option<bool>,
    /// Keep this many tokens at the prompt's end; -1: as many as fit. Default: all.
    pub truncate_prompt_tokens: Option<i64>,
    /// Name tokens `token_id:7` in logprobs. Default: no.
    pub return_tokens_as_token_ids: Option<bool>,
}

/// What a stream holds besides text.
#[derive(Deserialize)]
pub(super) struct StreamOptions {
    /// End with a chunk of token counts. Default: no.
    pub include_usage: Option<bool>,
}

/// Form of the answer.
#[derive(Deserialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type")]
    pub kind: String,
}

/// `POST /tokenize`, of a text or of messages.
#[derive(Deserialize)]
pub(super) struct Tokenize {
    pub model: Option<String>,
    pub prompt: Option<Prompt>,
    /// In place of `prompt`.
    pub messages: Option<Vec<Message>>,
    pub tools: Option<Vec<Value>>,
    /// BOS before a text. Default: the checkpoint's rule.
    pub add_special_tokens: Option<bool>,
    /// Messages end with the header of the assistant's turn. Default: yes.
    pub add_generation_prompt: Option<bool>,
    /// Default: no.
    pub return_token_strs: Option<bool>,
}

/// `POST /detokenize`.
#[derive(Deserialize)]
pub(super) struct Detokenize {
    pub model: Option<String>,
    pub tokens: Option<Vec<u32>>,
}

/// An answer or a chunk of one; the two endpoints differ in their choices.
#[derive(Serialize)]
pub(super) struct Envelope<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<C>,
    /// Left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// Token counts.
#[derive(Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

impl From<usage::Usage> for Usage {
    fn from(usage: usage::Usage) -> Self {
        Usage {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            total_tokens: usage.prompt + usage.completion,
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached,
            },
        }
    }
}

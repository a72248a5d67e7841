//! Request bodies, field by field. A field that is absent or null has the default of its doc;
//! fields that are not here are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::messages::Message;
use super::prompt::Prompt;
use crate::constraint::ResponseFormat;
use crate::text_or::TextOr;
use crate::usage;

/// The fields that only `POST /v1/completions` has.
#[derive(Deserialize, ToSchema)]
pub(super) struct Completion {
    /// Required.
    #[schema(required, value_type = Prompt)]
    pub prompt: Option<Prompt>,
    /// Put the prompt before the text and its tokens before the logprobs. Default: no.
    pub echo: Option<bool>,
    /// Alternatives a token. Default: no logprobs.
    #[schema(maximum = 20)]
    pub logprobs: Option<u32>,
    /// Samples to choose from, at least `n`. Default: `n`.
    #[schema(minimum = 1, maximum = 128)]
    pub best_of: Option<u32>,
    /// Text behind the gap; not supported.
    pub suffix: Option<String>,
    /// 0 scores the prompt only.
    #[schema(default = 16)]
    pub max_tokens: Option<u32>,
    /// BOS before a text. Default: the checkpoint's rule.
    pub add_special_tokens: Option<bool>,
}

/// The fields that only `POST /v1/chat/completions` has.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChatCompletion {
    /// Required; at least one.
    #[schema(required, value_type = Vec<Message>)]
    pub messages: Option<Vec<Message>>,
    /// With each token's logprob. Default: no.
    pub logprobs: Option<bool>,
    /// Alternatives a token, with `logprobs`.
    #[schema(maximum = 20, default = 0)]
    pub top_logprobs: Option<u32>,
    /// Most tokens to generate. Default: the rest of the context.
    pub max_completion_tokens: Option<u32>,
    /// The same under its old name.
    pub max_tokens: Option<u32>,
    /// Functions that may be called:
    /// `{"type": "function", "function": {"name", "description", "parameters", "strict"}}`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Value>>,
    /// `none`, `auto`, `required`, or one of the functions as
    /// `{"type": "function", "function": {"name": …}}`; LoRAX has its bare name. Default: `auto`.
    #[schema(value_type = Option<String>)]
    pub tool_choice: Option<Value>,
    /// More than one call in an answer. Default: yes.
    pub parallel_tool_calls: Option<bool>,
    /// A variable of some templates. LoRAX's field.
    pub guideline: Option<String>,
}

/// What both endpoints take. The second half is vLLM's.
#[derive(Deserialize, ToSchema)]
pub(super) struct Options {
    /// A model's or an adapter's name, as in `/v1/models`. Default: the current model.
    pub model: Option<String>,
    /// LoRAX's field: `model` is an adapter of the current model, from `local`, `hub` or `s3`.
    pub adapter_source: Option<String>,
    /// LoRAX's field: a token for the hub. Default: the one of `Authorization` where it begins with
    /// `hf_` and this server has no keys.
    pub api_token: Option<String>,
    /// Samples a prompt.
    #[schema(minimum = 1, maximum = 128, default = 1)]
    pub n: Option<u32>,
    /// Answer in server-sent events. Default: no.
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    /// Texts that end the answer and are left out of it. Default: none.
    pub stop: Option<TextOr<String>>,
    /// Same seed, same answer. Sample `i` has the seed + `i`. Default: a fresh one.
    pub seed: Option<i64>,
    /// 0 is greedy.
    #[schema(minimum = 0, maximum = 2, default = 1)]
    pub temperature: Option<f64>,
    /// Keep the smallest set of tokens whose probability reaches this.
    #[schema(exclusive_minimum = 0, maximum = 1, default = 1)]
    pub top_p: Option<f64>,
    /// Subtracted from the logits of tokens already generated.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub presence_penalty: Option<f64>,
    /// Subtracted once for each time a token was generated.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub frequency_penalty: Option<f64>,
    /// Token ids in decimal digits to -100 ..= 100.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// What the answer must look like. Default: any text.
    pub response_format: Option<ResponseFormat>,

    /// Keep this many best tokens; 0 and -1 keep all.
    #[schema(minimum = -1, default = 0)]
    pub top_k: Option<i64>,
    /// Keep tokens at least this share of the best one's probability.
    #[schema(minimum = 0, maximum = 1, default = 0)]
    pub min_p: Option<f64>,
    /// Locally typical sampling: the mass to keep.
    #[schema(exclusive_minimum = 0, maximum = 1, default = 1)]
    pub typical_p: Option<f64>,
    /// Divides the logits of tokens seen in prompt or answer; 1 is off.
    #[schema(exclusive_minimum = 0, default = 1)]
    pub repetition_penalty: Option<f64>,
    /// Go on past the end token. Default: no.
    pub ignore_eos: Option<bool>,
    /// LoRAX's name for the same.
    pub ignore_eos_token: Option<bool>,
    /// No end before this many tokens; at most `max_tokens`.
    #[schema(default = 0)]
    pub min_tokens: Option<u32>,
    /// Tokens that end the answer. Default: none besides the checkpoint's.
    pub stop_token_ids: Option<Vec<u32>>,
    /// Leave the stop text in the answer. Default: no.
    pub include_stop_str_in_output: Option<bool>,
    /// Leave end and control tokens out of the text. Default: yes.
    pub skip_special_tokens: Option<bool>,
    /// Keep this many tokens at the prompt's end; -1: as many as fit. Default: all.
    pub truncate_prompt_tokens: Option<i64>,
    /// Name tokens `token_id:7` in logprobs. Default: no.
    pub return_tokens_as_token_ids: Option<bool>,
}

/// What a stream holds besides text.
#[derive(Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// End with a chunk of token counts. Default: no.
    pub include_usage: Option<bool>,
}

/// `POST /tokenize`, of a text or of messages.
#[derive(Deserialize, ToSchema)]
pub(super) struct Tokenize {
    /// Default: the current model.
    pub model: Option<String>,
    /// A text, or messages. llama.cpp's name is `content`.
    #[serde(alias = "content")]
    pub prompt: Option<Prompt>,
    /// In place of `prompt`.
    pub messages: Option<Vec<Message>>,
    /// Given to the template.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Value>>,
    /// BOS before a text. Default: the checkpoint's rule.
    pub add_special_tokens: Option<bool>,
    /// Messages end with the header of the assistant's turn. Default: yes.
    pub add_generation_prompt: Option<bool>,
    /// With each token's text. Default: no.
    pub return_token_strs: Option<bool>,
}

/// `POST /detokenize`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Detokenize {
    /// Default: the current model.
    pub model: Option<String>,
    /// Required.
    #[schema(required, value_type = Vec<u32>)]
    pub tokens: Option<Vec<u32>>,
}

/// An answer or a chunk of one; the two endpoints differ in their choices.
#[derive(Serialize, ToSchema)]
pub(super) struct Envelope<'a, C> {
    pub id: &'a str,
    /// The kind of answer.
    pub object: &'static str,
    /// Unix time, seconds.
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<C>,
    /// Of a stream only at its end, where asked.
    #[schema(value_type = Option<Usage>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// Token counts.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    /// Added BOS included.
    prompt_tokens: usize,
    /// All samples, discarded ones included.
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
}

/// Of the prompt's tokens.
#[derive(Serialize, ToSchema)]
struct PromptDetails {
    /// Answered from the prefix cache.
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

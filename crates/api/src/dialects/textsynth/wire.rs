//! Bodies, field by field. A field that is absent or null has the default of its doc; fields that
//! are not here are ignored.

use std::collections::BTreeMap;
use std::ops::Not;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::dialects::openai::messages::Message;
use crate::text_or::TextOr;

/// The field that only `completions` has.
#[derive(Deserialize, ToSchema)]
pub(super) struct Completion {
    /// Required; one text or several. One that is too long loses its beginning.
    #[schema(required, value_type = TextOr<String>)]
    pub prompt: Option<TextOr<String>>,
}

/// The fields that only `chat` has.
#[derive(Deserialize, ToSchema)]
pub(super) struct Chat {
    /// Required. Texts are the user's and the assistant's in turn: the first and the last are the
    /// user's.
    #[schema(required, value_type = Vec<Turn>)]
    pub messages: Option<Vec<Turn>>,
    /// Said before everything. Default: nothing.
    pub system: Option<String>,
}

/// A turn of a conversation: a text, or a message in OpenAI's form.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or a message with a role is needed")]
pub(super) enum Turn {
    Text(String),
    Message(Message),
}

/// How to generate.
#[derive(Deserialize, ToSchema)]
pub(super) struct Options {
    /// Most tokens to generate.
    #[schema(minimum = 0, default = 100)]
    pub max_tokens: Option<i64>,
    /// Several answers, a line of JSON and an empty line each. Default: no.
    pub stream: Option<bool>,
    /// Texts that end the answer and are left out of it. Default: none.
    pub stop: Option<TextOr<String>>,
    /// Samples a prompt. More than one make `text` a list.
    #[schema(minimum = 1, maximum = 16, default = 1)]
    pub n: Option<i64>,
    /// 0 is greedy.
    #[schema(minimum = 0, default = 1)]
    pub temperature: Option<f64>,
    /// Keep this many best tokens; 1 is greedy.
    #[schema(minimum = 1, maximum = 1000, default = 40)]
    pub top_k: Option<i64>,
    /// Of these, keep the smallest set whose probability reaches this; 1 keeps all.
    #[schema(minimum = 0, maximum = 1, default = 0.9)]
    pub top_p: Option<f64>,
    /// Same seed and request, same text; 0 takes a fresh one. Sample `i` has the seed + `i`.
    #[schema(minimum = 0, maximum = 2_147_483_647, default = 0)]
    pub seed: Option<i64>,
    /// Token ids in decimal digits to -100 ..= 100.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Subtracted from the logits of tokens already generated.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub presence_penalty: Option<f64>,
    /// Subtracted once for each time a token was generated.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub frequency_penalty: Option<f64>,
    /// Divides the logits of tokens seen in prompt or answer; 1 is off.
    #[schema(exclusive_minimum = 0, default = 1)]
    pub repetition_penalty: Option<f64>,
    /// Locally typical sampling: the mass to keep; 1 is off.
    #[schema(exclusive_minimum = 0, maximum = 1, default = 1)]
    pub typical_p: Option<f64>,
    /// A grammar that the text must follow, in GBNF: llama.cpp's and TextSynth's EBNF. The text is of its rule `root`.
    pub grammar: Option<String>,
    /// A JSON Schema that the text must follow; counts before `grammar`.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
}

/// What is generated: a whole answer, or one of a stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Generated {
    /// A list where several samples or a list of prompts were asked: sample `j` of prompt `i` is at
    /// `i · n + j`. In a stream, what is new.
    pub text: TextOr<String>,
    /// Nothing follows.
    pub reached_end: bool,
    #[serde(flatten)]
    #[schema(value_type = End)]
    pub end: Option<End>,
}

/// What is known at the end, and absent before.
#[derive(Serialize, ToSchema)]
pub(super) struct End {
    /// A prompt lost its beginning; absent otherwise.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated_prompt: bool,
    /// `stop` or `length`; a list where `text` is one.
    #[schema(required = false)]
    pub finish_reason: TextOr<String>,
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// Token counts.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// Those of the prompts, added BOS included.
    #[schema(required = false)]
    pub input_tokens: usize,
    /// Those of all samples.
    #[schema(required = false)]
    pub output_tokens: usize,
    #[schema(required = false)]
    pub total_tokens: usize,
}

/// What to score.
#[derive(Deserialize, ToSchema)]
pub(super) struct Score {
    /// Default: empty, which stands for the end-of-text token.
    pub context: Option<String>,
    /// Required, not empty.
    #[schema(required, value_type = String)]
    pub continuation: Option<String>,
}

/// How likely a continuation is.
#[derive(Serialize, ToSchema)]
pub(super) struct Scored {
    /// Natural logarithm of the continuation's probability.
    pub logprob: f64,
    /// Tokens of the continuation.
    pub num_tokens: usize,
    /// Each of them is the likeliest at its place.
    pub is_greedy: bool,
    /// Tokens of context and continuation.
    pub input_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

/// What to tokenize.
#[derive(Deserialize, ToSchema)]
pub(super) struct Tokenize {
    /// Required.
    #[schema(required, value_type = String)]
    pub text: Option<String>,
    /// `base64` tells the tokens' bytes too. Default: `none`.
    pub token_content_type: Option<String>,
}

/// The tokens of a text, nothing added.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokenized {
    pub tokens: Vec<u32>,
    /// Each token's bytes in base64, where asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_content: Option<Vec<String>>,
}

/// The engines there are.
#[derive(Serialize, ToSchema)]
pub(super) struct Engines {
    /// The current one first, then the loaded ones, then those that are loaded when they are named.
    pub engines: Vec<Engine>,
}

/// A model that is served.
#[derive(Serialize, ToSchema)]
pub(super) struct Engine {
    /// What stands in the paths, percent-encoded where it has slashes.
    pub id: String,
    /// Tokens one sequence can hold; null where not known yet.
    pub context_length: Option<usize>,
    /// Number of token ids; null where not known yet.
    pub vocab_size: Option<usize>,
}

/// What is left to spend.
#[derive(Serialize, ToSchema)]
pub(super) struct Credits {
    /// In 1e-9 US dollars.
    pub credits: u64,
}

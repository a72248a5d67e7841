//! What a caller asks of a model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One sequence to generate. `n` samples of one prompt are `n` requests.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Identifier for logs and answers; the caller makes it unique.
    pub id: String,
    /// Model name as the caller gave it; empty means the served model.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// Most tokens to generate; `None` is the rest of the context. `Some(0)` only scores the prompt.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// When to stop before `max_tokens`.
    pub stop: Stop,
    /// What the answer must look like.
    pub constraint: Option<Constraint>,
    /// Fine-tuning to apply to the model's weights.
    pub adapter: Option<Adapter>,
    /// `Some(k)`: report each generated token's logprob and the `k` best alternatives (0 ..= 20).
    pub logprobs: Option<usize>,
    /// `Some(k)`: the same for each prompt token but the first.
    pub prompt_logprobs: Option<usize>,
    /// Cut the prompt's beginning where prompt and `max_tokens` (at least one token) exceed the
    /// context, in place of [`Error::ContextOverflow`](crate::Error::ContextOverflow).
    pub truncate_prompt: bool,
}

/// What to continue.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text for the model's tokenizer.
    Text {
        /// The text, any valid UTF-8.
        text: String,
        /// Let the tokenizer add its BOS and the like; `None` follows the checkpoint's own rule.
        add_special_tokens: Option<bool>,
    },
    /// Token ids, used exactly as given.
    Tokens(Vec<u32>),
    /// Messages for the checkpoint's chat template.
    Chat(Chat),
}

impl Default for Prompt {
    fn default() -> Self {
        Prompt::Tokens(Vec::new())
    }
}

/// A conversation for the chat template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// The turns, oldest first.
    pub messages: Vec<Message>,
    /// Tool definitions, as the template expects them (OpenAI's form).
    pub tools: Vec<serde_json::Value>,
    /// End with the header of the assistant's turn.
    pub add_generation_prompt: bool,
    /// More variables for the template, by name; one of the template's own names is left out.
    pub variables: BTreeMap<String, serde_json::Value>,
}

/// One turn, in the fields chat templates read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text; `None` only beside tool calls.
    pub content: Option<String>,
    /// Speaker's name, when given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Calls the assistant made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call a `tool` turn answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A tool call of an assistant turn, in OpenAI's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Identifier the tool's answer refers to.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name and arguments: `{"name": …, "arguments": …}`.
    pub function: serde_json::Value,
}

/// How the next token is chosen. The default is plain sampling at temperature 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy. Finite, 0 or more.
    pub temperature: f32,
    /// Keep the `k` best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set whose probability reaches this; 0 ..= 1, 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this share of the best one's probability; 0 ..= 1, 0 keeps all.
    pub min_p: f32,
    /// Locally typical sampling (Meister et al. 2022): mass to keep; 0 < x ≤ 1, 1 keeps all.
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or answer
    /// (CTRL, Keskar et al. 2019); above 0, 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens already generated; -2 ..= 2.
    pub presence_penalty: f32,
    /// Subtracted once for each time a token was generated; -2 ..= 2.
    pub frequency_penalty: f32,
    /// Added to the logits of these token ids; -100 ..= 100.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Same seed and request, same text, whatever else runs; `None` takes a fresh one.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
        }
    }
}

/// When to stop before the token limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stop {
    /// Texts that end the answer wherever they appear, token borders included. None is empty.
    pub strings: Vec<String>,
    /// Token ids that end the answer, besides the checkpoint's own end tokens.
    pub tokens: Vec<u32>,
    /// Go on past the checkpoint's end tokens.
    pub ignore_eos: bool,
    /// Neither end tokens nor stop strings count before this many tokens.
    pub min_tokens: usize,
    /// Leave the matched stop string in the text.
    pub include_in_text: bool,
    /// Show end and control tokens as text (they are left out by default).
    pub show_special_tokens: bool,
}

/// What an answer must look like. Tokens that leave it are never chosen, whatever the sampling; an
/// answer that `max_tokens` cuts is a beginning of one that fulfils it.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON that a JSON Schema (draft 2020-12) accepts.
    JsonSchema(serde_json::Value),
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// Text of the rule `root` of a GBNF grammar (llama.cpp's and TextSynth's form).
    Gbnf(String),
    /// Text of the rule `start` of a Lark grammar, in llguidance's dialect.
    Lark(String),
}

/// A fine-tuning in low-rank form (LoRA, Hu et al. 2021), or several merged into one.
#[derive(Clone, PartialEq)]
pub struct Adapter {
    /// Identifiers within the source, at least one: a folder, a repository, an address.
    pub ids: Vec<String>,
    /// Where they come from.
    pub source: AdapterSource,
    /// Shown to that source and to nobody else.
    pub token: Option<String>,
    /// How several become one.
    pub merge: Merge,
}

/// The token is a secret: logs show that there is one.
impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter")
            .field("ids", &self.ids)
            .field("source", &self.source)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("merge", &self.merge)
            .finish()
    }
}

/// Where adapters come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdapterSource {
    /// Loaded or configured here by that name.
    #[default]
    Named,
    /// A folder under the server's adapters folder.
    Local,
    /// A repository of the Hugging Face hub.
    Hub,
    /// A folder of S3-compatible storage, `s3://bucket/path`.
    S3,
}

/// How several adapters become one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merge {
    /// One for each adapter; empty is 1 for each.
    pub weights: Vec<f32>,
    /// What is done with their deltas.
    pub strategy: MergeStrategy,
    /// Share of the deltas that is kept by `ties` and `dare`; 0 < x ≤ 1.
    pub density: Option<f32>,
    /// How `ties` elects a sign.
    pub majority_sign: MajoritySign,
}

/// What is done with the deltas of merged adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MergeStrategy {
    /// Weighted sum.
    #[default]
    Linear,
    /// Trim, elect a sign, sum what agrees (TIES, Yadav et al. 2023).
    Ties,
    /// Drop at random and rescale (DARE, Yu et al. 2023), then a weighted sum.
    DareLinear,
    /// DARE, then the election of TIES.
    DareTies,
}

/// How TIES elects the sign of an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MajoritySign {
    /// The sign of the sum.
    #[default]
    Total,
    /// The sign that most have.
    Frequency,
}

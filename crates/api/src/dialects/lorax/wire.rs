//! Bodies, field by field. A field that is absent or null has the default of its doc; fields that
//! are not here are ignored.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::constraint::ResponseFormat;
use crate::text_or::TextOr;

/// A text to go on with.
#[derive(Deserialize, ToSchema)]
pub(super) struct Generate {
    /// The text; required, not empty.
    pub inputs: Option<String>,
    pub parameters: Option<Parameters>,
    /// At `/` and `/invocations`: answer with a stream. Default: no.
    pub stream: Option<bool>,
}

/// How to generate. Not read: `apply_chat_template`.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct Parameters {
    /// The adapter; empty or the base model's name for none. Default: none.
    pub adapter_id: Option<String>,
    /// Where it comes from: `local`, `hub` or `s3`. Default: where one of that name is known here,
    /// else `hub`.
    pub adapter_source: Option<String>,
    /// A token for the hub. Default: the one of `Authorization` where it begins with `hf_` and this
    /// server has no keys.
    pub api_token: Option<String>,
    /// In place of `adapter_id`.
    pub merged_adapters: Option<MergedAdapters>,
    /// Samples to choose the likeliest from, 1 ..= 128; more than one needs sampling, and neither
    /// `seed` nor a stream. Default 1.
    pub best_of: Option<i64>,
    /// 0 or more; 0 is greedy. Other than 1 switches sampling on. Default 1.
    pub temperature: Option<f64>,
    /// Above 0. Default 1.
    pub repetition_penalty: Option<f64>,
    /// -2 ..= 2. Default 0.
    pub frequency_penalty: Option<f64>,
    /// -2 ..= 2. Default 0.
    pub presence_penalty: Option<f64>,
    /// 1 or more; switches sampling on. Default: off.
    pub top_k: Option<i64>,
    /// Above 0, at most 1; below 1 switches sampling on. Default 1.
    pub top_p: Option<f64>,
    /// Above 0, below 1; switches sampling on. Default: off.
    pub typical_p: Option<f64>,
    /// Switches sampling on. Default: no, which is greedy.
    pub do_sample: Option<bool>,
    /// 1 or more. Default: the rest of the context.
    pub max_new_tokens: Option<i64>,
    /// Go on past the end token. Default: no.
    pub ignore_eos_token: Option<bool>,
    /// Put `inputs` before the text. Default: no.
    pub return_full_text: Option<bool>,
    /// At most 128; the one that ends the answer stays in the text. Default: none.
    pub stop: Option<TextOr<String>>,
    /// Keep this many tokens at the end of `inputs`, 1 or more, less than the context has.
    /// Default: all.
    pub truncate: Option<i64>,
    /// Not supported: `false` only.
    pub watermark: Option<bool>,
    /// Tell how the answer came to be. Default: no.
    pub details: Option<bool>,
    /// The same, with the tokens of `inputs`; not with a stream. Default: no.
    pub decoder_input_details: Option<bool>,
    /// Alternatives to tell of each token, 1 ..= 20. Default: none.
    pub return_k_alternatives: Option<i64>,
    /// Same seed and request, same text. Default: a fresh one.
    pub seed: Option<u64>,
    /// What the text must look like. Default: any text.
    pub response_format: Option<ResponseFormat>,
}

/// Adapters to mix.
#[derive(Deserialize, ToSchema)]
pub(super) struct MergedAdapters {
    /// At least one.
    pub ids: Vec<String>,
    /// One for each id.
    pub weights: Vec<f64>,
    /// `linear`, `ties`, `dare_linear` or `dare_ties`. Default `linear`.
    pub merge_strategy: Option<String>,
    /// Share of the weights to keep, 0 ..= 1. Default 0.
    pub density: Option<f64>,
    /// `total` or `frequency`. Default `total`.
    pub majority_sign_method: Option<String>,
}

/// A text to take apart.
#[derive(Deserialize, ToSchema)]
pub(super) struct Tokenize {
    /// The text; required.
    pub inputs: Option<String>,
    /// BOS and the like, by the checkpoint's rule. Default: yes.
    pub add_special_tokens: Option<bool>,
}

/// A whole answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Generated {
    pub generated_text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// How an answer came to be.
#[derive(Serialize, ToSchema)]
pub(super) struct Details {
    pub prompt_tokens: usize,
    #[serde(flatten)]
    pub sequence: Sequence,
    /// The other samples of `best_of`, the likelier first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_of_sequences: Option<Vec<OtherSequence>>,
}

/// A sample that was not the likeliest.
#[derive(Serialize, ToSchema)]
pub(super) struct OtherSequence {
    pub generated_text: String,
    #[serde(flatten)]
    pub sequence: Sequence,
}

/// The tokens of an answer, and its end.
#[derive(Serialize, ToSchema)]
pub(super) struct Sequence {
    #[serde(flatten)]
    pub end: End,
    /// The tokens of `inputs`, with `decoder_input_details`.
    pub prefill: Vec<InputToken>,
    pub tokens: Vec<Token>,
}

/// The end of an answer.
#[derive(Serialize, ToSchema)]
pub(super) struct End {
    /// `length`, `eos_token` or `stop_sequence`.
    pub finish_reason: &'static str,
    pub generated_tokens: usize,
    /// Tokens that speculation saved; always 0.
    pub skipped_tokens: usize,
    /// Null where the answer is greedy.
    pub seed: Option<u64>,
}

/// A token of `inputs`.
#[derive(Serialize, ToSchema)]
pub(super) struct InputToken {
    pub id: u32,
    pub text: String,
    /// Null for the first.
    pub logprob: Option<f32>,
}

/// A generated token.
#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    pub id: u32,
    /// What it adds to the text, in whole characters; a special token's name.
    pub text: String,
    pub logprob: f32,
    /// Not part of the text.
    pub special: bool,
    /// Always `false`.
    pub skipped: bool,
    /// The likeliest tokens here, with `return_k_alternatives`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative_tokens: Option<Vec<AlternativeToken>>,
}

/// A token that could have been generated.
#[derive(Serialize, ToSchema)]
pub(super) struct AlternativeToken {
    pub id: u32,
    pub text: String,
    pub logprob: f32,
}

/// One event of a stream.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamEvent {
    pub token: Token,
    /// The whole text, with the last token.
    pub generated_text: Option<String>,
    /// With the last token, where asked.
    pub details: Option<StreamDetails>,
}

/// How a streamed answer came to be.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamDetails {
    pub prompt_tokens: usize,
    #[serde(flatten)]
    pub end: End,
}

/// A token of a text.
#[derive(Serialize, ToSchema)]
pub(super) struct SimpleToken {
    pub id: u32,
    /// The characters it is, or is part of; the name of a token that is not in the text.
    pub text: String,
    /// Characters before it.
    pub start: usize,
    /// Characters up to its end.
    pub stop: usize,
}

/// What is served and its bounds.
#[derive(Serialize, ToSchema)]
pub(super) struct Info {
    /// The current model.
    pub model_id: String,
    /// Always null: a model is a file here.
    pub model_sha: Option<&'static str>,
    /// As in `Q4_1`.
    pub model_dtype: String,
    /// As in `cpu`.
    pub model_device_type: String,
    /// Always `text-generation`.
    pub model_pipeline_tag: Option<&'static str>,
    /// Sequences taken in at once.
    pub max_concurrent_requests: usize,
    pub max_best_of: usize,
    pub max_stop_sequences: usize,
    /// Tokens of `inputs`.
    pub max_input_length: usize,
    /// Tokens of `inputs` and answer.
    pub max_total_tokens: usize,
    /// Always 0: nothing is held back to fill a batch.
    pub waiting_served_ratio: f32,
    /// Tokens of all running sequences that surely fit.
    pub max_batch_total_tokens: usize,
    /// Always 0, for the same reason.
    pub max_waiting_tokens: usize,
    /// Always 1.
    pub validation_workers: usize,
    /// Always `true`: prompts are read beside running answers.
    pub eager_prefill: bool,
    /// Ours, not LoRAX's.
    pub version: &'static str,
    /// Always null.
    pub sha: Option<&'static str>,
    /// Always null.
    pub docker_label: Option<&'static str>,
    /// Always null: nothing is sent anywhere.
    pub request_logger_url: Option<&'static str>,
}

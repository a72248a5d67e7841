//! Who answers.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::{AdapterSource, Error, Event, Prompt, Request};

/// The answer to one request. Dropping it cancels the sequence within one engine step.
pub type EventStream = BoxStream<'static, Result<Event, Error>>;

/// Something that answers requests: an engine in this process, or a node far away.
///
/// A model name that is empty, or an alias such as `dummy`, means the current model: the first of
/// [`Inference::models`]. Methods that may take long return futures, because the same code runs in
/// a browser tab.
pub trait Inference: Send + Sync + 'static {
    /// The models that are loaded, the current one first.
    fn models(&self) -> Vec<ModelCard>;

    /// The models that can be loaded, loaded ones among them.
    fn available(&self) -> Vec<Available>;

    /// The adapters that requests may name without saying where they come from. None by default.
    fn adapters(&self) -> Vec<AdapterCard> {
        Vec::new()
    }

    /// Makes a model the current one, loading it where it is not loaded.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`]; [`Error::Internal`] where loading fails;
    /// [`Error::Unavailable`] where no model may be loaded now.
    fn load(&self, model: &str) -> BoxFuture<'static, Result<Loaded, Error>>;

    /// Unloads a model once nobody uses it any more, the current one for an empty name. Answers
    /// with its name, `None` where none was loaded.
    ///
    /// # Errors
    /// As [`Inference::load`].
    fn unload(&self, model: &str) -> BoxFuture<'static, Result<Option<String>, Error>>;

    /// How each loaded model's engine is doing.
    fn stats(&self) -> Vec<Stats>;

    /// Whether requests are taken now, and if not why.
    fn health(&self) -> Health;

    /// Starts one sequence.
    ///
    /// # Errors
    /// Everything that can be known before the first token: a wrong model, field, prompt or
    /// length, a full queue.
    fn generate(&self, request: Request) -> BoxFuture<'static, Result<EventStream, Error>>;

    /// Text or messages to token ids.
    ///
    /// # Errors
    /// Unknown model, template error.
    fn encode(&self, model: &str, prompt: &Prompt) -> BoxFuture<'static, Result<Encoded, Error>>;

    /// Token ids to text; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// Unknown model, or an id outside the vocabulary.
    fn decode(&self, model: &str, tokens: &[u32]) -> BoxFuture<'static, Result<String, Error>>;

    /// Facts about the tokenizer.
    ///
    /// # Errors
    /// Unknown model.
    fn tokenizer_info(&self, model: &str) -> BoxFuture<'static, Result<TokenizerInfo, Error>>;
}

/// A model that is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// Its name.
    pub id: String,
    /// Unix time of loading, seconds.
    pub created: u64,
    /// Tokens one sequence can hold, prompt and answer together.
    pub context_length: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Where it runs, as in `cpu (AVX-512 VNNI, 2 threads)`.
    pub device: String,
    /// Type of most of its weights, as in `Q4_1` or `BF16`; empty where not known.
    pub dtype: String,
}

/// An adapter that is served.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterCard {
    /// Its name.
    pub id: String,
    /// Where it comes from.
    pub source: AdapterSource,
    /// The model it changes.
    pub parent: String,
    /// Whether it is in memory now.
    pub loaded: bool,
}

/// A model that can be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Available {
    /// The name to load it by.
    pub id: String,
    /// One line for people; empty where nothing is known.
    pub description: String,
    /// 0 is not loaded, 1 is loaded; in between it is being loaded.
    pub progress: f32,
}

/// How a model came to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// By this call.
    Now,
    /// It was loaded.
    Already,
}

/// How one model's engine is doing, as of its last step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// The model's name.
    pub model: String,
    /// Sequences that are generated now.
    pub running: usize,
    /// Sequences taken in and not running.
    pub waiting: usize,
    /// Most sequences taken in at once, running and waiting; one more is refused.
    pub capacity: usize,
    /// KV blocks in use.
    pub used_blocks: usize,
    /// KV blocks there are.
    pub blocks: usize,
    /// Adapters in memory.
    pub adapters: usize,
    /// Bytes by kind: `weights`, `kv_cache`, `adapters`.
    pub memory: BTreeMap<&'static str, u64>,
}

/// Whether requests are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What the server is doing.
    pub phase: Phase,
    /// Facts for people: adapter, kernels on their fallback, queue.
    pub details: BTreeMap<String, String>,
}

/// What the server is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The model is being fetched or loaded.
    Loading,
    /// Requests are taken.
    Ready,
    /// Running requests are finished, new ones refused.
    Stopping,
    /// The device or model failed for good.
    Failed(String),
}

/// A tokenized prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Each token's bytes as text; a byte-level token may be part of a character.
    pub pieces: Vec<Vec<u8>>,
}

/// Facts about a tokenizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerInfo {
    /// Kind, as in `BPE`.
    pub class: String,
    /// Text of the beginning-of-sequence token.
    pub bos_token: Option<String>,
    /// Text of the end-of-sequence token.
    pub eos_token: Option<String>,
    /// Text of the padding token.
    pub pad_token: Option<String>,
    /// The chat template's Jinja source.
    pub chat_template: Option<String>,
    /// Whether a string prompt gets a BOS by the checkpoint's rule.
    pub add_bos: bool,
    /// Texts of the end and control tokens, which answers leave out, with their ids.
    pub special_tokens: BTreeMap<String, u32>,
    /// How the model writes calls of tools.
    pub tool_format: ToolFormat,
}

/// How a model writes calls of tools, as its chat template shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>`, `{"name": …, "arguments": {…}}` and `</tool_call>` for each call, on lines of their
    /// own (Hermes, Qwen). A model whose template knows no tools is asked for this.
    #[default]
    Hermes,
    /// The answer is `{"name": …, "parameters": {…}}` (Llama 3.1 and later).
    Llama,
    /// `[TOOL_CALLS]` and a list of `{"name": …, "arguments": {…}}` (Mistral).
    Mistral,
}

//! What comes back while a sequence is generated.

use std::time::Duration;

/// One step of an answer. A stream is `Started`, any number of `Token`, then `Finished`; or it
/// ends early with an [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt has been read.
    Started(Started),
    /// A token was generated.
    Token(Token),
    /// The sequence is complete.
    Finished(Finish),
}

/// The prompt, as the model saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Started {
    /// Number of prompt tokens, an added BOS included.
    pub prompt_tokens: usize,
    /// Prompt tokens answered from the prefix cache.
    pub cached_tokens: usize,
    /// The prompt's beginning was cut to fit the context.
    pub truncated: bool,
    /// Time between being taken in and the first step on the prompt.
    pub queued: Duration,
    /// One entry a prompt token where `prompt_logprobs` was asked, else empty. A BOS the server
    /// added conditions the model but has no entry. The first token of the sequence has no logprob.
    pub prompt: Vec<TokenLogprob>,
}

/// One generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// An end or control token, left out of the text.
    pub special: bool,
    /// Text that became certain with this token: whole characters, never part of a possible stop
    /// string. May be empty, and may hold text of earlier tokens.
    pub text: String,
    /// Where `logprobs` was asked.
    pub logprob: Option<TokenLogprob>,
}

/// A token with its probability under the model, before temperature, filters, penalties and bias.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The chosen token.
    pub id: u32,
    /// Its bytes as text (a byte-level token may be part of a character).
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a sequence.
    pub logprob: Option<f32>,
    /// The best alternatives, best first; holds the chosen token only if it is among the best.
    pub top: Vec<Logprob>,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// Token id.
    pub id: u32,
    /// Its bytes as text.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// How a sequence ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// Text still held back when the sequence ended.
    pub text: String,
    /// Tokens generated, the end token included.
    pub completion_tokens: usize,
    /// The seed that was used.
    pub seed: u64,
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The checkpoint's end token or a stop token, with its id.
    EndToken(u32),
    /// A stop string, as given.
    StopString(String),
    /// The answer fulfils its constraint, and nothing may follow.
    Complete,
    /// `max_tokens` or the end of the context.
    Length,
}

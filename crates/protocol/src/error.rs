//! What can go wrong, in words a caller can act on. Dialects choose the status and the shape.

use std::time::Duration;

/// Why a request was refused or an answer ended early.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the request has a wrong value.
    #[error("{field}: {reason}")]
    Invalid {
        /// Path of the field, as in `messages[2].content`.
        field: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// No such model here.
    #[error("The model `{model}` does not exist. Served here: {known}")]
    ModelNotFound {
        /// The name asked for.
        model: String,
        /// The names served, comma separated.
        known: String,
    },
    /// No such adapter here.
    #[error("The adapter `{adapter}` does not exist")]
    AdapterNotFound {
        /// The name asked for.
        adapter: String,
    },
    /// The adapter is there and cannot be used with this model.
    #[error("The adapter `{adapter}` cannot be used: {reason}")]
    AdapterMismatch {
        /// The name asked for.
        adapter: String,
        /// What does not fit: the file, tensor or shape.
        reason: String,
    },
    /// The schema, expression or grammar of a constraint cannot be followed.
    #[error("{place}{}{reason}", if place.is_empty() { "" } else { ": " })]
    Constraint {
        /// Where in it: a JSON pointer or a line; empty is the whole.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A model was meant that is not there, because none is loaded.
    #[error("No model is currently loaded. Load one first.")]
    NoModel,
    /// Prompt and answer do not fit the context.
    #[error(
        "This model's maximum context length is {context} tokens, but {prompt} prompt tokens and \
         {completion} completion tokens were requested. Shorten the prompt or max_tokens."
    )]
    ContextOverflow {
        /// Tokens the model can hold.
        context: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        completion: usize,
    },
    /// The queue is full; try again after the given time.
    #[error("The server is at capacity ({queued} requests waiting). Try again in {} s.", retry_after.as_secs().max(1))]
    Overloaded {
        /// Requests waiting.
        queued: usize,
        /// When a place is likely to be free, from the measured rate.
        retry_after: Duration,
    },
    /// The model is loading or the server is stopping.
    #[error("{reason}")]
    Unavailable {
        /// What is going on.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The chat template refused the messages, or there is none.
    #[error("chat template: {0}")]
    Template(String),
    /// A fault of ours or of the device. The request may be tried again.
    #[error("internal error: {0}")]
    Internal(String),
}

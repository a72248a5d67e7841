//! The words every Tinderbox crate shares: what a caller asks ([`Request`]), what comes back
//! ([`Event`]), what can go wrong ([`Error`]) and who answers ([`Inference`]).
//!
//! A dialect (crate `api`) turns wire bytes into a [`Request`] and the [`Event`] stream back into
//! wire bytes. The engine turns a [`Request`] into tokens. Neither knows the other: no HTTP word
//! appears here and no tensor either.

mod error;
mod event;
mod inference;
mod request;

pub use error::Error;
pub use event::{Event, Finish, FinishReason, Logprob, Started, Token, TokenLogprob};
pub use inference::{
    AdapterCard, Available, Encoded, EventStream, Health, Inference, Loaded, ModelCard, Phase,
    Stats, TokenizerInfo, ToolFormat,
};
pub use request::{
    Adapter, AdapterSource, Chat, Constraint, MajoritySign, Merge, MergeStrategy, Message, Prompt,
    Request, Sampling, Stop, ToolCall,
};

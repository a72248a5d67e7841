//! Requests in, token events out.
//!
//! An [`Engine`] owns a [`Runner`] (the model) and runs one loop: take new sequences, plan a step
//! over the KV blocks, run it, choose the next tokens, send events. Callers hold a [`Handle`] and
//! an event stream each. The loop is a plain future: it needs no thread, no clock and no runtime
//! of its own, so the same code serves on a host and in a browser tab.

mod adapters;
mod blocks;
mod constraint;
mod decoder;
mod draft;
mod engine;
mod handle;
mod limits;
mod logprobs;
mod prompts;
mod rate;
mod runner;
mod sampler;
mod scheduler;
mod sequence;
mod service;
mod setup;
mod shared;
mod stops;
mod submission;
mod text;

pub use adapters::{ADAPTER_FILES, AdapterFiles, AdapterStore};
pub use constraint::{Guide, Guides};
pub use decoder::{DecoderRunner, Reload};
pub use engine::{Clock, Engine, Options};
pub use handle::Handle;
pub use limits::Limits;
pub use runner::{Runner, RunnerError};
pub use sequence::Vocabulary;
pub use service::Service;
pub use setup::Setup;
pub use shared::Stats;
pub use submission::Submission;

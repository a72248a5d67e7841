//! The whole engine over a model without weights.

mod batching;
mod common;
mod constraints;
mod events;
mod faults;
mod logprobs;
mod service;
mod tiny;
mod tiny_file;

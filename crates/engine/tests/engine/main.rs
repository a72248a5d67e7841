//! The whole engine over a model without weights.

mod adapters;
mod batching;
mod cache;
mod common;
mod constraints;
mod events;
mod exact;
mod faults;
mod logprobs;
mod service;
mod smollm2;
mod speculation;
mod tiny;
mod tiny_adapter;
mod tiny_file;

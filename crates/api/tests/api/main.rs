//! The router, asked as clients ask it: one binary, for each takes as long to build as all tests take to run.

mod behaviour;
mod common;
mod constraints;
mod keys;
mod litellm;
mod locallab;
mod lorax;
mod metrics;
#[cfg(not(target_arch = "wasm32"))]
mod parser;
mod refusals;
#[cfg(not(target_arch = "wasm32"))]
mod streams;
mod textsynth;
mod tools;
mod wire;

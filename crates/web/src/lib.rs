//! The engine in a browser tab: what the worker of the npm package `tinderbox-web` calls.
//!
//! [`load`](engine::load) reads a model from files the worker opened and gives an engine, which
//! answers requests to the same REST router as the server's. `js/wasm.ts` has the interface as the
//! worker sees it.
#![cfg(target_arch = "wasm32")]

mod adapters;
mod device;
mod engine;
mod failure;
mod fetch;
mod files;
mod place;
#[cfg(feature = "threads")]
mod threads;
mod turns;

//! The binary and what it is made of, on a checkpoint of a few kilobytes: one program, for each takes as long to link as
//! these tests take to run.

#[path = "../../../api/tests/api/common.rs"]
mod api;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../../engine/tests/engine/tiny_adapter.rs"]
mod tiny_adapter;

mod adapters;
mod calls;
mod cli;
mod invariants;
mod models;
mod policies;
mod pull;
#[cfg(unix)]
mod shutdown;
mod tools;
#[cfg(unix)]
mod wheel;

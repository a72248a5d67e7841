//! The edge: a Cloudflare Worker in front of nodes, with a small model of its own.
//!
//! A request is read once ([`ask`]), its place is decided by cost ([`place`]), and it is answered
//! by the model in this isolate or by the node that [`nodes`] picks. Both give the same bytes: the
//! isolate mounts the router of `tinderbox-api`, and what a node sends is passed on as it comes.

pub mod ask;
pub mod cors;
pub mod metrics;
pub mod nodes;
pub mod place;

#[cfg(target_arch = "wasm32")]
mod access;
#[cfg(target_arch = "wasm32")]
mod adapters;
#[cfg(target_arch = "wasm32")]
mod config;
#[cfg(target_arch = "wasm32")]
mod edge;
#[cfg(target_arch = "wasm32")]
mod forward;
#[cfg(target_arch = "wasm32")]
mod gone;
#[cfg(target_arch = "wasm32")]
mod isolate;
#[cfg(target_arch = "wasm32")]
mod models;
#[cfg(target_arch = "wasm32")]
mod packed;
#[cfg(target_arch = "wasm32")]
mod unloaded;
#[cfg(target_arch = "wasm32")]
mod upkeep;
#[cfg(target_arch = "wasm32")]
mod world;

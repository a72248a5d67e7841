//! The native binary `tinderbox`: one file a subcommand in [`commands`], a model's files in
//! [`pull`], adapters in [`adapters`], a model on its device in [`runtime`], several by name in
//! [`models`].

pub mod adapters;
pub mod catalog;
pub mod commands;
pub mod host;
pub mod models;
pub mod pull;
pub mod runtime;
pub mod settings;

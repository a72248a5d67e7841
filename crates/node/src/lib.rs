//! The native binary `tinderbox`: one file a subcommand in [`commands`], a model's files in
//! [`pull`], a model on its device in [`runtime`].

pub mod catalog;
pub mod commands;
pub mod gate;
pub mod pull;
pub mod runtime;
pub mod settings;

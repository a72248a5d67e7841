//! Any text as a Lark grammar.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use tinderbox_protocol::Constraint;

fuzz_target!(|grammar: &str| common::compile(Constraint::Lark(grammar.into())));

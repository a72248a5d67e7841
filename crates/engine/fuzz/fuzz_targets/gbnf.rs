//! Any text as a GBNF grammar.

#![no_main]

mod bytes;

use libfuzzer_sys::fuzz_target;
use tinderbox_protocol::Constraint;

fuzz_target!(|grammar: &str| bytes::compile(Constraint::Gbnf(grammar.into())));

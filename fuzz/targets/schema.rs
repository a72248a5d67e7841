//! Any JSON as a JSON schema.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use tinderbox_protocol::Constraint;

fuzz_target!(|schema: &[u8]| {
    if let Ok(schema) = serde_json::from_slice(schema) {
        common::compile(Constraint::JsonSchema(schema));
    }
});

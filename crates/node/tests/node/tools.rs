//! What makes a model call, as the engine compiles it: the grammars of crates/api are in crates/engine's dialect.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{Fake, chat, hi};
use serde_json::{Value, json};
use tinderbox_engine::{Guides, Vocabulary};
use tinderbox_protocol::{Error, ToolFormat};

/// Every byte, an end, and the marks of calls.
const END: u32 = 256;
const MARKS: [&str; 4] = [
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "<|python_tag|>",
];

struct Bytes;

impl Vocabulary for Bytes {
    fn bytes(&self, id: u32) -> Vec<u8> {
        match id {
            0..END => vec![id as u8],
            END => b"</s>".to_vec(),
            mark => MARKS[(mark - END - 1) as usize].into(),
        }
    }

    fn is_special(&self, id: u32) -> bool {
        id >= END
    }

    fn end_tokens(&self) -> &[u32] {
        &[END]
    }
}

/// What the engine says of the constraint that a chat asks.
async fn compiled(format: ToolFormat, special: bool, body: &Value) -> Result<(), Error> {
    let ids = MARKS.iter().zip(END + 1..);
    let special_tokens: BTreeMap<String, u32> = ids
        .filter(|_| special)
        .map(|(mark, id)| ((*mark).into(), id))
        .collect();
    let fake = Arc::new(Fake {
        tool_format: format,
        special: special_tokens,
        ..Fake::default()
    });
    let got = chat(&fake, body.clone()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let constraint = fake.seen.lock().unwrap()[0].constraint.clone();
    let guides = Guides::new(Arc::new(Bytes), END as usize + 1 + MARKS.len());
    guides.guide(&constraint.expect("a constraint")).map(drop)
}

fn body(parameters: Value, strict: bool, fields: &Value) -> Value {
    let function = json!({"name": "look_up", "parameters": parameters, "strict": strict});
    let mut body = json!({"messages": hi(), "tools": [
        {"type": "function", "function": {"name": "time"}},
        {"type": "function", "function": function},
    ]});
    for (field, value) in fields.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

#[tokio::test]
async fn every_grammar_of_calls_is_one_that_the_engine_follows() {
    let parameters = json!({
        "type": "object",
        "properties": {"who": {"$ref": "#/$defs/name"}, "né\"e": {"enum": ["// no comment", "\n"]}},
        "required": ["who"],
        "$defs": {"name": {"type": "string", "maxLength": 9}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": parameters}});
    for form in [ToolFormat::Hermes, ToolFormat::Llama, ToolFormat::Mistral] {
        for special in [false, true] {
            for fields in [
                json!({"tool_choice": "required"}),
                json!({"tool_choice": "required", "parallel_tool_calls": false}),
                json!({"tool_choice": "look_up"}),
                json!({"tool_choice": "auto"}),
                json!({"response_format": format}),
                json!({"response_format": {"type": "json_object"}}),
            ] {
                let body = body(parameters.clone(), true, &fields);
                let said = compiled(form, special, &body).await;
                assert_eq!(said, Ok(()), "{form:?} {special} {fields}");
            }
        }
    }
}

#[tokio::test]
async fn parameters_that_cannot_be_followed_are_refused_where_strict_and_left_out_elsewhere() {
    let odd =
        json!({"type": "object", "properties": {"x": {"type": "string", "format": "shoe size"}}});
    let fields = json!({"tool_choice": "required"});
    let lenient = body(odd.clone(), false, &fields);
    let hermes = ToolFormat::Hermes;
    assert_eq!(compiled(hermes, false, &lenient).await, Ok(()));
    let strict = compiled(hermes, false, &body(odd, true, &fields)).await;
    assert!(
        matches!(strict, Err(Error::Constraint { .. })),
        "{strict:?}"
    );
}

//! Tools in chats: what is refused, what makes a model call, and how its calls come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::*;
use serde_json::{Value, json};
use tinderbox_protocol::{Constraint, Error, Prompt, ToolFormat};

/// A tool, strict where asked.
fn tool(name: &str, strict: bool) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    json!({"type": "function", "function":
        {"name": name, "description": "d", "parameters": parameters, "strict": strict}})
}

fn tools() -> Value {
    json!([tool("weather", false), {"type": "function", "function": {"name": "time"}}])
}

/// A model that says this, a character a token, and ends.
fn says(text: &str) -> Fake {
    let pieces = text.chars().map(|c| c.to_string().into_bytes());
    let end = b"</s>".to_vec();
    Fake {
        says: Some(pieces.chain([end]).collect()),
        special: BTreeMap::from([("</s>".into(), EOS)]),
        ..Fake::default()
    }
}

async fn ask(fake: Fake, fields: Value) -> (Arc<Fake>, Got) {
    let mut body = json!({"messages": hi(), "tools": tools(), "max_tokens": 500});
    for (field, value) in fields.as_object().unwrap() {
        body[field] = value.clone();
    }
    let fake = Arc::new(fake);
    let got = chat(&fake, body).await;
    (fake, got)
}

/// The grammar that the engine was given.
fn grammar(fake: &Fake) -> Option<String> {
    match fake.seen.lock().unwrap()[0].constraint.clone() {
        Some(Constraint::Lark(grammar)) => Some(grammar),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// The choice's deltas put together as clients do it.
fn joined(stream: &str) -> (Value, Value) {
    let (mut message, mut reason) = (json!({"content": "", "tool_calls": []}), Value::Null);
    for frame in stream.split_terminator("\n\n") {
        let data = frame.strip_prefix("data: ").unwrap();
        if data == "[DONE]" {
            break;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        let choice = &chunk["choices"][0];
        if let Some(text) = choice["delta"]["content"].as_str() {
            let before = message["content"].as_str().unwrap();
            message["content"] = format!("{before}{text}").into();
        }
        for call in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let calls = message["tool_calls"].as_array_mut().unwrap();
            let index = call["index"].as_u64().unwrap() as usize;
            if call.get("id").is_some() {
                // What names a call comes first and once.
                assert_eq!(index, calls.len());
                assert_eq!(call["function"]["arguments"], "");
                let mut call = call.clone();
                call.as_object_mut().unwrap().remove("index");
                calls.push(call);
                continue;
            }
            let arguments = &mut calls[index]["function"]["arguments"];
            let more = call["function"]["arguments"].as_str().unwrap();
            *arguments = format!("{}{more}", arguments.as_str().unwrap()).into();
        }
        if !choice["finish_reason"].is_null() {
            reason = choice["finish_reason"].clone();
        }
    }
    (message, reason)
}

const CALLS: &str = "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n\
    </tool_call>\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>";

#[crate::common::async_test]
async fn calls_come_back_with_their_arguments_as_json_text_whole_and_streamed() {
    for choice in [json!("auto"), json!("required")] {
        let (_, got) = ask(says(CALLS), json!({"tool_choice": choice})).await;
        let whole = got.json()["choices"][0].clone();
        assert_eq!(whole["finish_reason"], "tool_calls", "{}", got.body);
        let message = &whole["message"];
        assert_eq!(message["content"], "I look.");
        let calls = message["tool_calls"].as_array().unwrap();
        let functions: Vec<&Value> = calls.iter().map(|call| &call["function"]).collect();
        let expected = [
            json!({"name": "weather", "arguments": "{\"city\": \"Rome\"}"}),
            json!({"name": "time", "arguments": "{}"}),
        ];
        assert_eq!(functions, expected.iter().collect::<Vec<_>>());
        assert_ne!(calls[0]["id"], calls[1]["id"]);
        for call in calls {
            let id = call["id"].as_str().unwrap();
            assert!(
                id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
                "{id}"
            );
            assert_eq!(call["type"], "function");
        }
        let fields = json!({"tool_choice": choice, "stream": true});
        let (_, got) = ask(says(CALLS), fields).await;
        let (streamed, reason) = joined(&got.body);
        assert_eq!(streamed["content"], message["content"]);
        assert_eq!(streamed["tool_calls"], message["tool_calls"]);
        assert_eq!(reason, "tool_calls");
        let pieces = got.body.matches("\"arguments\":").count();
        // Sure of a call, its arguments come as they are made.
        assert_eq!(pieces > 10, choice == "required", "{}", got.body);
    }
}

#[crate::common::async_test]
async fn a_message_of_calls_alone_has_no_content_and_a_cut_one_says_length() {
    let said = CALLS.trim_start_matches("I look.\n");
    let (_, got) = ask(says(said), json!({})).await;
    let message = &got.json()["choices"][0]["message"];
    assert!(message["content"].is_null(), "{message}");
    let fields = json!({"max_tokens": 60, "tool_choice": "required"});
    let (_, got) = ask(says(said), fields).await;
    let choice = &got.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    let arguments = &choice["message"]["tool_calls"][0]["function"]["arguments"];
    assert!(
        arguments.as_str().unwrap().starts_with("{\"city\""),
        "{choice}"
    );
    let (_, got) = ask(says(said), json!({"max_tokens": 60})).await;
    let choice = &got.json()["choices"][0];
    assert_eq!(
        choice["message"]["content"],
        said[..60],
        "free, a piece of a call is text"
    );
}

#[crate::common::async_test]
async fn at_most_one_call_is_answered_where_none_may_be_parallel() {
    let fields = json!({"parallel_tool_calls": false});
    let (_, got) = ask(says(CALLS), fields).await;
    let calls = &got.json()["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls.as_array().unwrap().len(), 1);
}

#[crate::common::async_test]
async fn each_sample_has_its_own_calls() {
    let fields = json!({"n": 2, "tool_choice": "required", "logprobs": true});
    let (_, got) = ask(says(CALLS), fields).await;
    let choices = got.json()["choices"].clone();
    let id = |index: usize| choices[index]["message"]["tool_calls"][0]["id"].clone();
    assert!(id(0).is_string() && id(0) != id(1));
    let tokens = choices[1]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), CALLS.chars().count() + 1, "the end is one");
}

#[crate::common::async_test]
async fn marks_that_are_special_tokens_are_seen_though_they_are_no_text() {
    let list = "[{\"name\": \"time\", \"arguments\": {}}]";
    let mut fake = says(list);
    fake.says
        .as_mut()
        .unwrap()
        .insert(0, b"[TOOL_CALLS]".to_vec());
    fake.special.insert("[TOOL_CALLS]".into(), 300);
    fake.tool_format = ToolFormat::Mistral;
    let (fake, got) = ask(fake, json!({"tool_choice": "required"})).await;
    let message = &got.json()["choices"][0]["message"];
    assert_eq!(
        message["tool_calls"][0]["function"]["name"], "time",
        "{}",
        got.body
    );
    assert!(message["content"].is_null());
    assert!(grammar(&fake).unwrap().contains("calls: <[300]> rest"));
}

#[crate::common::async_test]
async fn what_is_forced_or_strict_is_a_grammar_and_the_rest_is_free() {
    let named = json!({"type": "function", "function": {"name": "time"}});
    let both = ["\"weather\\\"", "\"time\\\""];
    let strict = json!([tool("weather", true)]);
    let schema =
        json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}});
    let table = [
        (json!({}), None, vec![]),
        (json!({"tool_choice": "auto"}), None, vec![]),
        (
            json!({"tool_choice": "required"}),
            Some("start: calls"),
            both.to_vec(),
        ),
        (
            json!({"tool_choice": named}),
            Some("start: calls"),
            vec![both[1]],
        ),
        // LoRAX's form.
        (
            json!({"tool_choice": "weather"}),
            Some("start: calls"),
            vec![both[0]],
        ),
        (
            json!({"tools": strict}),
            Some("start: TEXT? | before rest"),
            vec![both[0]],
        ),
        (
            json!({"response_format": schema}),
            Some("start: calls | answer"),
            both.to_vec(),
        ),
        (
            json!({"response_format": schema, "tool_choice": "required"}),
            Some("start: calls"),
            both.to_vec(),
        ),
    ];
    for (fields, start, names) in table {
        let (fake, got) = ask(Fake::default(), fields.clone()).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let grammar = grammar(&fake);
        let first = grammar.as_deref().and_then(|text| text.lines().next());
        assert_eq!(first, start, "{fields}");
        let text = grammar.unwrap_or_default();
        for name in ["weather\\\"", "time\\\""] {
            let there = names.iter().any(|wanted| wanted.contains(name));
            assert_eq!(text.contains(name), there, "{fields}: {text}");
        }
    }
    // Without tools to call, the form alone counts.
    let fields = json!({"tool_choice": "none", "response_format": schema});
    let (fake, _) = ask(Fake::default(), fields).await;
    let seen = fake.seen.lock().unwrap();
    let expected = Constraint::JsonSchema(json!({"type": "array"}));
    assert_eq!(seen[0].constraint, Some(expected));
}

#[crate::common::async_test]
async fn a_wrong_tool_or_choice_is_refused_with_its_place() {
    let one = |function: Value| json!({"tools": [tool("a", false), {"type": "function", "function": function}]});
    let choice = |choice: Value| json!({"tool_choice": choice});
    let table = [
        (one(json!({})), "tools[1]"),
        (one(json!({"name": 5})), "tools[1]"),
        (one(json!({"name": "a"})), "tools[1].function.name"),
        (one(json!({"name": ""})), "tools[1].function.name"),
        (one(json!({"name": "a b"})), "tools[1].function.name"),
        (
            one(json!({"name": "x".repeat(65)})),
            "tools[1].function.name",
        ),
        (
            one(json!({"name": "b", "parameters": []})),
            "tools[1].function.parameters",
        ),
        (
            one(json!({"name": "b", "parameters": {"type": "string"}})),
            "tools[1].function.parameters",
        ),
        (
            one(json!({"name": "b", "strict": 1})),
            "tools[1].function.strict",
        ),
        (
            json!({"tools": [{"type": "search", "function": {"name": "a"}}]}),
            "tools[0].type",
        ),
        (choice(json!("some")), "tool_choice"),
        (choice(json!({"type": "function"})), "tool_choice"),
        (choice(json!(["auto"])), "tool_choice"),
        (
            choice(json!({"type": "function", "function": {"name": "b"}})),
            "tool_choice.function.name",
        ),
        (
            json!({"tools": [], "tool_choice": "required"}),
            "tool_choice",
        ),
    ];
    for (fields, place) in table {
        let (fake, got) = ask(Fake::default(), fields.clone()).await;
        assert_eq!(got.status, 400, "{fields}: {}", got.body);
        assert_eq!(got.json()["error"]["param"], place, "{fields}");
        assert!(fake.seen.lock().unwrap().is_empty());
    }
}

#[crate::common::async_test]
async fn parameters_that_the_engine_cannot_follow_are_named() {
    let (fake, _) = ask(Fake::default(), json!({"tool_choice": "required"})).await;
    let text = grammar(&fake).unwrap();
    let line = text
        .lines()
        .position(|line| line.starts_with("arguments_1:"));
    let refusal = Error::Constraint {
        place: format!("line {}, column 1", line.unwrap() + 1),
        reason: "is odd".into(),
    };
    let fake = Fake {
        refuse: Some(refusal),
        ..Fake::default()
    };
    let (_, got) = ask(fake, json!({"tool_choice": "required"})).await;
    assert_eq!(got.status, 400);
    let error = got.json()["error"].clone();
    assert_eq!(error["param"], "tools[1].function.parameters");
    assert_eq!(error["message"], "tools[1].function.parameters: is odd");
}

#[crate::common::async_test]
async fn lorax_has_no_tools_beside_a_form_of_the_answer() {
    let mut body = json!({"messages": hi(), "tools": tools(), "response_format": {"type": "text"}});
    let path = "/lorax/v1/chat/completions";
    let fake = fake();
    assert_eq!(post(&fake, path, body.to_string()).await.status, 200);
    body["response_format"]["type"] = "json_object".into();
    assert_eq!(
        chat(&fake, body.clone()).await.status,
        200,
        "OpenAI takes both"
    );
    let got = post(&fake, path, body.to_string()).await;
    assert_eq!(
        (got.status.as_u16(), &got.json()["error_type"]),
        (422, &json!("tool_error"))
    );
}

#[crate::common::async_test]
async fn what_a_tool_returned_goes_back_to_the_template() {
    let call =
        json!({"id": "c", "type": "function", "function": {"name": "time", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]);
    let (fake, got) = ask(Fake::default(), json!({"messages": messages})).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let seen = fake.seen.lock().unwrap();
    let Prompt::Chat(chat) = &seen[0].prompt else {
        panic!("{:?}", seen[0].prompt)
    };
    assert_eq!(chat.tools, *tools().as_array().unwrap());
    let [_, assistant, tool] = &chat.messages[..] else {
        panic!("{:?}", chat.messages)
    };
    assert_eq!(assistant.tool_calls[0].function["name"], "time");
    assert_eq!(
        (tool.role.as_str(), tool.tool_call_id.as_deref()),
        ("tool", Some("c"))
    );
}

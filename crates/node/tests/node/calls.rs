//! Forced calls from the request to `tool_calls`, by a model whose template shows how calls are written.

use std::path::{Path, PathBuf};

use crate::common::{CONTEXT, Server, tiny_file};
use serde_json::{Value, json};
use tinderbox_model::gguf::{Array, Value as Entry};

/// What tells the forms apart in the templates of Llama 3 and Mistral, and in Hermes'.
const TEMPLATES: [(&str, &str, &str); 3] = [
    (
        r#"Respond in the format {"name": function name, "parameters": dictionary}."#,
        r#"{"name": ""#,
        "parameters",
    ),
    ("[AVAILABLE_TOOLS] [TOOL_CALLS]", "[", "arguments"),
    (
        r#"<tool_call>{"name": NAME, "arguments": ARGUMENTS}"#,
        "<tool_call>\n",
        "arguments",
    ),
];

/// The tiny model with what JSON is made of in place of its pairs, and a mark of Mistral's.
fn model(folder: &Path, shown: &str) -> PathBuf {
    let messages = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let template = format!("{{% if tools %}}{{{{ '{shown}' }}}}{{% endif %}}{messages}");
    let mut file = tiny_file::tiny(CONTEXT, true, &template);
    for (key, entry) in &mut file.metadata {
        match (key.as_str(), entry) {
            ("tokenizer.ggml.tokens", Entry::Array(Array::String(texts))) => {
                let mut all: Vec<String> = texts.iter().map(str::to_owned).collect();
                for (text, new) in all[30..]
                    .iter_mut()
                    .zip("{}\":,[]_<>/;().!?012345678".chars())
                {
                    *text = new.into();
                }
                all[63] = "[TOOL_CALLS]".into();
                *texts = all.iter().collect();
            }
            ("tokenizer.ggml.token_type", Entry::Array(Array::I32(kinds))) => kinds[63] = 3,
            _ => {}
        }
    }
    let path = folder.join("calls.gguf");
    std::fs::write(&path, file.to_bytes()).unwrap();
    path
}

fn body(choice: &Value) -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"enum": ["rome", "oslo"]}},
        "required": ["city"],
        "additionalProperties": false,
    });
    let weather = json!({"name": "weather", "parameters": parameters, "strict": true});
    json!({
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [
            {"type": "function", "function": {"name": "time"}},
            {"type": "function", "function": weather},
        ],
        "tool_choice": choice,
        "parallel_tool_calls": false,
        "temperature": 0,
        "max_tokens": 300,
        "logprobs": true,
    })
}

#[tokio::test]
async fn a_forced_call_is_written_as_the_template_shows_it_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let named = json!({"type": "function", "function": {"name": "weather"}});
    for (shown, begins, key) in TEMPLATES {
        let model = model(folder.path(), shown);
        let server = Server::start(|command| {
            command.env("TINDERBOX_MODEL", &model);
        });
        for choice in [&json!("required"), &named] {
            let url = format!("{}/v1/chat/completions", server.url);
            let request = reqwest::Client::new().post(url);
            let request = request.header("content-type", "application/json");
            let answer = request.body(body(choice).to_string()).send().await.unwrap();
            let answer = answer.text().await.unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let first = &answer["choices"][0];
            assert_eq!(first["finish_reason"], "tool_calls", "{answer}");
            assert!(first["message"]["content"].is_null(), "{answer}");
            let calls = first["message"]["tool_calls"].as_array().unwrap();
            let [call] = calls.as_slice() else {
                panic!("{answer}")
            };
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            match call["function"]["name"].as_str().unwrap() {
                "time" if *choice == "required" => assert_eq!(arguments, json!({})),
                "weather" => assert!(
                    ["rome", "oslo"]
                        .map(Value::from)
                        .contains(&arguments["city"])
                ),
                other => panic!("{other}"),
            }
            let tokens = first["logprobs"]["content"].as_array().unwrap();
            let text: String = tokens
                .iter()
                .map(|t| t["token"].as_str().unwrap())
                .collect();
            let text = text.trim_start_matches("[TOOL_CALLS]").trim_start();
            assert!(text.starts_with(begins), "{text}");
            assert!(text.contains(&format!("\", \"{key}\": {{")), "{text}");
        }
    }
}

//! How chat templates show tools, and how tools are told where a template does not.

use serde_json::Value;
use tinderbox_protocol::{Chat, Message, ToolFormat};

use crate::json::line;

/// The form of calls that a template shows, where it is one we know.
pub(crate) fn format(source: &str) -> Option<ToolFormat> {
    let says = |text: &str| source.contains(text);
    if !says("tools") {
        return None;
    }
    // Mistral's newer templates have `[ARGS]`, Qwen3-Coder's `<function=`: forms of their own.
    if says("[TOOL_CALLS]") && !says("[ARGS]") {
        Some(ToolFormat::Mistral)
    } else if says("<tool_call>") && !says("<function=") {
        Some(ToolFormat::Hermes)
    } else if says(r#"{"name": function name, "parameters": "#) || says(r#"", "parameters": "#) {
        Some(ToolFormat::Llama)
    } else {
        None
    }
}

/// The conversation in words: tools in a system message, calls and their answers as Hermes writes
/// them. `None` where there is nothing of the kind.
pub(crate) fn told(chat: &Chat) -> Option<Chat> {
    let about_tools = |message: &Message| !message.tool_calls.is_empty() || answers(message);
    if chat.tools.is_empty() && !chat.messages.iter().any(about_tools) {
        return None;
    }
    let mut told: Vec<Message> = Vec::with_capacity(chat.messages.len() + 1);
    let mut after_answer = false;
    for message in &chat.messages {
        let turn = turn(message);
        match told.last_mut().and_then(|last| last.content.as_mut()) {
            // Users and assistants take turns: answers to several calls are one.
            Some(before) if after_answer && answers(message) => {
                before.push('\n');
                before.push_str(turn.content.as_deref().unwrap_or_default());
            }
            _ => told.push(turn),
        }
        after_answer = answers(message);
    }
    if !chat.tools.is_empty() {
        let tools = described(&chat.tools);
        match told.first_mut() {
            Some(first) if first.role == "system" => {
                let said = first.content.take().unwrap_or_default();
                first.content = Some(format!("{said}\n\n{tools}"));
            }
            _ => told.insert(
                0,
                Message {
                    role: "system".into(),
                    content: Some(tools),
                    ..Message::default()
                },
            ),
        }
    }
    Some(Chat {
        messages: told,
        tools: Vec::new(),
        ..chat.clone()
    })
}

/// Whether a message is a tool's answer.
fn answers(message: &Message) -> bool {
    message.role == "tool" || message.role == "function"
}

fn turn(message: &Message) -> Message {
    let content = message.content.clone().unwrap_or_default();
    if answers(message) {
        return Message {
            role: "user".into(),
            content: Some(format!("<tool_response>\n{content}\n</tool_response>")),
            ..Message::default()
        };
    }
    let calls = message.tool_calls.iter().map(|call| {
        let given = &call.function["arguments"];
        // In OpenAI's form they are JSON in a text.
        let arguments = given.as_str().map_or_else(|| line(given), str::to_owned);
        let name = &call.function["name"];
        format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>")
    });
    let said = Some(content).filter(|content| !content.is_empty());
    let said: Vec<String> = said.into_iter().chain(calls).collect();
    Message {
        content: Some(said.join("\n")),
        tool_calls: Vec::new(),
        ..message.clone()
    }
}

fn described(tools: &[Value]) -> String {
    let functions = tools.iter().map(|tool| {
        let function = tool.get("function").unwrap_or(tool);
        line(function)
    });
    let functions: Vec<String> = functions.collect();
    format!(
        "These functions can be called. Each line describes one as JSON, its arguments as a JSON Schema:\n\
         {}\n\
         To call a function, write exactly this, with its name and arguments:\n\
         <tool_call>\n\
         {{\"name\": \"NAME\", \"arguments\": {{\"ARGUMENT\": VALUE}}}}\n\
         </tool_call>\n\
         What it returns comes between <tool_response> and </tool_response>. Where no function helps, answer in words.",
        functions.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tinderbox_protocol::ToolCall;

    use super::*;
    use crate::ChatTemplate;

    fn message(role: &str, content: &str) -> Message {
        Message {
            role: role.into(),
            content: Some(content.into()),
            ..Message::default()
        }
    }

    #[test]
    fn a_template_tells_how_calls_are_written() {
        let table = [
            (
                r#"{% if tools %}<tool_call>{"name": <function-name>}"#,
                Some(ToolFormat::Hermes),
            ),
            (
                r#"{% if tools %}{{ '{"name": "' + name + '", "parameters": ' }}"#,
                Some(ToolFormat::Llama),
            ),
            // Llama 3.1 to 3.3, which write a call piece by piece.
            (
                r#"{% if tools %}{{ 'Respond in the format {"name": function name, "parameters": dictionary' }}"#,
                Some(ToolFormat::Llama),
            ),
            (
                "{% if tools %}[AVAILABLE_TOOLS] [TOOL_CALLS]",
                Some(ToolFormat::Mistral),
            ),
            ("{% if tools %}[TOOL_CALLS]f[ARGS]", None),
            ("{% if tools %}<tool_call><function=f>", None),
            ("{{ messages }}", None),
        ];
        for (source, expected) in table {
            assert_eq!(format(source), expected, "{source}");
        }
    }

    #[test]
    fn a_template_that_knows_no_tools_is_told_of_them_in_words() {
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
        let template = ChatTemplate::new(source).unwrap();
        let function = json!({"name": "weather", "arguments": r#"{"city": "Rome"}"#});
        let called = Message {
            role: "assistant".into(),
            tool_calls: vec![ToolCall {
                id: "1".into(),
                kind: "function".into(),
                function,
            }],
            ..Message::default()
        };
        let tool = json!({"type": "function", "function": {"name": "weather"}});
        let mut chat = Chat {
            messages: vec![
                message("system", "Be brief."),
                message("user", "Rome?"),
                called,
                message("tool", "sunny"),
                message("tool", "warm"),
            ],
            tools: vec![tool],
            ..Chat::default()
        };
        let text = template.render(&chat, None, None).unwrap();
        let (system, rest) = text.split_once("[user]").unwrap();
        assert!(
            system.starts_with("[system]Be brief.\n\nThese functions"),
            "{system}"
        );
        assert!(system.contains("\n{\"name\": \"weather\"}\n"), "{system}");
        assert_eq!(
            rest,
            "Rome?[assistant]<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>\
             [user]<tool_response>\nsunny\n</tool_response>\n<tool_response>\nwarm\n</tool_response>"
        );
        chat.messages = vec![message("user", "Hi")];
        let text = template.render(&chat, None, None).unwrap();
        assert!(text.starts_with("[system]These functions"), "{text}");
        chat.tools.clear();
        assert_eq!(template.render(&chat, None, None).unwrap(), "[user]Hi");
    }
}

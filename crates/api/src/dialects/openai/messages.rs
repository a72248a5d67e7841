//! Messages to what chat templates read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tinderbox_protocol::{self as protocol, Chat, Error, ToolCall};
use utoipa::ToSchema;

use crate::batch::invalid;
use crate::text_or::TextOr;

/// One message.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"role": "user", "content": "What is a tinderbox?"}))]
pub(crate) struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Required but beside `tool_calls`.
    pub content: Option<TextOr<Part>>,
    /// The speaker's name.
    pub name: Option<String>,
    /// Calls the assistant made: `{"id": …, "type": "function", "function": {"name": …, "arguments": …}}`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a `tool` message answers.
    pub tool_call_id: Option<String>,
}

/// A part of a message's content.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Part {
    /// `text`: images and sound are refused.
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
}

/// A conversation that ends with the header of the assistant's turn.
///
/// # Errors
/// No messages, an unknown role, content that is no text.
pub(crate) fn chat(messages: Vec<Message>, tools: Vec<Value>) -> Result<Chat, Error> {
    if messages.is_empty() {
        return Err(invalid("messages", "is empty; give at least one message"));
    }
    let turns = messages.into_iter().enumerate();
    let turns = turns.map(|(index, message)| turn(message, &format!("messages[{index}]")));
    Ok(Chat {
        messages: turns.collect::<Result<_, _>>()?,
        tools,
        add_generation_prompt: true,
        variables: BTreeMap::new(),
    })
}

fn turn(message: Message, place: &str) -> Result<protocol::Message, Error> {
    let role = match message.role.as_str() {
        // The newer name of the same role; templates know the older.
        "developer" => "system",
        role @ ("system" | "user" | "assistant" | "tool" | "function") => role,
        other => {
            let reason = format!("`{other}` is not system, developer, user, assistant or tool");
            return Err(invalid(format!("{place}.role"), reason));
        }
    };
    let tool_calls: Vec<ToolCall> = message.tool_calls.unwrap_or_default();
    let content = match message.content {
        Some(TextOr::Text(text)) => Some(text),
        Some(TextOr::List(parts)) => Some(joined(parts, place)?),
        None if !tool_calls.is_empty() => None,
        None => {
            let reason = "is missing; only an assistant's message with tool_calls may have none";
            return Err(invalid(format!("{place}.content"), reason));
        }
    };
    Ok(protocol::Message {
        role: role.into(),
        content,
        name: message.name,
        tool_calls: tool_calls.into_iter().map(with_object).collect(),
        tool_call_id: message.tool_call_id,
    })
}

fn joined(parts: Vec<Part>, place: &str) -> Result<String, Error> {
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        match part {
            Part {
                text: Some(text), ..
            } if part.kind == "text" => texts.push(text),
            Part { kind, .. } => {
                let field = format!("{place}.content[{index}]");
                let reason = match kind.as_str() {
                    "text" => "has no `text`".into(),
                    _ => format!("`{kind}` parts are not supported: this model reads text only"),
                };
                return Err(invalid(field, reason));
            }
        }
    }
    Ok(texts.join("\n"))
}

/// OpenAI writes a call's arguments as JSON in a string; templates want the object.
fn with_object(mut call: ToolCall) -> ToolCall {
    let arguments = call.function.get("arguments").and_then(Value::as_str);
    let parsed = arguments.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(object) = parsed.filter(Value::is_object) {
        call.function["arguments"] = object;
    }
    call
}

//! Chat templates: Jinja as Hugging Face's tokenizers read it.

use std::borrow::Cow;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use regex::Regex;
use tinderbox_protocol::{Chat, ToolFormat};

use crate::Error;
use crate::{json, tools};

/// The name of the one template of an environment.
const NAME: &str = "chat";

/// A checkpoint's chat template.
///
/// Templates see `messages`, `tools` (none where there are none), `add_generation_prompt`,
/// `bos_token` and `eos_token`, `raise_exception`, loop controls, Python's string and dict
/// methods, and `tojson` as `json.dumps` writes it. There is no clock: `strftime_now` is
/// undefined, and templates that ask for it fall back to a date of their own.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    /// How it shows tools, where we know it.
    tools: Option<ToolFormat>,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// A syntax error, with its line.
    pub fn new(source: impl Into<String>) -> Result<Self, Error> {
        let source = source.into();
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(template_error)?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_filter("tojson", json::tojson);
        let plain = without_generation_marks(&source).into_owned();
        environment
            .add_template_owned(NAME, plain)
            .map_err(template_error)?;
        Ok(ChatTemplate {
            tools: tools::format(&source),
            source,
            environment,
        })
    }

    /// The Jinja source, as the checkpoint has it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How calls of tools are written. Where the template does not say, it is what
    /// [`ChatTemplate::render`] asks for.
    pub fn tool_format(&self) -> ToolFormat {
        self.tools.unwrap_or_default()
    }

    /// The prompt of a conversation. Tools that the template would not show in a form we know are told in a
    /// system message, and calls and their answers as text. `bos` and `eos` are the texts of these tokens.
    ///
    /// # Errors
    /// Whatever the template refuses, with the line.
    pub fn render(
        &self,
        chat: &Chat,
        bos: Option<&str>,
        eos: Option<&str>,
    ) -> Result<String, Error> {
        let told = self.tools.is_none().then(|| tools::told(chat)).flatten();
        let chat = told.as_ref().unwrap_or(chat);
        let messages: Result<Vec<_>, _> = chat.messages.iter().map(message).collect();
        let messages = messages.map_err(|e| Error::Template {
            line: None,
            reason: e.to_string(),
        })?;
        let tools = (!chat.tools.is_empty()).then_some(&chat.tools);
        let template = self
            .environment
            .get_template(NAME)
            .map_err(template_error)?;
        let values = context! {
            messages => Value::from(Serde(messages)),
            tools => Value::from(Serde(tools)),
            add_generation_prompt => chat.add_generation_prompt,
            bos_token => bos.unwrap_or_default(),
            eos_token => eos.unwrap_or_default(),
            ..Value::from(Serde(&chat.variables))
        };
        template.render(values).map_err(template_error)
    }
}

/// A message as a map without null fields. Arguments of tool calls are objects where they are
/// JSON text, as templates write them with `tojson`.
fn message(message: &tinderbox_protocol::Message) -> Result<serde_json::Value, serde_json::Error> {
    let mut value = serde_json::to_value(message)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    let calls = value
        .get_mut("tool_calls")
        .and_then(serde_json::Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let parsed = arguments
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(object @ serde_json::Value::Object(_)) = parsed {
            *arguments = object;
        }
    }
    Ok(value)
}

/// `{% generation %}` marks what to train on and prints nothing: a block that is always taken.
fn without_generation_marks(source: &str) -> Cow<'_, str> {
    static MARK: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the pattern is valid")
    });
    MARK.replace_all(source, |found: &regex::Captures| {
        let tag = if found.get(2).is_some() {
            "endif"
        } else {
            "if true"
        };
        format!("{{%{} {tag} {}%}}", &found[1], &found[3])
    })
}

fn template_error(error: minijinja::Error) -> Error {
    let reason = match error.detail() {
        Some(detail) if error.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    Error::Template {
        line: error.line(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use tinderbox_protocol::Message;

    use super::*;

    fn chat(content: &str) -> Chat {
        let message = Message {
            role: "user".into(),
            content: Some(content.into()),
            ..Default::default()
        };
        Chat {
            messages: vec![message],
            tools: Vec::new(),
            add_generation_prompt: true,
            ..Chat::default()
        }
    }

    fn render(source: &str, chat: &Chat) -> String {
        ChatTemplate::new(source)
            .unwrap()
            .render(chat, Some("<s>"), None)
            .unwrap()
    }

    #[test]
    fn python_methods_and_block_trimming_work_as_in_jinja2() {
        let source = "{{ bos_token }}{% for m in messages %}\n    {%- if loop.first %}\n\
                      [{{ m['role'].upper() }}] {{ m.content.strip().split('a')[-1] }}\n    {% endif %}\n{% endfor %}\n\
                      {% if add_generation_prompt %}>{% endif %}";
        assert_eq!(render(source, &chat("  bab  ")), "<s>[USER] b\n>");
    }

    #[test]
    fn a_raised_exception_is_an_error_with_its_words_and_line() {
        let template =
            ChatTemplate::new("a\n{{ raise_exception('roles must alternate') }}").unwrap();
        let error = template.render(&chat("x"), None, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "chat template, line 2: roles must alternate"
        );
    }

    #[test]
    fn a_syntax_error_is_found_when_the_template_is_made() {
        let error = ChatTemplate::new("a\n\n{% if %}").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("chat template, line 3: syntax error"),
            "{error}"
        );
    }

    #[test]
    fn tools_are_written_as_json_dumps_does_and_in_the_callers_order() {
        let tool =
            serde_json::json!({"type": "function", "function": {"name": "<f>", "a": [1, 2.0]}});
        let chat = Chat {
            tools: vec![tool],
            ..chat("x")
        };
        let text = render(
            "{% for t in tools %}{{ t | tojson }}|{{ t | tojson(indent=1) }}{% endfor %}{# <tool_call> #}",
            &chat,
        );
        let (flat, indented) = text.split_once('|').unwrap();
        assert_eq!(
            flat,
            r#"{"type": "function", "function": {"name": "<f>", "a": [1, 2.0]}}"#
        );
        assert!(
            indented.starts_with("{\n \"type\": \"function\",\n \"function\": {\n  \"name\""),
            "{indented}"
        );
    }

    #[test]
    fn absent_fields_and_tools_are_undefined_or_none() {
        let source = "{{ messages[0].tool_calls is defined }} {{ tools is none }} {{ strftime_now is defined }}";
        assert_eq!(render(source, &chat("x")), "False True False");
    }

    #[test]
    fn tool_call_arguments_in_json_text_reach_the_template_as_an_object() {
        let mut chat = chat("x");
        chat.messages[0]
            .tool_calls
            .push(tinderbox_protocol::ToolCall {
                id: "1".into(),
                kind: "function".into(),
                function: serde_json::json!({"name": "f", "arguments": "{\"city\": \"Paris\"}"}),
            });
        let source =
            "{{ messages[0].tool_calls[0].function.arguments.city }}{# tools, <tool_call> #}";
        assert_eq!(render(source, &chat), "Paris");
    }

    #[test]
    fn marks_of_trained_spans_print_nothing() {
        assert_eq!(
            render("a{%- generation %}b{% endgeneration -%} c", &chat("x")),
            "abc"
        );
    }
}

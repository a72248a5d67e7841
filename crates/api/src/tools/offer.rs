//! What may be called, as OpenAI's and LoRAX's bodies say it.

use serde_json::Value;
use tinderbox_protocol::Error;

use crate::batch::invalid;

/// Longest name of a tool, OpenAI's bound.
const MAX_NAME: usize = 64;

/// A function that a model may call.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub name: String,
    /// A JSON Schema of the arguments; `None` for a function without any.
    pub parameters: Option<Value>,
    /// Its calls follow the schema even where none is forced.
    pub strict: bool,
}

/// What must be called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// Nothing.
    Auto,
    /// Something.
    Required,
    /// The tool at this place, once.
    Named(usize),
}

/// The tools of a request.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// More than one call in an answer.
    pub parallel: bool,
}

impl Offer {
    /// The tools that may be called, `None` where there are none or the choice is `none`.
    ///
    /// # Errors
    /// A definition or a choice that is wrong.
    pub fn of(
        tools: &[Value],
        choice: Option<&Value>,
        parallel: Option<bool>,
    ) -> Result<Option<Offer>, Error> {
        let tools = definitions(tools)?;
        let choice = choose(choice, &tools)?;
        Ok(choice.filter(|_| !tools.is_empty()).map(|choice| Offer {
            parallel: parallel.unwrap_or(true) && !matches!(choice, Choice::Named(_)),
            tools,
            choice,
        }))
    }
}

/// The functions of a list of definitions.
///
/// # Errors
/// The place of what is wrong, as in `tools[1].function.name`.
pub(crate) fn definitions(tools: &[Value]) -> Result<Vec<Tool>, Error> {
    let mut known: Vec<Tool> = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let place = |field: &str| format!("tools[{index}]{field}");
        if tool.get("type").is_some_and(|kind| kind != "function") {
            return Err(invalid(place(".type"), "only `function` is known"));
        }
        let function = &tool["function"];
        let Some(name) = function["name"].as_str() else {
            let reason = r#"must be {"type": "function", "function": {"name": …}}"#;
            return Err(invalid(place(""), reason));
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
            let reason = format!("must be 1 to {MAX_NAME} of a-z, A-Z, 0-9, _ and -");
            return Err(invalid(place(".function.name"), reason));
        }
        if known.iter().any(|other| other.name == name) {
            let reason = format!("`{name}` is there twice");
            return Err(invalid(place(".function.name"), reason));
        }
        let given = |field: &str| function.get(field).filter(|value| !value.is_null());
        let parameters = given("parameters").cloned();
        let object = |schema: &Value| {
            schema.is_object() && schema.get("type").is_none_or(|kind| kind == "object")
        };
        if !parameters.as_ref().is_none_or(object) {
            let reason = "must be a JSON Schema of the type `object`";
            return Err(invalid(place(".function.parameters"), reason));
        }
        let strict = match given("strict") {
            None => false,
            Some(Value::Bool(strict)) => *strict,
            Some(_) => return Err(invalid(place(".function.strict"), "must be true or false")),
        };
        known.push(Tool {
            name: name.into(),
            parameters,
            strict,
        });
    }
    Ok(known)
}

/// What must be called, `None` for a choice of nothing.
fn choose(choice: Option<&Value>, tools: &[Tool]) -> Result<Option<Choice>, Error> {
    let (field, name) = match choice {
        None => return Ok(Some(Choice::Auto)),
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(None),
            "auto" => return Ok(Some(Choice::Auto)),
            "required" if tools.is_empty() => {
                return Err(invalid("tool_choice", "needs `tools`"));
            }
            "required" => return Ok(Some(Choice::Required)),
            // LoRAX's form of a name.
            name => ("tool_choice", name),
        },
        Some(object) => match (object["type"].as_str(), object["function"]["name"].as_str()) {
            (Some("function"), Some(name)) => ("tool_choice.function.name", name),
            _ => {
                let reason = "is not none, auto, required or {\"type\": \"function\", \
                              \"function\": {\"name\": …}}";
                return Err(invalid("tool_choice", reason));
            }
        },
    };
    match tools.iter().position(|tool| tool.name == name) {
        Some(index) => Ok(Some(Choice::Named(index))),
        None => Err(invalid(field, format!("`{name}` is not one of the tools"))),
    }
}

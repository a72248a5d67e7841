//! From a constraint to a grammar of llguidance.

use llguidance::JsonCompileOptions;
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};
use tinderbox_protocol::{Constraint, Error};

/// Most bytes of a schema, an expression or a grammar.
const SIZE: usize = 256 << 10;

/// White space between the tokens of JSON. Models write it as they learned to, so one or two spaces
/// are allowed, and a line break with its indentation; more would let them go on with it for ever.
const SPACE: &str = r"[ ]{1,2}|\r?\n[ \t]{0,32}";

/// The grammar, not yet compiled.
///
/// # Errors
/// [`Error::Constraint`] with the place.
pub(super) fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, Error> {
    Ok(match constraint {
        Constraint::JsonObject => json_schema(&json!({"type": "object"}))?,
        Constraint::JsonSchema(schema) => json_schema(schema)?,
        Constraint::Regex(expression) => TopLevelGrammar::from_regex(small(expression)?),
        Constraint::Lark(grammar) => TopLevelGrammar::from_lark(small(grammar)?.to_owned()),
        Constraint::Gbnf(_) => return Err(refused("", "GBNF grammars are not supported yet")),
    })
}

fn json_schema(schema: &Value) -> Result<TopLevelGrammar, Error> {
    small(&schema.to_string())?;
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => return Err(refused("", "nothing fulfils the schema `false`")),
        Value::Object(_) => schema.clone(),
        _ => return Err(refused("", "a schema is an object")),
    };
    let options = JsonCompileOptions {
        whitespace_pattern: Some(SPACE.into()),
        ..JsonCompileOptions::default()
    };
    // In place of whatever the schema says to llguidance: it could turn off what is refused.
    options.apply_to(&mut schema);
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn small(text: &str) -> Result<&str, Error> {
    match text.len() {
        0..=SIZE => Ok(text),
        size => Err(refused(
            "",
            format!("{size} bytes; at most {SIZE} are followed"),
        )),
    }
}

/// What llguidance refused, in its words; it tells the place in a Lark grammar.
pub(super) fn refusal(constraint: &Constraint, error: &impl std::fmt::Display) -> Error {
    let text = error.to_string();
    if text.starts_with("panic") {
        return refused("", "beyond what can be followed");
    }
    // What is wrong with an expression comes last, behind a drawing of it.
    let wrong = text.lines().find_map(|line| line.strip_prefix("error: "));
    let text = wrong.or(text.lines().next()).unwrap_or_default();
    let located = || {
        let (place, reason) = text.strip_prefix("at ")?.split_once("): ")?;
        let (line, column) = place.split_once('(')?;
        Some(refused(format!("line {line}, column {column}"), reason))
    };
    match constraint {
        Constraint::Lark(_) => located().unwrap_or_else(|| refused("", text)),
        _ => refused("", located().map_or(text.to_owned(), |error| reason(error))),
    }
}

fn reason(error: Error) -> String {
    match error {
        Error::Constraint { reason, .. } => reason,
        other => other.to_string(),
    }
}

fn refused(place: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Constraint {
        place: place.into(),
        reason: reason.into(),
    }
}

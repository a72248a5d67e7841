//! From a constraint to a grammar of llguidance.

use llguidance::JsonCompileOptions;
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};
use tinderbox_protocol::{Constraint, Error};

use super::{gbnf, lark, schema};

/// Most bytes of a schema, an expression or a grammar.
const SIZE: usize = 256 << 10;

/// White space between the tokens of JSON. Models write it as they learned to, so one or two spaces
/// are allowed, and a line break with its indentation; more would let them go on with it for ever.
const SPACE: &str = r"[ ]{1,2}|\r?\n[ \t]{0,32}";

/// What may stand behind a backslash in a JSON string. Not `u`: a name could be spelled in two ways,
/// and be taken for another where a property is meant. All but control characters can be written
/// as they are.
const ESCAPES: &str = "nrbtf\\\"";

/// The grammar, not yet compiled.
///
/// # Errors
/// [`Error::Constraint`] with the place.
pub(super) fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, Error> {
    Ok(match constraint {
        Constraint::JsonObject => json_schema(&json!({"type": "object"}))?,
        Constraint::JsonSchema(schema) => json_schema(schema)?,
        Constraint::Regex(expression) => TopLevelGrammar::from_regex(small(expression)?),
        Constraint::Gbnf(grammar) => lark(&gbnf::to_lark(small(grammar)?)?)?,
        Constraint::Lark(grammar) => lark(small(grammar)?)?,
    })
}

fn json_schema(schema: &Value) -> Result<TopLevelGrammar, Error> {
    small(&schema.to_string())?;
    schema::check(schema, false)?;
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => return Err(refused("", "nothing fulfils the schema `false`")),
        other => other.clone(),
    };
    let options = JsonCompileOptions {
        whitespace_pattern: Some(SPACE.into()),
        json_allowed_escapes: Some(ESCAPES.into()),
        ..JsonCompileOptions::default()
    };
    schema::plain(&mut schema);
    // In place of whatever the schema says to llguidance: it could turn off what is refused.
    options.apply_to(&mut schema);
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn lark(grammar: &str) -> Result<TopLevelGrammar, Error> {
    Ok(TopLevelGrammar::from_lark(lark::checked(grammar)?))
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
    if text.contains("coerce_one_of") {
        let reason =
            "alternatives of `oneOf` may overlap; tell them apart by a constant, or use `anyOf`";
        return refused("", reason);
    }
    // What is wrong with an expression comes last, behind a drawing of it.
    let wrong = text.lines().find_map(|line| line.strip_prefix("error: "));
    let text = wrong.or(text.lines().next()).unwrap_or_default();
    let located = || {
        let (place, reason) = text.trim_start_matches("at ").split_once("): ")?;
        let (line, column) = place.split_once('(')?;
        line.parse::<usize>().ok()?;
        Some(refused(format!("line {line}, column {column}"), reason))
    };
    match constraint {
        Constraint::Lark(_) => located().unwrap_or_else(|| refused("", text)),
        _ => refused("", located().map_or_else(|| text.to_owned(), reason)),
    }
}

fn reason(error: Error) -> String {
    match error {
        Error::Constraint { reason, .. } => reason,
        other => other.to_string(),
    }
}

pub(super) fn refused(place: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Constraint {
        place: place.into(),
        reason: reason.into(),
    }
}

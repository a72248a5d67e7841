//! What an answer must look like, as several dialects ask it.

use serde::Deserialize;
use serde_json::Value;
use tinderbox_protocol::{Constraint, Error};
use utoipa::ToSchema;

use crate::batch::invalid;

/// A constraint, and the field that asks for it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub constraint: Constraint,
    /// As in `response_format.json_schema.schema`.
    pub field: String,
    /// Of a grammar of ours, the field that each line comes from.
    pub lines: Vec<String>,
}

impl Asked {
    /// JSON that a schema accepts.
    ///
    /// # Errors
    /// A schema of another type than schemas have.
    pub fn schema(field: &str, schema: Value) -> Result<Asked, Error> {
        match schema {
            Value::Object(_) | Value::Bool(_) => Ok(Asked {
                constraint: Constraint::JsonSchema(schema),
                field: field.into(),
                lines: Vec::new(),
            }),
            _ => Err(invalid(field, "is no JSON Schema: an object is needed")),
        }
    }

    /// An engine's error, with the field that the caller knows. A place in a schema is a part of
    /// the field, as in `schema/properties/x`.
    pub fn renamed(&self, error: Error) -> Error {
        let Error::Constraint { place, reason } = error else {
            return error;
        };
        match place.as_str() {
            "" => invalid(&self.field, reason),
            pointer if pointer.starts_with('/') => invalid(self.field.clone() + pointer, reason),
            line => match self.of_line(line) {
                Some(field) => invalid(field, reason),
                None => invalid(&self.field, format!("{line}: {reason}")),
            },
        }
    }
}

impl Asked {
    /// The field that a place such as `line 3, column 1` comes from.
    fn of_line(&self, place: &str) -> Option<&String> {
        let (number, _) = place.strip_prefix("line ")?.split_once(',')?;
        let number: usize = number.parse().ok()?;
        self.lines.get(number.checked_sub(1)?)
    }
}

/// Form of the answer.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema of `json_schema`.
    pub json_schema: Option<NamedSchema>,
    /// LoRAX's place for a JSON Schema. Default: any object.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
}

/// A schema as OpenAI wraps it. Not read: `name`, `description`, and `strict`, because every schema
/// is followed whole or refused.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NamedSchema {
    /// A JSON Schema. Default: any object.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
}

impl ResponseFormat {
    /// What it asks, `None` for any text.
    ///
    /// # Errors
    /// An unknown type, a schema that is none.
    pub fn asked(self) -> Result<Option<Asked>, Error> {
        let (field, schema) = match (self.kind.as_str(), self.json_schema) {
            ("text", _) => return Ok(None),
            ("json_schema", Some(named)) => ("response_format.json_schema.schema", named.schema),
            ("json_schema" | "json_object", _) => ("response_format.schema", self.schema),
            (other, _) => {
                let reason = format!("`{other}` is not text, json_object or json_schema");
                return Err(invalid("response_format.type", reason));
            }
        };
        let asked = match schema {
            Some(schema) => Asked::schema(field, schema)?,
            None => Asked {
                constraint: Constraint::JsonObject,
                field: "response_format".into(),
                lines: Vec::new(),
            },
        };
        Ok(Some(asked))
    }
}

//! `GET /openapi.json`: what is served, put together from what handlers and wire types say of
//! themselves.

use axum::Json;
use axum::http::Uri;
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

use crate::dialects::{self, Dialect};
use crate::{docs, health, metrics, openapi};

/// The tag of what belongs to no dialect.
const OWN: &str = "tinderbox";

const ABOUT: &str = "One language-model runtime that speaks several dialects on one port. \
    Request bodies are JSON whatever their content type; fields that are not known are ignored, \
    and a field that is null has its default. A path that several dialects have is decided by the \
    keys of the body; a prefix such as `/lorax` in front of a path forces one dialect, and \
    `/lorax/openapi.json` describes it alone.";

/// What belongs to no dialect.
#[derive(utoipa::OpenApi)]
#[openapi(paths(health::health, metrics::exposition::show, openapi::show, docs::show))]
struct Own;

/// The description of the API
///
/// OpenAPI 3.1. Behind a dialect's prefix, of this dialect alone.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "tinderbox", responses(
    (status = 200, description = "The document you read", body = Object),
))]
pub(crate) async fn show(uri: Uri) -> Json<Value> {
    Json(document(Dialect::forced(uri.path()).0))
}

/// The description of everything at the root, or of what is behind a dialect's prefix.
fn document(forced: Option<Dialect>) -> Value {
    let (url, base) = match forced {
        None => ("/".to_owned(), "All dialects"),
        Some(dialect) => (format!("/{}", dialect.name()), "This dialect alone"),
    };
    let mut whole = json!({
        "openapi": "3.1.0",
        "info": {"title": "Tinderbox", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT},
        "servers": [{"url": url, "description": base}],
        "security": [{}, {"bearer": []}],
        "tags": [],
        "paths": {},
        "components": {"securitySchemes": {"bearer": {
            "type": "http", "scheme": "bearer",
            "description": "A key of this server. Where none is configured, everybody is let in.",
        }}},
    });
    for (dialect, described) in dialects::documents(forced) {
        let part = part(dialect.name(), dialect.about(), described);
        join(&mut whole, part, "");
    }
    let own = part(OWN, "What belongs to no dialect.", Own::openapi());
    join(&mut whole, own, "");
    whole
}

/// The tag, paths and schemas of a description, with names that differ from those of all others.
fn part(name: &str, about: &str, described: utoipa::openapi::OpenApi) -> Value {
    let mut part = serde_json::to_value(described).unwrap_or_default();
    rename(&mut part, name);
    let mut schemas = Map::new();
    if let Value::Object(named) = part["components"]["schemas"].take() {
        let named = named.into_iter();
        schemas.extend(named.map(|(key, schema)| (format!("{name}.{key}"), schema)));
    }
    json!({
        "tags": [{"name": name, "description": about}],
        "paths": part["paths"],
        "components": {"schemas": schemas},
    })
}

/// Puts the name before each operation's, and before the schemas that are referred to.
fn rename(value: &mut Value, name: &str) {
    const SCHEMAS: &str = "#/components/schemas/";
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_str()) {
                    ("$ref", Some(to)) => {
                        let schema = to.trim_start_matches(SCHEMAS);
                        *value = format!("{SCHEMAS}{name}.{schema}").into();
                    }
                    ("operationId", Some(id)) => *value = format!("{name}_{id}").into(),
                    _ => rename(value, name),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, name)),
        _ => {}
    }
}

/// Adds what another description says. Where both say something of one operation, either schema is
/// right, and the texts follow each other.
fn join(first: &mut Value, other: Value, key: &str) {
    match (key, first, other) {
        ("schema", first, other) if *first != other => match first.get_mut("anyOf") {
            Some(Value::Array(schemas)) => schemas.push(other),
            _ => *first = json!({"anyOf": [first.take(), other]}),
        },
        (_, Value::Object(first), Value::Object(other)) => {
            for (key, value) in other {
                match first.get_mut(&key) {
                    Some(first) => join(first, value, &key),
                    None => {
                        first.insert(key, value);
                    }
                }
            }
        }
        (_, Value::Array(first), Value::Array(other)) => {
            for value in other {
                if !first.contains(&value) {
                    first.push(value);
                }
            }
        }
        ("summary" | "description", Value::String(first), Value::String(other))
            if *first != other =>
        {
            *first = format!("{first}\n\n{other}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(forced: Option<Dialect>) -> Vec<String> {
        let document = document(forced);
        let mut paths: Vec<_> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        paths.sort();
        paths
    }

    /// The router's paths behind a prefix, as OpenAPI writes them.
    fn served(forced: Option<Dialect>) -> Vec<String> {
        let routes = dialects::routes().into_keys();
        let mut paths: Vec<_> = routes
            .filter(|path| Dialect::forced(path).0 == forced)
            // axum writes a parameter that takes slashes `{*id}`, OpenAPI has no such thing.
            .map(|path| Dialect::forced(&path).1.replace("{*", "{"))
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    #[test]
    fn the_document_lists_exactly_the_paths_of_the_router() {
        assert_eq!(listed(None), served(None));
        for dialect in Dialect::ALL {
            assert_eq!(listed(Some(dialect)), served(Some(dialect)));
        }
    }

    /// Every value under a key, however deep.
    fn under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| match value.as_str() {
                Some(text) if name == key => found.push(text),
                _ => under(value, key, found),
            }),
            Value::Array(list) => list.iter().for_each(|value| under(value, key, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_referred_to_is_there_and_every_operation_has_a_name_of_its_own() {
        let document = document(None);
        let (mut to, mut names) = (Vec::new(), Vec::new());
        under(&document, "$ref", &mut to);
        assert!(!to.is_empty());
        for to in to {
            let schema = document.pointer(to.trim_start_matches('#'));
            assert!(schema.is_some_and(Value::is_object), "{to}");
        }
        under(&document, "operationId", &mut names);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_two_dialects_say_of_one_path_stands_side_by_side() {
        let said = |tag: &str| {
            let content = json!({"application/json": {"schema": {"$ref": tag}}});
            json!({"/": {"post": {"tags": [tag], "description": tag, "operationId": tag,
                "requestBody": {"content": content, "required": true}}}})
        };
        let mut paths = said("a");
        join(&mut paths, said("b"), "");
        join(&mut paths, said("c"), "");
        let either = json!({"anyOf": [{"$ref": "a"}, {"$ref": "b"}, {"$ref": "c"}]});
        let content = json!({"application/json": {"schema": either}});
        let expected = json!({"/": {"post": {"tags": ["a", "b", "c"], "description": "a\n\nb\n\nc",
            "operationId": "a", "requestBody": {"content": content, "required": true}}}});
        assert_eq!(paths, expected);
    }
}
